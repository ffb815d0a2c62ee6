"""A run that is asked to stop does so between two steps, and loses nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from calvaria.predictor import Predictor
from calvaria.training.checkpoint import CHECKPOINT, Progress
from calvaria.training.fit import fit
from calvaria.training.history import HISTORY
from calvaria.training.stopping import Stopped, asked_to_stop
from tests.training.small_run import CONFIG


@pytest.fixture
def heeding() -> Iterator[None]:
    """As in a terminal: in the background Ctrl-C is ignored, and under nohup SIGHUP."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("heeding")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_asked_to_stop_saves_where_it_is_and_goes_on_to_the_same_weights(runs: Path, number: signal.Signals) -> None:
    whole = fit(CONFIG, runs / "not asked")

    def stop(progress: Progress) -> None:
        if progress.step == 4:
            signal.raise_signal(number)

    before = signal.getsignal(number)
    folder = runs / f"asked by {number.name}"
    with pytest.raises(Stopped) as stopped:
        fit(CONFIG, folder, report=stop)
    assert (stopped.value.number, stopped.value.step) == (number, 5)
    assert signal.getsignal(number) == before
    seen: list[int] = []
    parts = fit(CONFIG, folder, report=lambda progress: seen.append(progress.step))
    assert seen == [6]
    assert (folder / HISTORY).read_text() == (runs / "not asked" / HISTORY).read_text()
    a, b = (Predictor.load(path.parent).network.state_dict() for path in (whole, parts))
    for name in a:
        assert torch.equal(a[name], b[name]), name


@pytest.mark.usefixtures("heeding")
def test_where_torchrun_signals_twice_the_second_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with asked_to_stop() as asked:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert asked() == signal.SIGTERM


@pytest.mark.parametrize("group", [True, False])
def test_a_signal_to_the_whole_group_of_processes_loses_nothing_either(runs: Path, tmp_path: Path, group: bool) -> None:
    """As from torchrun, systemd or Slurm, which signal the processes that make examples, too."""
    (tmp_path / "run.py").write_text(f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from dataclasses import replace
from pathlib import Path
from calvaria.training.fit import fit
from calvaria.training.stopping import Stopped
from calvaria.training.config import *
from calvaria.networks import NetworkConfig
from calvaria.tasks import Settings

config = {CONFIG!r}
config = replace(config, optimizer=replace(config.optimizer, steps=5000), validate_every=5000)
try:
    fit(config, Path({str(runs / f"group {group}")!r}), report=lambda progress: print(progress.step, flush=True))
except Stopped as stopped:
    print("stopped", stopped.step)
""")
    with subprocess.Popen([sys.executable, str(tmp_path / "run.py")], stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "1\n"
        (os.killpg if group else os.kill)(process.pid, signal.SIGTERM)
        last = process.stdout.read().split()
    assert last[-2] == "stopped"
    assert (runs / f"group {group}" / CHECKPOINT).exists()


def test_what_makes_skulls_beside_a_run_ends_when_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from calvaria.training import skulls

def make_skull(seed, spacing_mm):
    print("making", flush=True)
    time.sleep(60)

skulls.make_skull = make_skull
list(skulls.SkullStore(Path({str(tmp_path)!r}), 1.0).make([1], workers=1))
""")
    process = subprocess.Popen([sys.executable, str(tmp_path / "run.py")], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout
    assert process.stdout.readline() == "making\n"
    process.kill()
    try:
        process.communicate(timeout=20)  # until all who could write have ended
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.usefixtures("heeding")
def test_asked_a_second_time_it_ends_at_once() -> None:
    with asked_to_stop() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGINT)
        assert stop() == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
