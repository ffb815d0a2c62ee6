"""A run can be stopped and continued, and learns."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from calvaria.networks import NetworkConfig
from calvaria.predictor import Predictor
from calvaria.tasks import Settings
from calvaria.training.config import DataConfig, OptimizerConfig, TrainConfig
from calvaria.training.fit import CHECKPOINT, Progress, fit, learning_rate, store, training_examples, training_seeds, validation_seeds

CONFIG = TrainConfig(
    task="completion",
    seed=5,
    network=NetworkConfig((4, 4, 8, 8, 8, 8, 8)),
    settings=Settings(spacing_mm=6.0),
    data=DataConfig(skulls=3, finer=1.5),
    optimizer=OptimizerConfig(steps=6, batch=2, warmup=2),
    validate_every=3,
    validation_skulls=2,
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose store holds the skulls of `CONFIG`."""
    folder = tmp_path_factory.mktemp("runs")
    assert list(store(CONFIG, folder / "any").make([*training_seeds(CONFIG), *validation_seeds(CONFIG)], workers=2))
    return folder


class Interrupted(Exception):
    pass


def test_an_interrupted_run_goes_on_to_the_same_weights(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calvaria.training.fit.CHECKPOINT_EVERY", 2)

    def stop(progress: Progress) -> None:
        if progress.step == 4:
            raise Interrupted

    whole = fit(CONFIG, runs / "whole")
    with pytest.raises(Interrupted):
        fit(CONFIG, runs / "parts", report=stop)
    seen: list[int] = []
    parts = fit(CONFIG, runs / "parts", report=lambda progress: seen.append(progress.step))
    assert seen == [5, 6]
    a, b = (Predictor.load(path.parent).network.state_dict() for path in (whole, parts))
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_a_run_of_another_configuration_is_not_continued(runs: Path) -> None:
    other = replace(CONFIG, seed=6, optimizer=replace(CONFIG.optimizer, steps=1))
    fit(other, runs / "other")
    assert (runs / "other" / CHECKPOINT).exists()
    with pytest.raises(ValueError, match="another configuration"):
        fit(CONFIG, runs / "other")


@pytest.mark.slow
def test_the_loss_falls(runs: Path) -> None:
    longer = replace(CONFIG, optimizer=OptimizerConfig(steps=100, batch=2, warmup=10, learning_rate=5e-3), validate_every=100)
    history: list[Progress] = []
    fit(longer, runs / "longer", report=history.append)
    assert history[-1].loss < 0.5 * history[0].loss


def test_a_run_may_start_from_anothers_weights(runs: Path) -> None:
    first = fit(CONFIG, runs / "first").parent
    still = replace(CONFIG, optimizer=OptimizerConfig(steps=1, learning_rate=0.0))
    a, b = (Predictor.load(folder).network for folder in (first, fit(still, runs / "second", start=first).parent))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(a.parameters(), b.parameters(), strict=True))


def test_examples_may_be_intact_and_thresholded_as_scans_are(runs: Path) -> None:
    intact = replace(CONFIG, data=replace(CONFIG.data, intact=1.0))
    assert all(np.array_equal(e.given, e.wanted) for e in (training_examples(intact, runs / "any")[i] for i in range(3)))
    thick, thin = (replace(CONFIG, data=replace(CONFIG.data, shares=(share, share))) for share in (0.2, 0.8))
    for i in range(3):
        more, less = (training_examples(config, runs / "any")[i].wanted.sum() for config in (thick, thin))
        assert more > 1.3 * less


def test_examples_are_a_function_of_their_number(runs: Path) -> None:
    examples = training_examples(CONFIG, runs / "any")
    again = training_examples(CONFIG, runs / "any")
    assert len(examples) == 12
    assert all(np.array_equal(examples[i].given, again[i].given) for i in (0, 7))
    assert not np.array_equal(examples[0].given, examples[1].given)


def test_what_is_given_is_part_of_what_is_wanted_and_less(runs: Path) -> None:
    for example in (training_examples(CONFIG, runs / "any")[i] for i in range(6)):
        assert not (example.given & ~example.wanted).any()
        assert example.wanted.sum() > example.given.sum() > 0


def test_settings_under_which_nothing_can_be_seen_are_an_error(runs: Path) -> None:
    blind = replace(CONFIG, data=replace(CONFIG.data, shares=(1.0, 1.0)))
    with pytest.raises(ValueError, match="no example could be made in 20 tries; the last failed because: Nothing in the mask"):
        training_examples(blind, runs / "any")[0]


def test_training_and_held_out_skulls_never_mix() -> None:
    assert not set(training_seeds(CONFIG)) & set(validation_seeds(CONFIG))


def test_the_learning_rate_warms_up_and_comes_down() -> None:
    optimizer = OptimizerConfig(steps=100, warmup=10, learning_rate=1.0)
    rates = [learning_rate(step, optimizer) for step in range(1, 101)]
    assert rates[9] == max(rates) == 1.0
    assert rates[0] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.0)
    assert sorted(rates[9:], reverse=True) == rates[9:]


def test_the_shipped_configuration_is_read(tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "models" / "completion"
    shipped = folder / "train.toml"
    first, second = TrainConfig.read(folder / "pretrain.toml"), TrainConfig.read(shipped)
    assert (first.task, first.network, first.settings) == (second.task, second.network, second.settings)
    mistyped = tmp_path / "train.toml"
    mistyped.write_text(shipped.read_text().replace("spacing_mm", "spacing"))
    with pytest.raises(ValueError, match="unknown spacing; known are spacing_mm"):
        TrainConfig.read(mistyped)
