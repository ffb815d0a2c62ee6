"""The commands, as a person types them: what they write, what they say, and their exit status."""

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from calvaria import cli
from calvaria.cli import main
from calvaria.client import Answer, Report
from calvaria.io import decode, encode, read, write
from calvaria.networks import CONFIGS, EncoderDecoder
from calvaria.predictor import Predictor
from calvaria.tasks import TASKS, Settings
from calvaria.volume import BinaryVolume
from calvaria.weights import WEIGHTS, save_weights, weights_sha256


def test_help_names_every_task() -> None:
    *names, last = TASKS
    assert f"{', '.join(names)} or {last}" == cli.TASKS


@dataclass(frozen=True)
class Said:
    """What a command left behind. Boxes and line breaks of usage errors are taken out of `err`."""

    status: int
    out: str
    err: str


@pytest.fixture
def calvaria(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Said]:
    """Runs the command with words, outside any checkout."""

    def run(*words: object) -> Said:
        monkeypatch.setattr("sys.argv", ["calvaria", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return Said(int(ended.value.code or 0), out, " ".join(re.sub(r"[│╭╮╰╯─]", " ", err).split()))

    monkeypatch.chdir(tmp_path)
    return run


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "completion"
    folder.mkdir()
    torch.manual_seed(0)
    network = EncoderDecoder(CONFIGS["ch1"])
    for level in network.decoder:
        torch.nn.init.constant_(level.head.bias, 3.0)  # in favour of keeping sites, so that every answer adds something
    save_weights(folder / WEIGHTS, network, TASKS["completion"], Settings(spacing_mm=4.0))
    return folder.parent


@pytest.fixture(scope="module")
def bowl() -> BinaryVolume:
    axes = np.ogrid[-1:1:24j, -1:1:26j, -1:1:28j]
    radius = np.sqrt(sum(axis**2 for axis in axes))
    mask = (radius < 0.95) & (radius > 0.7)
    mask[:8, :8] = False
    return BinaryVolume.on_grid(mask, (4.0, 4.0, 4.0), (-10, 20, 30))


@pytest.fixture
def skull(bowl: BinaryVolume, tmp_path: Path) -> Path:
    write(tmp_path / "skull.nrrd", bowl)
    return tmp_path / "skull.nrrd"


@pytest.fixture
def vague(bowl: BinaryVolume, tmp_path: Path) -> Path:
    """The same without an origin."""
    content = encode(bowl, "nrrd")
    path = tmp_path / "vague.nrrd"
    path.write_bytes(re.sub(rb"space origin:.*\n", b"", content, count=1))
    return path


@pytest.mark.parametrize("output", ["completed", "implant"])
def test_predict_writes_what_the_library_answers(calvaria, models, skull, bowl, tmp_path, output):
    out = tmp_path / "answer.nii.gz"
    said = calvaria("predict", "completion", skull, "--output", output, "--out", out, "--models", models)
    assert said.status == 0, said.err
    expected = Predictor.load(models / "completion").predict([bowl])[0][output]
    answer = read(out)
    assert answer.format == "nii.gz"
    assert answer.volume.same_grid(bowl)
    np.testing.assert_array_equal(answer.volume.mask, expected.mask)
    assert f"{output}, {expected.occupied} voxels" in said.out
    assert "no origin" not in said.err


def test_predict_looks_for_the_folder_of_its_answer_before_it_works(calvaria, models, skull, tmp_path):
    refused = calvaria("predict", "completion", skull, "--models", models, "--out", tmp_path / "absent" / "x.nrrd")
    assert refused.status == 2
    assert "there is no folder" in refused.err


def test_predict_writes_several_outputs_as_a_zip_and_a_report(calvaria, models, skull, bowl, tmp_path):
    options = "--output", "completed,implant", "--smallest-mm3", 0, "--models", models
    said = calvaria("predict", "completion", skull, *options, "--out", "both.zip", "--format", "nii.gz", "--report", "report.json")
    assert said.status == 0, said.err
    answer = Answer((tmp_path / "both.zip").read_bytes())
    assert set(answer.files) == {"completed.nii.gz", "implant.nii.gz", "report.json"}
    assert Report.from_json((tmp_path / "report.json").read_bytes()) == answer.report
    assert answer.report.weights == weights_sha256(models / "completion")
    predictor = Predictor.load(models / "completion")
    settings = replace(predictor.settings, smallest_mm3=0)
    prepared = predictor.prepare(bowl)
    expected = predictor.finish(prepared, *predictor.infer([prepared]), settings)
    for name, volume in answer.prediction.volumes.items():
        np.testing.assert_array_equal(volume.mask, expected[name].mask)


def test_predict_writes_a_surface(calvaria, models, skull, tmp_path):
    said = calvaria("predict", "completion", skull, "--out", "skull.stl", "--models", models)
    assert said.status == 0, said.err
    content = (tmp_path / "skull.stl").read_bytes()
    assert len(content) == 84 + 50 * int.from_bytes(content[80:84], "little") > 84


def test_what_was_assumed_is_said_by_every_command_that_reads(calvaria, models, vague, tmp_path, monkeypatch):
    monkeypatch.setattr("calvaria.server.server.Server.start", lambda server: (_ for _ in ()).throw(KeyboardInterrupt))
    (tmp_path / "config.properties").write_text("model_store=.\n")
    assert decode(vague.read_bytes()).warnings
    for words in [
        ("predict", "completion", vague, "--out", "answer.nrrd", "--models", models),
        ("synth", "cut", vague, "--out", "cut.nrrd"),
        ("evaluate", "--whole", vague, "--cases", 1, "--models", models, "--out", "rows.csv"),
        ("demo", "--volume", vague),
    ]:
        assert "vague.nrrd: The file has no origin" in calvaria(*words).err, words


NO_SUCH = "no-such"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("predict", "completion", "skull.nrrd", "--out", "a.nrrd", "--models", NO_SUCH), "There are no weights at .*Name another folder"),
        (("predict", "embalming", "skull.nrrd", "--out", "a.nrrd"), "There is no task 'embalming'"),
        (("predict", "completion", "skull.nrrd", "--out", "a.nrrd", "--device", "cuda:99"), "There is no device 'cuda:99' here"),
        (("predict", "completion", "skull.nrrd", "--out", "a.mha", "--models", NO_SUCH), "a.mha does not say its format"),
        (("predict", "completion", NO_SUCH, "--out", "a.nrrd", "--models", "MODELS"), "no-such cannot be read"),
        (("predict", "completion", "skull.nrrd", "--out", "a.nrrd", "--models", "MODELS", "--output", "nose"), "output cannot be 'nose'"),
        (("predict", "completion", "skull.nrrd", "--out", "a.nrrd", "--models", "MODELS", "--label", 0), "label cannot be '0'"),
        (
            ("predict", "completion", "skull.nrrd", "--out", "a.nrrd", "--models", "MODELS", "--factor", 2),
            "completion takes no option factor",
        ),
        (("predict", "completion", "skull.nrrd", "--out", "a.nrrd", "--output", "completed,implant"), "end the name in .zip"),
        (("predict", "completion", "skull.nrrd", "--out", "a.nrrd", "--format", "nii"), "The suffix of a.nrrd chooses the format"),
        (("predict", "completion", "skull.nrrd", "--out", "skull.nrrd"), "skull.nrrd would be written over skull.nrrd"),
        (("predict", "refinement", "skull.nrrd", "--image", "ct.nrrd", "--out", "ct.nrrd"), "ct.nrrd would be written over ct.nrrd"),
        (("predict", "completion", "skull.nrrd", "--out", "a.nrrd", "--report", "a.nrrd"), "a.nrrd would be written over a.nrrd"),
        (("serve",), "config.properties cannot be read: .* --folder"),
        (("stop",), "config.properties cannot be read: .* --folder"),
        (("status", "--folder", NO_SUCH), "no-such/config.properties cannot be read: .* --folder"),
        (("demo",), "config.properties cannot be read: .* --folder"),
        (("demo", "--volume", "skull.nrrd", "--cut", -1), "Invalid value for '--cut'"),
        (("evaluate", "--models", NO_SUCH), "There are no weights at .*Name another folder"),
        (("evaluate", "--seed", -1), "Invalid value for '--seed'"),
        (("evaluate", "--cases", 0), "Invalid value for '--cases'"),
        (("train", "completion", "--out", "run", "--config", NO_SUCH), "no-such cannot be read: .* Name a configuration with --config"),
        (("train", "completion", "--out", "run", "--config", "mistyped.toml"), "The configuration mistyped.toml cannot be used: .*"),
        (("train", "completion", "--out", "run", "--config", "unknown.toml"), "unknown.toml: unknown colour"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(calvaria, models, skull, tmp_path, words, sentence):
    (tmp_path / "mistyped.toml").write_text("steps = = 3")
    (tmp_path / "unknown.toml").write_text("colour = 3")
    before = set(tmp_path.iterdir())
    said = calvaria(*(models if word == "MODELS" else word for word in words))
    assert said.status == 2, said
    assert re.search(sentence, said.err), said.err
    assert "Traceback" not in said.err
    assert set(tmp_path.iterdir()) == before


def test_a_gpu_that_is_there_may_be_chosen(calvaria, models, skull, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    predict = ("predict", "completion", skull, "--out", "a.nrrd", "--models", NO_SUCH)
    for device in ("cuda", "cuda:1"):
        assert "no weights" in calvaria(*predict, "--device", device).err
    assert "Choose one of: cpu, cuda, cuda:0, cuda:1" in calvaria(*predict, "--device", "cuda:2").err


def test_terminated_it_ends_as_if_by_exit(calvaria, monkeypatch):
    """So that whatever a command has started is stopped by its `finally`."""
    cleaned = []

    def command() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            cleaned.append(True)

    monkeypatch.setattr("calvaria.cli.app", command)
    assert calvaria().status == 128 + signal.SIGTERM
    assert cleaned


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "completion", "{path}", "--out", "out.nrrd"),
        ("predict", "completion", "skull.nrrd", "--out", "{path}"),
        ("threshold", "skull.nrrd", "--out", "{path}"),
        ("stats", "{path}"),
        ("evaluate", "--cases-from", "{path}"),
        ("evaluate", "--models", "{path}"),
    ],
)
def test_a_path_that_the_system_does_not_look_at_is_refused(calvaria: Callable[..., Said], skull: Path, words: tuple[str, ...]) -> None:
    """As of one in a folder that is closed to this account, which there is none of for root."""
    said = calvaria(*(word.format(path=f"{'x' * 300}.nrrd") for word in words))
    assert said.status == 2
    assert "File name too long. [bad-option]" in said.err
