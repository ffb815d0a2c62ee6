"""`calvaria retrain`: every run can begin where those before it ended, and the last ones end with networks such as ship."""

from pathlib import Path
from typing import Any

import pytest

from calvaria.networks import EncoderDecoder
from calvaria.tasks import TASKS
from calvaria.training import recipe
from calvaria.training.config import TrainConfig
from calvaria.training.fit import begun, check
from calvaria.training.recipe import retrain
from calvaria.weights import CLOSE_UP, WEIGHTS, load_weights, save_weights

ROOT = Path(__file__).parents[2]


def stands_for(task: str, config: Path, out: Path, device: str, start: Path | None, first: Path | None) -> None:
    """Weights as a run would leave them, had it learned nothing, once everything is checked that it checks before it begins."""
    read = TrainConfig.read(config)
    assert read.task == task == config.parent.name
    assert read.continues == bool(start)
    check(read, out, device, start, first)
    network = EncoderDecoder(read.network)
    if start:
        network.load_state_dict(begun(read, start))
    out.mkdir(parents=True, exist_ok=True)
    save_weights(out / (CLOSE_UP if read.second else WEIGHTS), network, TASKS[read.task], read.settings)


@pytest.mark.slow
def test_every_run_begins_where_another_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configured = set(ROOT.glob("models/*/*.toml"))

    def run(task: str, config: Path, *words: Any) -> None:
        stands_for(task, config, *words)
        configured.discard(config)

    monkeypatch.setattr(recipe, "run", run)
    retrain(tmp_path, "cpu")
    for shipped in ROOT.glob("models/*/*.safetensors"):
        if shipped.parent.name in TASKS:
            (made, *same), (network, *others) = load_weights(tmp_path / shipped.parent.name / shipped.name), load_weights(shipped)
            assert (made.config, same) == (network.config, others), shipped
    assert {path.name for path in configured} == {"ch2.toml", "left-out.toml", "paper.toml"}, "for comparison: no step of the recipe"
