"""`make train`: every run can begin where the ones before it ended, and the last ones end with networks such as ship."""

from pathlib import Path

import pytest

from calvaria.networks import EncoderDecoder
from calvaria.tasks import TASKS
from calvaria.training.config import TrainConfig
from calvaria.training.fit import begun, check
from calvaria.training.recipe import RUNS, steps
from calvaria.weights import CLOSE_UP, WEIGHTS, load_weights, save_weights

ROOT = Path(__file__).parents[2]

ENDS = {"completion": "anew", "super-resolution": "super-resolution", "refinement": "refinement"}


def stands_for(config: Path, out: Path, start: Path | None = None, first: Path | None = None) -> None:
    """Weights as a run would leave them, had it learned nothing, once everything is checked that it checks before it begins."""
    read = TrainConfig.read(config)
    assert read.task == config.parent.name
    check(read, out, "cpu", start, first)
    network = EncoderDecoder(read.network)
    if start:
        network.load_state_dict(begun(read, start))
    out.mkdir(parents=True, exist_ok=True)
    save_weights(out / (CLOSE_UP if read.second else WEIGHTS), network, TASKS[read.task], read.settings)


@pytest.mark.slow
def test_every_run_begins_where_another_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    configured = set(ROOT.glob("models/*/*.toml"))
    for step in steps():
        if step.between:
            step.average()
        else:
            stands_for(**step.options)
            configured.discard(step.options["config"])
    for shipped in ROOT.glob("models/*/*.safetensors"):
        if shipped.parent.name in ENDS:
            (made, *same), (network, *others) = load_weights(RUNS / ENDS[shipped.parent.name] / shipped.name), load_weights(shipped)
            assert (made.config, same) == (network.config, others), shipped
    assert {path.name for path in configured} == {"ch2.toml", "left-out.toml", "paper.toml"}, "for comparison: no step of the recipe"
