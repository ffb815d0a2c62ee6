"""A run can be stopped and continued, and learns."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import active_children, get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import Dataset

from calvaria.dense import DenseNetwork
from calvaria.errors import CalvariaError
from calvaria.networks import EncoderDecoder
from calvaria.predictor import Predictor
from calvaria.synthetic import cut_defect, make_skull
from calvaria.tasks import TASKS
from calvaria.tasks.closeup import INPUTS
from calvaria.training.checkpoint import CHECKPOINT, Learner, Progress, Run, save
from calvaria.training.config import OptimizerConfig, TrainConfig
from calvaria.training.data import COARSEST, Example, Examples, KeptExamples
from calvaria.training.examples import training_examples, training_seeds, validation_seeds
from calvaria.training.fit import fit, learning_rate
from calvaria.training.history import HISTORY
from calvaria.training.lessons import LESSONS
from calvaria.training.skulls import store
from calvaria.training.team import Team
from calvaria.weights import CLOSE_UP, WEIGHTS, save_weights
from tests.training.example_cells import unshifted
from tests.training.small_run import CONFIG, GRADED, LOOK_AGAIN


class Interrupted(Exception):
    pass


def test_an_interrupted_run_goes_on_to_the_same_weights(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calvaria.training.fit.CHECKPOINT_EVERY", 2)
    whole = fit(CONFIG, runs / "whole")
    with monkeypatch.context() as broken:
        broken.setattr("calvaria.training.fit.save", fails_at(4))  # its row is there, its checkpoint is not
        with pytest.raises(Interrupted):
            fit(CONFIG, runs / "parts")
    seen: list[int] = []
    parts = fit(CONFIG, runs / "parts", report=lambda progress: seen.append(progress.step))
    assert seen == [4, 5, 6]
    assert (runs / "parts" / HISTORY).read_text() == (runs / "whole" / HISTORY).read_text()
    a, b = (Predictor.load(path.parent).network.state_dict() for path in (whole, parts))
    for name in a:
        assert torch.equal(a[name], b[name]), name


def fails_at(step: int) -> Callable[..., None]:
    def save_but(path: Path, run: Run, network: Learner, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        if progress.step == step:
            raise Interrupted
        save(path, run, network, optimizer, progress)

    return save_but


def test_a_runs_history_has_a_row_at_each_validation_and_checkpoint(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And goes on with its run."""
    monkeypatch.setattr("calvaria.training.fit.CHECKPOINT_EVERY", 4)
    seen: list[Progress] = []
    fit(CONFIG, runs / "followed", report=seen.append)
    header, *rows = (runs / "followed" / HISTORY).read_text().splitlines()
    assert header == "step,loss,quality"
    assert rows == [f"{p.step},{p.loss:.6g},{f'{p.quality:.6g}' if p.validated else ''}" for p in seen if p.step in (3, 4, 6)]
    assert [p.step for p in seen if p.validated] == [3, 6]

    fit(replace(CONFIG, until=3), runs / "continued")
    assert (runs / "continued" / HISTORY).read_text().splitlines() == [header, rows[0]]
    fit(CONFIG, runs / "continued")
    assert (runs / "continued" / HISTORY).read_text().splitlines() == [header, *rows]


def test_only_the_first_of_a_team_writes(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Team, "assemble", lambda device: Team(rank=1, size=2))
    monkeypatch.setattr(Team, "average", lambda *_: None)
    monkeypatch.setattr(Team, "most", lambda _, number, device: number)
    fit(CONFIG, runs / "follower")
    assert not list((runs / "follower").iterdir())


def test_a_run_of_another_configuration_is_not_continued(runs: Path) -> None:
    other = replace(CONFIG, seed=6, optimizer=replace(CONFIG.optimizer, steps=1))
    fit(other, runs / "other")
    assert (runs / "other" / CHECKPOINT).exists()
    with pytest.raises(CalvariaError, match="another configuration"):
        fit(CONFIG, runs / "other")


def test_a_run_on_other_skulls_or_from_other_weights_is_not_continued(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = replace(CONFIG, until=1)
    start = fit(CONFIG, runs / "start").parent
    fit(short, runs / "begun", start=start)
    fit(short, runs / "begun", start=start)
    with pytest.raises(CalvariaError, match="another configuration, start"):
        fit(short, runs / "begun")
    monkeypatch.setattr("calvaria.training.lessons.GENERATOR", 0)
    with pytest.raises(CalvariaError, match="another configuration, start"):
        fit(short, runs / "begun", start=start)


def test_weights_of_another_task_are_no_start(runs: Path) -> None:
    with pytest.raises(CalvariaError, match="are for refinement, not completion"):
        fit(CONFIG, runs / "of another", start=Path(__file__).parents[2] / "models" / "refinement")
    assert not (runs / "of another" / WEIGHTS).exists()


def test_a_checkpoint_outlives_a_setting_that_came_later(runs: Path) -> None:
    short = replace(CONFIG, until=1)
    fit(short, runs / "older")
    state = torch.load(runs / "older" / CHECKPOINT, weights_only=True)
    del state["run"]["config"]["network"]["keep_above"]
    torch.save(state, runs / "older" / CHECKPOINT)
    fit(short, runs / "older")
    with pytest.raises(CalvariaError, match="another configuration"):
        fit(replace(short, network=replace(short.network, keep_above=-1.0)), runs / "older")


def test_a_checkpoint_with_a_setting_that_is_gone_is_of_another_run(runs: Path) -> None:
    short = replace(CONFIG, until=1)
    fit(short, runs / "gone")
    state = torch.load(runs / "gone" / CHECKPOINT, weights_only=True)
    state["run"]["config"]["data"]["mirrored"] = True
    torch.save(state, runs / "gone" / CHECKPOINT)
    with pytest.raises(CalvariaError, match="another configuration"):
        fit(short, runs / "gone")


def test_weights_that_are_no_numbers_are_never_written(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calvaria.training.fit.pyramid_loss", lambda levels, *_: sum(level.logits.sum() for level in levels) * torch.nan)
    with pytest.raises(CalvariaError, match="is not finite"):
        fit(CONFIG, runs / "nan")
    assert not (runs / "nan" / WEIGHTS).exists()


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


@pytest.fixture(scope="module")
def second_looks(runs: Path) -> tuple[Path, Path]:
    """The folders of a first network, made to find a great deal, and of a second one that learned from what it says."""
    torch.manual_seed(0)
    network = EncoderDecoder(GRADED.network)
    for level in network.decoder:
        torch.nn.init.constant_(level.head.bias, 3.0)
    first = runs / "finds"
    first.mkdir()
    save_weights(first / WEIGHTS, network, TASKS["completion"], GRADED.settings)
    assert list(store(LOOK_AGAIN, runs / "again").make([*training_seeds(LOOK_AGAIN), *validation_seeds(LOOK_AGAIN)], workers=2))
    path = fit(LOOK_AGAIN, runs / "again", first=first)
    assert path.name == CLOSE_UP
    return first, path


def test_a_second_network_learns_from_what_the_first_says_and_both_answer_together(second_looks: tuple[Path, Path]) -> None:
    first, path = second_looks
    (first / CLOSE_UP).write_bytes(path.read_bytes())
    predictor = Predictor.load(first)
    skull = make_skull(77, 2.0)
    prepared = predictor.prepare(cut_defect(skull, 3).defective)
    inferred = predictor.infer([prepared])[0]
    assert inferred.closeup is not None
    assert inferred.closer is not None
    assert inferred.closer.shape == inferred.closeup.grid.shape
    assert inferred.closeup.grid.spacing_mm == 4.0
    assert (inferred.closer[~inferred.closeup.sites] == 0).all()
    assert not (predictor.finish(prepared, inferred)["implant"].mask & prepared.volume.mask).any()


def test_kept_examples_come_again_elsewhere_and_then_mirrored(runs: Path, second_looks: tuple[Path, Path]) -> None:
    examples = training_examples(LOOK_AGAIN, runs / "again", second_looks[0])
    fresh = training_examples(replace(LOOK_AGAIN, data=replace(LOOK_AGAIN.data, distinct=0)), runs / "again", second_looks[0])[0]
    kept = [examples[i] for i in (0, 2, 4)]
    before = np.array([each.sites.shape for each in kept]) - fresh.sites.shape
    assert ((before >= 0) & (before < COARSEST)).all()
    assert len(np.unique(before, axis=0)) == 3
    one, image, again = (unshifted(each, fresh.sites.shape) for each in kept)
    assert np.array_equal(one.sites, again.sites)
    assert np.array_equal(one.sites, image.sites[::-1])
    assert np.array_equal(one.wanted, image.wanted[::-1])
    spread = np.zeros((*one.sites.shape, INPUTS), np.float32)
    spread[one.sites] = one.features
    assert np.array_equal(spread[::-1][image.sites], image.features)


def test_kept_examples_lie_elsewhere_in_every_run(runs: Path) -> None:
    run = training_examples(replace(CONFIG, data=replace(CONFIG.data, distinct=2)), runs / "placed")
    assert isinstance(run, KeptExamples)
    later = KeptExamples(Examples(run.examples.draw, CONFIG.seed + 1, len(run)), run.distinct, run.folder)
    assert run[0].sites.shape == run[0].sites.shape
    assert run[0].sites.shape != later[0].sites.shape
    assert np.count_nonzero(run[0].sites) == np.count_nonzero(later[0].sites)


def test_full_or_empty_cells_are_kept_too(runs: Path) -> None:
    kept = replace(CONFIG, data=replace(CONFIG.data, distinct=2))
    fresh, again = training_examples(CONFIG, runs / "any"), training_examples(kept, runs / "occupancy")
    assert again[1].features is None
    for i, flip in ((0, 1), (1, 1), (2, -1), (5, 1)):
        one = unshifted(again[i], fresh[i % 2].sites.shape)
        assert np.array_equal(fresh[i % 2].sites[::flip], one.sites)
        assert np.array_equal(fresh[i % 2].wanted[::flip], one.wanted)


def test_kept_examples_of_another_configuration_are_not_taken(runs: Path) -> None:
    kept = replace(CONFIG, data=replace(CONFIG.data, distinct=2))
    one, other = (training_examples(replace(kept, seed=seed), runs / "shared")[0] for seed in (1, 2))
    assert not np.array_equal(one.wanted, other.wanted)


def make_example(kept: Dataset[Example], index: int) -> None:
    kept[index]


def test_processes_may_make_the_same_example_at_once(runs: Path) -> None:
    kept = training_examples(replace(CONFIG, data=replace(CONFIG.data, distinct=1)), runs / "raced")
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        list(pool.map(make_example, [kept] * 4, range(4)))
    assert [path.name for path in (runs / "raced").rglob("*.npz")] == ["0.npz"]


def test_a_second_network_needs_a_first(runs: Path) -> None:
    for config, first in ((LOOK_AGAIN, None), (CONFIG, runs)):
        with pytest.raises(CalvariaError, match="with the folder of a first one"):
            fit(config, runs / "neither", first=first)


@pytest.mark.parametrize("distinct", [0, 2])
def test_a_first_network_that_is_not_there_or_of_another_task_is_refused(distinct: int, tmp_path: Path) -> None:
    config = replace(LOOK_AGAIN, data=replace(LOOK_AGAIN.data, distinct=distinct))
    with pytest.raises(CalvariaError, match="There are no weights at"):
        fit(config, tmp_path / "run", first=tmp_path)
    save_weights(tmp_path / WEIGHTS, EncoderDecoder(GRADED.network), TASKS["refinement"], GRADED.settings)
    with pytest.raises(CalvariaError, match="is for refinement, not completion"):
        fit(config, tmp_path / "run", first=tmp_path)
    assert not (tmp_path / "run").exists()


def test_without_skulls_there_is_nothing_to_learn_from(runs: Path) -> None:
    with pytest.raises(CalvariaError, match="nothing to learn from: skulls is 0"):
        fit(replace(CONFIG, data=replace(CONFIG.data, skulls=0)), runs / "none")
    assert not (runs / "none").exists()


@pytest.mark.parametrize(
    ("network", "data", "said"),
    [
        ({"inputs": 5}, {}, "This network of completion has 0 or 1 inputs, not 5"),
        ({}, {"segmented": 0.5, "bodies": 0.5}, "completion does not heed segmented, bodies"),
    ],
)
def test_what_the_task_cannot_learn_from_is_refused_before_anything_is_made(
    network: dict[str, int], data: dict[str, float], said: str, tmp_path: Path
) -> None:
    config = replace(CONFIG, network=replace(CONFIG.network, **network), data=replace(CONFIG.data, **data))
    with pytest.raises(CalvariaError, match=said):
        fit(config, tmp_path / "run")
    assert not any(tmp_path.iterdir())


def test_no_loader_outlives_a_mistake_in_it(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process waits for its loaders when it ends, and those ignore what stops a run."""
    make = Examples.__getitem__

    def mistaken(examples: Examples, index: int) -> Example:
        return make(examples, index) if index < 4 or len(examples) < 5 else make(examples, index, "what is that?")  # type: ignore[call-arg]

    monkeypatch.setattr(Examples, "__getitem__", mistaken)
    with pytest.raises(TypeError, match="positional arguments") as failure:
        fit(CONFIG, runs / "mistaken")
    assert not active_children()
    assert failure.tb


@pytest.mark.parametrize("damage", [b"", b"PK", b"\x80\x02."])
def test_a_damaged_checkpoint_is_named(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(damage)
    with pytest.raises(CalvariaError, match=rf"{CHECKPOINT} is damaged"):
        fit(CONFIG, tmp_path)


def test_a_run_that_needs_no_skulls_leaves_no_folder_for_them(tmp_path: Path) -> None:
    assert list(store(CONFIG, tmp_path / "run").make([], workers=1)) == []
    assert not any(tmp_path.iterdir())


def test_where_nothing_is_missing_nothing_is_to_be_added() -> None:
    sites = np.ones((2, 2, 2), np.bool_)
    intact = Example(sites, sites, None, sites.astype(np.float32))
    assert LESSONS["completion"].measure(intact, intact.wanted) == 1


@pytest.mark.parametrize("inside", ["", "run"])
def test_a_file_is_no_folder_for_a_run(inside: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CalvariaError, match=r"a file is in its place"):
        fit(CONFIG, tmp_path / "file" / inside)


def test_the_dense_twin_trains_by_the_same_configuration(runs: Path) -> None:
    dense = replace(GRADED, dense=True, optimizer=OptimizerConfig(steps=3, batch=1, warmup=1), validate_every=3)
    history: list[Progress] = []
    path = fit(dense, runs / "dense", report=history.append)
    assert path.name == "dense-twin.safetensors"
    assert 0 < history[-1].loss < 10
    assert 0 <= history[-1].quality <= 1
    torch.manual_seed(dense.seed)
    before = DenseNetwork(EncoderDecoder(dense.network)).twin.stem[0].weight
    assert not torch.equal(load_file(path)["twin.stem.0.weight"], before)


def test_the_learning_rate_warms_up_and_comes_down() -> None:
    optimizer = OptimizerConfig(steps=100, warmup=10, learning_rate=1.0)
    rates = [learning_rate(step, optimizer) for step in range(1, 101)]
    assert rates[9] == max(rates) == 1.0
    assert rates[0] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.0)
    assert sorted(rates[9:], reverse=True) == rates[9:]
    assert learning_rate(100, replace(optimizer, decay=False)) == 1.0


SHIPPED = Path(__file__).parents[2] / "models" / "completion"


def test_halfway_is_on_the_way_to_the_shipped_weights() -> None:
    halfway, whole = (TrainConfig.read(SHIPPED / name) for name in ("halfway.toml", "train.toml"))
    assert halfway.last_step < whole.last_step
    assert halfway.whole == whole


def test_a_run_that_ends_early_is_the_beginning_of_the_whole(runs: Path) -> None:
    """To the last bit, however often it is asked for, and the same folder may go on to the end."""
    whole = fit(CONFIG, runs / "all at once")
    early = fit(replace(CONFIG, until=3), runs / "early")
    beginning = load_file(early)
    seen: list[int] = []
    fit(replace(CONFIG, until=3), early.parent, report=lambda progress: seen.append(progress.step))
    assert seen == []
    assert all(torch.equal(tensor, beginning[name]) for name, tensor in load_file(early).items())
    fit(CONFIG, early.parent, report=lambda progress: seen.append(progress.step))
    assert seen == [4, 5, 6]
    end = load_file(whole)
    assert all(torch.equal(tensor, end[name]) for name, tensor in load_file(early).items())
    assert not all(torch.equal(tensor, end[name]) for name, tensor in beginning.items())
    with pytest.raises(CalvariaError, match="past step 3"):
        fit(replace(CONFIG, until=3), early.parent)
