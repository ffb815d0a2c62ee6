"""Where no bar can move, a run says in lines how far it has come."""

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console
from rich.progress import Progress

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.training.run import Stage, run
from tests.training.test_team import FILE


@pytest.mark.parametrize(
    ("seconds_a_step", "expected"),
    [
        (2.0, [1, 16, 31, 46, 50, 65, 80, 95, 110, 125, 140, 155, 170, 185, 200]),  # each half minute
        (0.1, [1, 50, 150, 200]),  # each hundred steps
    ],
)
def test_lines_come_at_first_and_last_at_validations_and_when_they_are_due(seconds_a_step: float, expected: list[int]) -> None:
    screen = io.StringIO()
    now = 0.0
    bars = Progress(console=Console(file=screen), get_time=lambda: now, disable=True)
    stage = Stage(bars, "training", 200)
    for step in range(1, 201):
        now += seconds_a_step
        stage.reach(step, f"loss {1 / step:.3f}", notable=step == 50)
    assert [int(line.split()[1]) for line in screen.getvalue().splitlines()] == expected


def test_a_line_tells_what_is_left() -> None:
    screen = io.StringIO()
    now = 0.0
    bars = Progress(console=Console(file=screen), get_time=lambda: now, disable=True)
    stage = Stage(bars, "training", 9000)
    for step in (4001, 4002):  # gone on with: the first 4,000 took no time
        now += 2.0
        stage.reach(step, "loss 0.250, implant DSC 0.700", notable=True)
    assert screen.getvalue().splitlines() == [
        "training 4001 of 9000, loss 0.250, implant DSC 0.700",
        "training 4002 of 9000, loss 0.250, implant DSC 0.700, 2:46:36 left",
    ]


def test_on_a_terminal_there_are_no_lines() -> None:
    screen = io.StringIO()
    Stage(Progress(console=Console(file=screen)), "training", 1).reach(1, "loss 0.250", notable=True)
    assert screen.getvalue() == ""


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")]
)
def test_too_little_memory_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object) -> None:
        raise error

    (tmp_path / "train.toml").write_text(FILE)
    monkeypatch.setattr("calvaria.training.run.fit", fail)
    with pytest.raises(CalvariaError, match=r"takes more memory than there is .*Lower batch") as refused:
        run("completion", tmp_path / "train.toml", tmp_path / "runs" / "any", "cpu")
    assert refused.value.code is ErrorCode.OUT_OF_MEMORY


@pytest.mark.parametrize("continues", [True, False])
def test_a_run_that_should_go_on_from_weights_is_told_that_it_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, continues: bool
) -> None:
    (tmp_path / "train.toml").write_text(FILE.replace("seed = 5", f"seed = 5\ncontinues = {str(continues).lower()}"))
    monkeypatch.setattr("calvaria.training.run.fit", lambda *_: tmp_path)
    run("completion", tmp_path / "train.toml", tmp_path / "runs" / "any", "cpu")
    assert ("without --start it begins with random ones" in caplog.text) == continues
