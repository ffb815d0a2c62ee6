"""The commands on data, as a person types them."""

import csv
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import nrrd
import numpy as np
import pytest

from calvaria.cli import main
from calvaria.datasets import pairs
from calvaria.datasets.index import read_index
from calvaria.io import read, write


@pytest.fixture
def calvaria(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Runs the command with words; its status, and what it said."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["calvaria", *map(str, words)])
        monkeypatch.setattr("signal.signal", lambda *_: None)
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, " ".join(err.split())

    monkeypatch.chdir(tmp_path)
    yield run
    logging.getLogger().handlers.clear()


@pytest.fixture
def scan(tmp_path, complete):
    samples = np.where(complete.mask, 1200, -1000).astype("i2")
    nrrd.write(
        str(tmp_path / "ct.nrrd"), samples, {"space": "LPS", "space directions": np.diag([1.0, 1.0, 2.0]), "space origin": [0.0, 0, 0]}
    )
    return tmp_path / "ct.nrrd"


def test_synth_dataset_prepare_and_stats_follow_each_other(calvaria):
    status, out, err = calvaria(
        "synth", "dataset", "--count", 1, "--seed", 2, "--spacing", 4, "--defects", "random, random", "--out", "made"
    )
    assert (status, out) == (0, "made/index.csv: 5 files\n"), err
    status, out, _ = calvaria("prepare", "made", "--resolutions", "16,32", "--out", "small")
    assert (status, out) == (0, "small/index.csv: 10 files\n")
    assert [pair.name for pair in pairs("small/16")] == ["random_1/002", "random_2/002"]
    status, out, _ = calvaria(
        "stats", "made/complete_skull", "--resolutions", "16,32", "--csv", "s.csv", "--json", "s.json", "--plot", "s.png"
    )
    assert status == 0
    assert "to the power of" in out
    assert Path("s.png").read_bytes().startswith(b"\x89PNG")
    with Path("s.csv").open() as file:
        assert [row["resolution"] for row in csv.DictReader(file)][:2] == ["16", "32"]


def test_a_bad_file_is_named_and_the_status_is_1(calvaria, scan, complete):
    Path("in").mkdir()
    write("in/good.nrrd", complete)
    Path("in/bad.nrrd").write_bytes(b"NRRD0005\n")
    for command in (("prepare", "in", "--out", "out"), ("stats", "in")):
        status, out, err = calvaria(*command)
        assert status == 1
        assert "bad.nrrd: " in err
        assert "Traceback" not in err
        assert "1 files, 1 failed" in out or "power" in out
    assert read("out/native/good.nrrd").volume.occupied == complete.occupied


def test_warnings_go_to_standard_error(calvaria, scan, monkeypatch):
    Path("detached.nhdr").write_text("NRRD0004\n")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    status, out, err = calvaria("prepare", ".", "--out", "made")
    assert (status, out) == (0, "made/index.csv: 1 files\n")
    assert "files of .nhdr are not looked at" in err


def test_threshold_with_an_offset(calvaria, scan, complete, tmp_path):
    samples, header = nrrd.read(str(scan))
    nrrd.write("unsigned.nrrd", (samples + 1024).clip(0).astype("u2"), header)
    status, _, err = calvaria("threshold", "unsigned.nrrd", "--out", "bone.nrrd")
    assert status == 2
    assert "--offset -1024" in err
    status, _, err = calvaria("threshold", "unsigned.nrrd", "--offset", -1024, "--out", "bone.nrrd")
    assert status == 0, err
    assert np.array_equal(read("bone.nrrd").volume.mask, complete.mask)


@pytest.mark.parametrize(
    ("words", "file"),
    [
        (("prepare", "in"), "native/mask.nrrd"),
        (("synth", "dataset", "--count", 2, "--spacing", 8, "--defects", "random"), "implant/random/001.nrrd"),
        (("prepare", "in"), "index.csv"),
    ],
)
def test_a_file_of_somebody_elses_is_not_overwritten(calvaria, complete, words, file):
    for path in ("in/mask.nrrd", f"out/{file}"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write(path, complete) if path.endswith(".nrrd") else Path(path).write_text("mine")
    before = Path(f"out/{file}").read_bytes()
    status, _, err = calvaria(*words, "--out", "out")
    assert (status, Path(f"out/{file}").read_bytes()) == (2, before)
    assert f"out/{file} lies there already, and would be overwritten" in err
    assert not Path("out/settings.json").exists()


def test_generated_skulls_may_have_slices(calvaria):
    status, _, err = calvaria("synth", "skull", "--seed", 3, "--spacing", "4,4,6", "--out", "skull.nrrd")
    assert status == 0, err
    assert read("skull.nrrd").volume.spacing_mm == (4.0, 4.0, 6.0)
    status, _, err = calvaria("synth", "dataset", "--count", 1, "--spacing", "4,4,6", "--defects", "random", "--out", "made")
    assert status == 0, err
    assert {row.spacing_mm for row in read_index("made")} == {"4 4 6"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("synth", "dataset", "--out", "x", "--layout", "bids"), "Choose one of: skullbreak, pairs"),
        (("synth", "dataset", "--out", "x", "--defects", "hat"), "There is no defect kind 'hat'"),
        (("synth", "dataset", "--out", "x", "--spacing", "0.1"), "at least 0.2 mm"),
        (("synth", "dataset", "--out", "x", "--spacing", "1,1,0.1"), "at least 0.2 mm"),
        (("synth", "skull", "--out", "x.nrrd", "--spacing", "1,2"), "one number, or three with commas"),
        (("synth", "skull", "--out", "x.nrrd", "--spacing", "nan"), "one number, or three with commas"),
        (("prepare", "nowhere", "--out", "x"), "nowhere cannot be read: No such file or directory. Name a folder."),
        (("prepare", ".", "--out", "x", "--resolutions", "64,half"), "--resolutions takes whole numbers"),
        (("prepare", ".", "--out", "x", "--meshes", ","), "--meshes takes whole numbers"),
        (("prepare", ".", "--out", "x", "--rule", "linear"), "Choose one of: nearest, share, any"),
        (("threshold", "ct.nrrd", "--out", "ct.nrrd"), "ct.nrrd would be written over ct.nrrd"),
        (("threshold", "ct.nrrd", "--out", "absent/x.nrrd"), "there is no folder absent"),
        (("synth", "skull", "--out", "absent/x.nrrd"), "there is no folder absent"),
        (("synth", "cut", "ct.nrrd", "--out", "ct.nrrd"), "ct.nrrd would be written over ct.nrrd"),
        (("synth", "cut", "ct.nrrd", "--out", "x.nrrd", "--implant", "x.nrrd"), "x.nrrd would be written over x.nrrd"),
        (("synth", "cut", "ct.nrrd", "--out", "x.nrrd", "--implant", "absent/x.nrrd"), "there is no folder absent"),
        (("stats", "ct.nrrd", "--rule", "linear"), "Choose one of: nearest, share, any"),
        (("stats", "ct.nrrd", "--resolutions", "0"), "--resolutions takes whole numbers"),
        (("stats", "ct.nrrd", "--plot", "a.bmp"), "a.bmp does not say its format"),
        (("stats", "ct.nrrd", "--csv", "ct.nrrd/a.csv"), "a.csv cannot be written"),
        (("stats", "--csv", "ct.nrrd", "ct.nrrd"), "ct.nrrd is to be written, and does not end in .csv"),
        (("stats", "ct.nrrd", "--json", "a.csv"), "a.csv is to be written, and does not end in .json"),
        (("stats", "ct.nrrd", "--csv", "a.csv", "--plot", "a.csv"), "a.csv does not say its format"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(calvaria, scan, tmp_path, words, sentence):
    before = set(tmp_path.iterdir())
    status, _, err = calvaria(*words)
    assert status == 2
    assert sentence in err
    assert set(tmp_path.iterdir()) == before
