"""`calvaria evaluate` for every task, with networks of random weights: what is written, and what is refused."""

import csv
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nrrd
import numpy as np
import pytest
import torch

from calvaria.cli import main
from calvaria.commands.evaluate import in_turn
from calvaria.evaluation.assessments import ASSESSMENTS
from calvaria.evaluation.cubes import Resolutions
from calvaria.evaluation.evaluate import MODEL
from calvaria.evaluation.scoring import Planned
from calvaria.evaluation.super_resolution import GRIDS
from calvaria.io import read, write
from calvaria.networks import EncoderDecoder, NetworkConfig
from calvaria.tasks import TASKS, Settings, refinement, super_resolution
from calvaria.volume import BinaryVolume
from calvaria.weights import WEIGHTS, save_weights

CHANNELS = (4, 4, 4, 4, 4, 4, 4)
NETWORKS = {
    "completion": (NetworkConfig(CHANNELS), Settings(spacing_mm=4.0)),
    "super-resolution": (NetworkConfig(CHANNELS, grows=False, inputs=super_resolution.INPUTS), Settings(spacing_mm=0.4)),
    "refinement": (NetworkConfig(CHANNELS, grows=False, inputs=refinement.INPUTS), Settings(spacing_mm=1.0)),
}

Command = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for task, (config, settings) in NETWORKS.items():
        (folder / task).mkdir()
        save_weights(folder / task / WEIGHTS, EncoderDecoder(config), TASKS[task], settings)
    return folder


@pytest.fixture
def evaluate(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in a folder that holds ball.nrrd; returns its exit status and what it said on standard error."""
    x, y, z = np.indices((32, 32, 32)) - 16
    shell = abs(np.sqrt(x**2 + y**2 + z**2) - 11) < 2.5
    write(tmp_path / "ball.nrrd", BinaryVolume.on_grid(shell, (2.0, 2.0, 2.0)))
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["calvaria", "evaluate", *map(str, words), "--models", str(models)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), " ".join(capsys.readouterr().err.split())

    return run


def read_rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(name).read_text().splitlines()))


def test_every_task_has_a_row() -> None:
    assert set(ASSESSMENTS) == set(TASKS)
    assert all(name == assessment.task for name, assessment in ASSESSMENTS.items())


def test_a_skull_is_made_finer_and_scored(evaluate: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GRIDS, "64-128", Resolutions(32, 16))
    monkeypatch.setitem(GRIDS, "slices-128", Resolutions(48, None))
    words = ("super-resolution", "--cases", 1, "--kinds", "64-128,slices-128", "--out", "fine.csv", "--no-pictures")
    assert evaluate(*words)[0] == 0
    rows = read_rows("fine.csv")
    assert [(row["kind"], row["method"]) for row in rows] == [
        (kind, method) for kind in ("64-128", "slices-128") for method in (MODEL, "shape-based", "linear", "nearest")
    ]
    assert all(0 <= float(row["dice"]) <= 1 for row in rows)
    before = Path("fine.csv").read_text()
    assert evaluate(*words)[0] == 0
    assert Path("fine.csv").read_text() == before  # nothing was left to do


@pytest.mark.parametrize("intact", [False, True])
def test_a_mask_is_refined_and_scored(evaluate: Command, intact: bool) -> None:
    words = ("refinement", "--whole", "ball.nrrd", "--cases", 1, "--out", "refined.csv")
    status, said = evaluate(*words, *(["--intact"] if intact else []))
    assert status == 0, said
    rows = {row["method"]: row for row in read_rows("refined.csv")}
    assert list(rows) == [MODEL, "opening", "closing", "largest component", "Gaussian smoothing", "input unchanged"]
    assert (float(rows["input unchanged"]["dice"]) == 1) == intact
    assert ("error_left" in rows[MODEL]) != intact
    assert Path("refined.png").exists()
    assert json.loads(Path("refined.json").read_text())["from"] == "ball.nrrd"


def test_cases_that_are_others_by_now_are_not_gone_on_with(evaluate: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GRIDS, "64-128", Resolutions(24, 12))
    words = ("super-resolution", "--cases", 1, "--kinds", "64-128", "--out", "others.csv", "--no-pictures", "--no-baselines")
    assert evaluate(*words)[0] == 0
    monkeypatch.setitem(ASSESSMENTS, "super-resolution", replace(ASSESSMENTS["super-resolution"], generator=lambda: 0))
    status, said = evaluate(*words)
    assert (status, "Choose another --out" in said) == (2, True)
    whole = ("refinement", "--whole", "ball.nrrd", "--cases", 1, "--out", "whole.csv", "--no-pictures", "--no-baselines")
    assert evaluate(*whole)[0] == 0
    Path("ball.nrrd").touch()
    assert evaluate(*whole)[0] == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("embalming",), "There is no task 'embalming'"),
        (("super-resolution", "--intact"), "super-resolution has no test with nothing to change: leave out --intact"),
        (("super-resolution", "--cases-from", "."), "super-resolution cannot be scored on pairs"),
        (("super-resolution", "--spacing-mm", 1), "The voxels of cases of super-resolution are part of the test"),
        (("super-resolution", "--working"), "Answers of super-resolution are scored on their own grid"),
        (("super-resolution", "--kinds", "64-65"), "super-resolution has no kind of case '64-65'. Choose of: 64-128,"),
        (("super-resolution", "--whole", "ball.nrrd", "--kinds", "64-512"), "Voxels of 2 × 2 × 2 mm do not support 64-512"),
        (("super-resolution", "--seed", 900_000), "others were trained on"),
        (("refinement", "--kinds", "64-128"), "refinement has no kind of case '64-128'. Choose of: heart, aorta,"),
        (("refinement", "--whole", "ball.nrrd", "--kinds", "heart"), "Mistakes in ball.nrrd are drawn"),
        (("refinement", "--intact", "--kinds", "heart,network"), "Masks that are right have no mistakes: leave network out of --kinds"),
        (("refinement", "--seed", 900_000), "others were trained on"),
        (("--cases-from", ".", "--kinds", "edge"), "--cases-from brings its own cases"),
        (("--cases-from", ".", "--seed", 3), "--cases-from takes cases as they come"),
        (("--cases-from", ".", "--spacing-mm", 1), "Files have voxels of their own"),
        (("--whole", "ball.nrrd", "--spacing-mm", 1), "Files have voxels of their own"),
        (("--intact", "--kinds", "edge"), "Heads with nothing missing are of one kind"),
        (("--kinds", "heart"), "completion has no kind of case 'heart'"),
    ],
)
def test_what_a_task_has_no_use_for_is_refused_before_anything_is_written(
    evaluate: Command, words: tuple[object, ...], sentence: str
) -> None:
    status, said = evaluate(*words, "--out", "rows.csv")
    assert status == 2, said
    assert sentence in said
    assert not Path("rows.csv").exists()


def test_without_a_grid_of_its_own_there_is_none_to_score_on(evaluate: Command, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells of such weights are a volume's voxels."""
    monkeypatch.setattr("calvaria.commands.evaluate.model_folder", lambda *_: models / "own voxels")
    config, settings = NETWORKS["completion"]
    (models / "own voxels").mkdir()
    own = replace(settings, spacing_mm=0.0)
    save_weights(models / "own voxels" / WEIGHTS, EncoderDecoder(config), TASKS["completion"], own)
    status, said = evaluate("--whole", "ball.nrrd", "--working", "--out", "rows.csv")
    assert (status, "(spacing_mm = 0): leave out --working" in said) == (2, True)
    assert not Path("rows.csv").exists()


def test_every_head_of_a_folder_is_scored_and_one_that_cannot_be_read_fails_alone(evaluate: Command) -> None:
    heads = Path("heads")
    heads.mkdir()
    for name in ("a", "b"):
        (heads / f"{name}.nrrd").write_bytes(Path("ball.nrrd").read_bytes())
    (heads / "c.nrrd").write_bytes(Path("ball.nrrd").read_bytes()[:200])
    words = ("--whole", "heads", "--intact", "--out", "heads.csv", "--no-pictures", "--no-baselines")
    assert evaluate(*words)[0] == 1
    rows = {row["case"]: row for row in read_rows("heads.csv")}
    assert [(case, row["skull"], row["exit_code"], row["error"]) for case, row in rows.items()] == [
        ("a.nrrd", "a.nrrd", "0", ""),
        ("b.nrrd", "b.nrrd", "0", ""),
        ("c.nrrd", "c.nrrd", "2", "truncated"),
    ]
    assert rows["c.nrrd"]["message"].startswith("The ")
    assert "heads: 2 " in Path("heads.txt").read_text(), "the title counts what could be read"
    (heads / "c.nrrd").write_bytes(Path("ball.nrrd").read_bytes())
    before = read_rows("heads.csv")[:2]
    assert evaluate(*words)[0] == 0
    assert read_rows("heads.csv")[:2] == before
    assert [row["error"] for row in read_rows("heads.csv")] == ["", "", ""]


def test_a_name_may_look_like_markup_and_need_not_be_text(evaluate: Command) -> None:
    heads = Path("[new] :skull: caf\udce9")
    try:
        heads.mkdir()
    except (OSError, UnicodeError):
        pytest.skip("this file system refuses the name")
    (heads / "a.nrrd").write_bytes(Path("ball.nrrd").read_bytes())
    assert evaluate("--whole", heads, "--intact", "--out", "heads.csv", "--no-pictures", "--no-baselines")[0] == 0
    assert "[new] :skull: caf?: 1 " in Path("heads.txt").read_text()


def test_each_head_of_a_folder_gets_defects_of_its_own(evaluate: Command) -> None:
    Path("heads").mkdir()
    Path("heads/a.nrrd").write_bytes(Path("ball.nrrd").read_bytes())
    Path("heads/b.nrrd").write_bytes(Path("ball.nrrd").read_bytes())
    words = ("refinement", "--cases", 2, "--no-pictures", "--no-baselines")
    assert evaluate(*words, "--whole", "heads", "--out", "folder.csv")[0] == 0
    assert evaluate(*words, "--whole", "heads/b.nrrd", "--out", "file.csv")[0] == 0
    of_folder, of_file = read_rows("folder.csv"), read_rows("file.csv")
    assert [row["skull"] for row in of_folder] == ["a.nrrd", "a.nrrd", "b.nrrd", "b.nrrd"]
    assert [row["given_dice"] for row in of_folder[2:]] == [row["given_dice"] for row in of_file]


def test_a_head_that_can_be_read_by_now_gets_its_defects(evaluate: Command) -> None:
    heads = Path("heads")
    heads.mkdir()
    whole = Path("ball.nrrd").read_bytes()
    (heads / "a.nrrd").write_bytes(whole)
    (heads / "b.nrrd").write_bytes(whole[:200])
    words = ("refinement", "--cases", 2, "--whole", "heads", "--out", "heads.csv", "--no-pictures", "--no-baselines")
    assert evaluate(*words)[0] == 1
    (heads / "b.nrrd").write_bytes(whole)
    assert evaluate(*words)[0] == 0
    assert [row["skull"] for row in read_rows("heads.csv")] == ["a.nrrd"] * 2 + ["b.nrrd"] * 2


def test_what_no_head_of_a_folder_can_have_is_refused(evaluate: Command) -> None:
    Path("heads").mkdir()
    Path("heads/a.nrrd").write_bytes(Path("ball.nrrd").read_bytes())
    status, said = evaluate("refinement", "--whole", "heads", "--kinds", "heart", "--out", "rows.csv")
    assert (status, "leave out --kinds" in said) == (2, True)
    assert not Path("rows.csv").exists()


def test_a_folder_without_volumes_is_refused(evaluate: Command) -> None:
    Path("nothing").mkdir()
    status, said = evaluate("--whole", "nothing", "--out", "rows.csv")
    assert (status, "nothing holds no volume" in said) == (2, True)


def test_masks_of_a_folder_are_refined_with_their_scans(evaluate: Command) -> None:
    for place in ("with scan", "without"):
        Path("masks", place).mkdir(parents=True)
        for file in ("rough", "right"):
            Path("masks", place, f"{file}.nrrd").write_bytes(Path("ball.nrrd").read_bytes())
    shell = read(Path("ball.nrrd")).volume
    nrrd.write("masks/with scan/scan.nrrd", np.where(shell.mask, 40, -900).astype(np.int16), nrrd.read_header("ball.nrrd"))
    assert evaluate("refinement", "--cases-from", "masks", "--out", "masks.csv", "--no-pictures")[0] == 0
    rows = [row for row in read_rows("masks.csv") if row["method"] == "input unchanged"]
    assert [(row["case"], row["given_dice"]) for row in rows] == [("with scan", "1"), ("without", "1")]


def test_kinds_take_turns_where_not_all_cases_of_a_folder_are_asked_for() -> None:
    cases = [Planned(f"{kind}/{number}", kind, str(number), lambda: pytest.fail("nothing is read")) for kind in "ab" for number in range(3)]
    assert [case.name for case in in_turn(cases)[:4]] == ["a/0", "b/0", "a/1", "b/1"]
    assert in_turn(cases[:3]) == cases[:3]
