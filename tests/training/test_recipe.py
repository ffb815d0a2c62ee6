"""`make train`: every run can begin where the ones before it ended, and the last ones end with networks such as ship."""

import shutil
import subprocess
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest

from calvaria.networks import EncoderDecoder
from calvaria.tasks import TASKS
from calvaria.training.averaging import average
from calvaria.training.config import TrainConfig
from calvaria.training.fit import begun, check
from calvaria.weights import CLOSE_UP, WEIGHTS, load_weights, save_weights

ROOT = Path(__file__).parents[2]

TRAIN = ArgumentParser()
TRAIN.add_argument("task")
for option in ("--config", "--first", "--start", "--out"):
    TRAIN.add_argument(option, type=Path)


def commands() -> Iterator[list[str]]:
    """Of the recipe, and of what it needs first, in their order."""
    said = subprocess.run(["make", "-n", "train"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    for line in said.stdout.splitlines():
        yield line.split()


def stands_for(run: Namespace) -> None:
    """Weights as the run would leave them, had it learned nothing, once everything is checked that it checks before it begins."""
    config = TrainConfig.read(ROOT / (run.config or Path("models") / run.task / "train.toml"))
    assert config.task == run.task
    check(config, run.out, "cpu", run.start, run.first)
    network = EncoderDecoder(config.network)
    if run.start:
        network.load_state_dict(begun(config, run.start))
    run.out.mkdir(parents=True, exist_ok=True)
    save_weights(run.out / (CLOSE_UP if config.second else WEIGHTS), network, TASKS[config.task], config.settings)


@pytest.mark.slow
def test_every_run_begins_where_another_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    configured = set(ROOT.glob("models/*/*.toml"))
    for command in commands():
        match command:
            case [".venv/bin/calvaria", "train", *words]:
                run = TRAIN.parse_args(words)
                stands_for(run)
                configured.discard(ROOT / (run.config or Path("models") / run.task / "train.toml"))
            case [_, "-m", "calvaria.training.averaging", before, after, share, path]:
                average(Path(before), Path(after), float(share), Path(path))
            case ["mkdir", "-p", folder]:
                Path(folder).mkdir(parents=True, exist_ok=True)
            case ["cp", source, folder]:
                shutil.copy(source, folder)
    ends = {"completion": "anew", "super-resolution": "super-resolution", "refinement": "refinement"}
    for shipped in ROOT.glob("models/*/*.safetensors"):
        if shipped.parent.name in ends:
            (made, task, settings), (network, *others) = (
                load_weights(Path("runs") / ends[shipped.parent.name] / shipped.name),
                load_weights(shipped),
            )
            assert (made.config, [task, settings]) == (network.config, others), shipped
    assert {path.name for path in configured} == {"ch2.toml", "left-out.toml", "paper.toml"}, "for comparison: no run of the recipe"
