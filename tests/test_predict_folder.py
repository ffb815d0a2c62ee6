"""`calvaria predict` of a folder: an answer and a row for every volume, whatever becomes of the others."""

import csv
import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from calvaria.cli import main
from calvaria.commands.folder import answer_folder, plan
from calvaria.datasets.index import read_index
from calvaria.errors import CalvariaError
from calvaria.io import encode, encode_scan, read, write
from calvaria.networks import CONFIGS, EncoderDecoder
from calvaria.predictor import Predictor
from calvaria.tasks import TASKS, Settings
from calvaria.volume import BinaryVolume
from calvaria.weights import WEIGHTS, save_weights

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Runs the command with words; its status, and what it said."""
    (tmp_path / "models" / "completion").mkdir(parents=True)
    torch.manual_seed(0)
    network = EncoderDecoder(CONFIGS["ch1"])
    for level in network.decoder:
        torch.nn.init.constant_(level.head.bias, 3.0)
    save_weights(tmp_path / "models" / "completion" / WEIGHTS, network, TASKS["completion"], Settings(spacing_mm=4.0))

    def run(*words: object) -> tuple[int, str]:
        words = "predict", "completion", "skulls", "--out", "answers", "--models", "models", *words
        monkeypatch.setattr("sys.argv", ["calvaria", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), " ".join("".join(capfd.readouterr()).replace("│", " ").split())

    monkeypatch.chdir(tmp_path)
    return run


def bowl(seed: int) -> BinaryVolume:
    radius = np.sqrt(sum(axis**2 for axis in np.ogrid[-1:1:24j, -1:1:26j, -1:1:28j]))
    mask = (radius < 0.95) & (radius > 0.7)
    mask[: 6 + seed, :8] = False
    return BinaryVolume.on_grid(mask, (4.0, 4.0, 4.0), (-10, 20, 30))


@pytest.fixture
def skulls(tmp_path: Path) -> dict[str, BinaryVolume]:
    """Two volumes, one in a folder of its own, and what is none."""
    made = {"a.nrrd": bowl(1), "sub/b.nii.gz": bowl(2)}
    (tmp_path / "skulls" / "sub").mkdir(parents=True)
    for name, volume in made.items():
        write(tmp_path / "skulls" / name, volume)
    (tmp_path / "skulls" / "notes.txt").write_text("no volume")
    return made


def rows() -> list[dict[str, str]]:
    with Path("answers/index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_volume_gets_the_answer_that_it_would_get_alone(predict: Command, skulls: dict[str, BinaryVolume]) -> None:
    status, said = predict("--output", "implant")
    assert status == 0, said
    assert "answers/index.csv: 2 files" in said
    predictor = Predictor.load(Path("models/completion"))
    for row in rows():
        expected = predictor.predict([skulls[row["source"]]])[0]["implant"]
        answer = read(Path("answers") / row["name"]).volume
        assert row["name"] == row["source"]
        assert answer.same_grid(expected)
        assert np.array_equal(answer.mask, expected.mask)
        assert (row["kind"], int(row["occupied"]), row["error"]) == ("implant", expected.occupied, "")


@pytest.mark.usefixtures("skulls")
def test_a_gzipped_volume_is_answered_as_nrrd_and_what_is_not_read_is_told(predict: Command, caplog: pytest.LogCaptureFixture) -> None:
    Path("skulls/c.nrrd.gz").write_bytes(gzip.compress(Path("skulls/a.nrrd").read_bytes()))
    Path("skulls/detached.nhdr").write_text("NRRD0004\n")
    assert predict("--output", "implant")[0] == 0
    assert Path("answers/c.nrrd").read_bytes() == Path("answers/a.nrrd").read_bytes()
    assert "1 files of .nhdr are not looked at, such as skulls/detached.nhdr" in caplog.text


def test_several_outputs_have_a_folder_each_and_another_format_another_suffix(predict: Command, skulls: dict[str, BinaryVolume]) -> None:
    assert predict("--output", "completed,implant", "--format", "nii.gz")[0] == 0
    found = sorted(str(path.relative_to("answers")) for path in Path("answers").rglob("*.nii.gz"))
    assert found == ["completed/a.nii.gz", "completed/sub/b.nii.gz", "implant/a.nii.gz", "implant/sub/b.nii.gz"]


@pytest.mark.usefixtures("skulls")
def test_one_that_is_refused_is_a_row_and_is_tried_again_while_the_others_are_kept(
    predict: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("skulls/broken.nrrd").write_bytes(encode(bowl(3), "nrrd")[:300])
    status, said = predict()
    assert status == 1
    assert "broken.nrrd: " in said
    assert "2 files, 1 failed" in said
    assert [(row["source"], bool(row["error"]), bool(row["message"])) for row in rows() if row["error"]] == [("broken.nrrd", True, True)]
    before = {path: path.stat().st_mtime_ns for path in Path("answers").rglob("*.n*")}
    write(Path("skulls/broken.nrrd"), bowl(3))
    assert predict()[0] == 0
    after = {path: path.stat().st_mtime_ns for path in Path("answers").rglob("*.n*")}
    assert after.keys() - before.keys() == {Path("answers/broken.nrrd")}
    assert before.items() <= after.items(), "what was there is not made again"
    os.utime("skulls/a.nrrd")
    assert predict()[0] == 0
    assert Path("answers/a.nrrd").stat().st_mtime_ns > after[Path("answers/a.nrrd")], "but a volume that was written since is"


@pytest.mark.usefixtures("skulls")
def test_an_answer_stays_while_its_volume_cannot_be_read_and_goes_when_it_is_refused(predict: Command) -> None:
    """As where volumes, or their scans, lie on a share that is not always mounted."""
    share, answer = Path("share"), Path("answers/a.nrrd")
    share.mkdir()
    Path("skulls/a.nrrd").rename(share / "a.nrrd")
    Path("skulls/a.nrrd").symlink_to(Path.cwd() / share / "a.nrrd")
    assert predict()[0] == 0
    made, known = answer.stat().st_mtime_ns, rows()
    share.rename("away")
    status, said = predict()
    assert status == 1
    assert "a.nrrd cannot be read: No such file or directory. What was made of it earlier stays. [bad-option]" in said
    assert "2 files, 1 failed" in said
    assert rows() == known
    Path("away").rename(share)
    assert predict()[0] == 0
    assert answer.stat().st_mtime_ns == made, "it was not made again"
    (share / "a.nrrd").write_bytes(b"no volume any more")
    assert predict()[0] == 1
    assert not answer.exists()


@pytest.mark.usefixtures("skulls")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--out", "skulls/answers"), "lies within"),
        (("--format", "mha"), "cannot be 'mha'"),
        (("--format", "stl"), "cannot be 'stl'"),
        (("--output", "implant,brain"), "brain"),
        (("--threshold", "5"), "threshold cannot be"),
        (("--factor", "2"), "factor"),
        (("--image", "skulls/sub"), "takes no scan"),
        (("--report", "r.json"), "leave out --report"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(predict: Command, words: tuple[str, ...], said: str) -> None:
    status, told = predict(*words)
    assert status == 2
    assert said in told
    assert not Path("answers").exists()


def test_nothing_that_is_asked_about_is_overwritten(skulls: dict[str, BinaryVolume], tmp_path: Path) -> None:
    """Neither volumes, where the folder of an output is that of what is asked, nor their scans."""
    folder = tmp_path / "skulls"
    (folder / "completed").mkdir()
    write(folder / "completed" / "a.nrrd", skulls["a.nrrd"])
    with pytest.raises(CalvariaError, match="would overwrite it"):
        plan(folder / "completed", folder, ("completed", "implant"), None, None)
    with pytest.raises(CalvariaError, match="is no folder"):
        plan(folder, tmp_path / "out", ("refined",), None, folder / "a.nrrd")
    (tmp_path / "scans").mkdir()
    with pytest.raises(CalvariaError, match=r"No scan in .*scans has the path of a mask in"):
        plan(folder, tmp_path / "out", ("refined",), None, tmp_path / "scans")
    write(tmp_path / "scans" / "a.nrrd", skulls["a.nrrd"])
    with pytest.raises(CalvariaError, match="would overwrite it"):
        plan(folder, tmp_path / "scans", ("refined",), None, tmp_path / "scans")


@pytest.mark.usefixtures("skulls")
@pytest.mark.parametrize(("option", "value"), [("--threshold", 0.3), ("--format", "nii")])
def test_other_options_need_another_folder(predict: Command, option: str, value: object) -> None:
    """Another format, too: the answers of before would stay beside those asked for."""
    assert predict()[0] == 0
    status, said = predict(option, value)
    assert status == 2
    assert "made otherwise (see settings.json); choose another --out" in said


@pytest.mark.usefixtures("skulls")
def test_two_that_would_become_one_file_are_refused(predict: Command) -> None:
    write(Path("skulls/a.nii"), bowl(4))
    status, said = predict("--format", "nrrd")
    assert status == 2
    assert "a.nii and a.nrrd would both be answered in a.nrrd" in said


def test_scans_have_the_paths_of_their_masks_whatever_their_suffixes_and_a_mask_may_have_none(tmp_path: Path) -> None:
    ball = np.linalg.norm(np.indices((24, 24, 24)) - 12, axis=0) < 8
    mask = BinaryVolume.on_grid(ball, (2.0, 2.0, 2.0))
    for name in ("masks/sub/a.nrrd", "masks/b.nii.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / name, mask)
    scan = tmp_path / "scans" / "sub" / "a.nii.gz"
    scan.parent.mkdir(parents=True)
    scan.write_bytes(gzip.compress(encode_scan(np.where(ball, 40, -900), mask.affine)))
    answer_folder("refinement", tmp_path / "masks", tmp_path / "out", None, "cpu", "auto", images=tmp_path / "scans")
    alone, scanned = read_index(tmp_path / "out")
    assert (alone.name, alone.error) == ("b.nii.gz", "")
    assert alone.message.startswith("There was no scan beside it.")
    assert (scanned.name, scanned.error) == ("sub/a.nrrd", "")
    assert "no scan" not in scanned.message
    scan.with_name("a.nrrd").write_bytes(b"")
    with pytest.raises(CalvariaError, match=r"a\.nii\.gz and .*a\.nrrd would both be the scan of one mask"):
        plan(tmp_path / "masks", tmp_path / "out", ("refined",), None, tmp_path / "scans")


def test_a_file_that_is_no_answer_is_not_overwritten(predict: Command, skulls: dict[str, BinaryVolume], tmp_path: Path) -> None:
    truth = tmp_path / "answers" / "a.nrrd"
    truth.parent.mkdir()
    write(truth, bowl(3))
    before = truth.read_bytes()
    status, said = predict("--output", "implant")
    assert (status, truth.read_bytes()) == (2, before)
    assert "answers/a.nrrd lies there already, and would be overwritten. Choose another --out." in said
