"""What refinement learns from: masks of organs with drawn mistakes, and with the dense network's own, and how full the cells really are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calvaria.errors import CalvariaError
from calvaria.networks import NetworkConfig
from calvaria.segmenter import SEGMENTED, segmented
from calvaria.synthetic.seeds import CHESTS, TRAINING
from calvaria.synthetic.thorax import RefinementCase, make_case
from calvaria.synthetic.thorax.cases import draw_scene
from calvaria.tasks import Extras, Prepared, Settings
from calvaria.tasks.refinement import INPUTS, Given, prepare
from calvaria.training.checkpoint import Progress
from calvaria.training.config import DataConfig, OptimizerConfig, TrainConfig
from calvaria.training.data import Example
from calvaria.training.examples import training_examples, training_source
from calvaria.training.fit import fit
from calvaria.training.lessons import LESSONS
from calvaria.training.run import _skulls
from calvaria.weights import load_weights
from tests.training.example_cells import same, shares_of, unshifted

CONFIG = TrainConfig(
    task="refinement",
    seed=3,
    network=NetworkConfig((4,) * 7, grows=False, inputs=INPUTS),
    settings=Settings(spacing_mm=2.5, occupied_share=0.01),
    data=DataConfig(skulls=40),
    optimizer=OptimizerConfig(steps=10, batch=1, warmup=1, learning_rate=0.02),
    validate_every=4,
    validation_skulls=1,
)
ONE_CHEST = replace(CONFIG, data=replace(CONFIG.data, skulls=1, segmented=0.5))
CHEST = TRAINING[0]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    """Examples of many chests and bodies, all with drawn mistakes."""
    examples = training_examples(CONFIG, tmp_path_factory.mktemp("runs") / "any")
    return [examples[i] for i in range(len(examples))]


@pytest.fixture(scope="module")
def of_one_chest(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    """Examples of a chest that is known, half of them with the network's mistakes."""
    examples = training_examples(ONE_CHEST, tmp_path_factory.mktemp("runs") / "one")
    return [examples[i] for i in range(8)]


def possible_cases(imaged: bool) -> dict[str, RefinementCase]:
    """What examples of the one chest may be made of, by whose mistakes they are."""
    scenes = {organ: draw_scene(CHEST, organ, imaged=imaged) for organ in SEGMENTED}
    cases = {
        organ: RefinementCase(organ, segmented(CHEST, organ, scene.truth), scene.truth, scene.image) for organ, scene in scenes.items()
    }
    return cases | {"drawn": make_case(CHEST, imaged=imaged)}


def served(case: RefinementCase) -> Prepared:
    return prepare(case.given, CONFIG.settings, Extras(image=case.image))


def is_imaged(example: Example) -> bool:
    assert example.features is not None
    (told,) = np.unique(example.features[:, Given.SCANNED])
    return bool(told)


def is_right(example: Example) -> bool:
    assert example.features is not None
    return np.array_equal(example.features[:, Given.SHARE], example.wanted[example.sites])


def test_a_network_is_given_what_it_is_asked_when_served_and_wants_the_truth(of_one_chest: list[Example]) -> None:
    """Drawn mistakes and those of the dense network occur, and both kinds with the scan and without."""
    cases = {imaged: possible_cases(imaged) for imaged in (True, False)}
    asked = {imaged: {name: served(case) for name, case in by_name.items()} for imaged, by_name in cases.items()}
    seen = []
    for example in of_one_chest:
        imaged = is_imaged(example)
        (name,) = (name for name, prepared in asked[imaged].items() if np.array_equal(prepared.features, example.features))
        case, prepared = cases[imaged][name], asked[imaged][name]
        seen.append((name == "drawn", imaged, name))
        assert np.array_equal(example.sites, prepared.sites)
        assert np.array_equal(example.had, prepared.sites & (prepared.shares > 0.5))
        truth = shares_of(case.truth, prepared.grid.affine, prepared.grid.shape)
        np.testing.assert_allclose(example.wanted, np.where(prepared.sites, truth, 0), atol=1e-3)
        assert not is_right(example)
    assert {(drawn, imaged) for drawn, imaged, _ in seen} == {(a, b) for a in (True, False) for b in (True, False)}
    assert len({name for _, _, name in seen}) > 2


def test_masks_need_no_skulls(tmp_path: Path) -> None:
    """Nor a size of their voxels: smallest cells of 0 mm are as wide as the mask's voxels."""
    own_voxels = replace(CONFIG, settings=replace(CONFIG.settings, spacing_mm=0.0))
    case = training_source(own_voxels, tmp_path / "run")(np.random.default_rng(0))
    assert isinstance(case, RefinementCase)
    count, making, _ = _skulls(own_voxels, tmp_path / "run", None)
    assert (count, list(making)) == (0, [])
    assert not any(tmp_path.iterdir())


def test_mistakes_are_of_one_kind_where_only_one_is_wanted(tmp_path: Path) -> None:
    for share, of_network in ((0.0, False), (1.0, True)):
        config = replace(ONE_CHEST, data=replace(ONE_CHEST.data, segmented=share))
        example = training_examples(config, tmp_path / "any")[0]
        drawn = served(make_case(CHEST, imaged=is_imaged(example)))
        assert np.array_equal(example.features, drawn.features) != of_network


def test_some_come_with_their_scan_and_some_alone(made: list[Example]) -> None:
    counts = {imaged: sum(is_imaged(example) == imaged for example in made) for imaged in (True, False)}
    assert min(counts.values()) >= 3
    for example in made:
        assert example.features.shape == (np.count_nonzero(example.sites), INPUTS)
        assert (np.ptp(example.features[:, Given.BRIGHTNESS]) > 0.2) == is_imaged(example)


def test_some_masks_are_right_and_most_are_not(made: list[Example]) -> None:
    right = [is_right(example) for example in made]
    assert 1 <= sum(right) < len(made) / 2
    measure = LESSONS[CONFIG.task].measure
    for example, without_mistakes in zip(made, right, strict=True):
        given = np.zeros_like(example.wanted)
        given[example.sites] = example.features[:, Given.SHARE]
        assert measure(example, example.wanted) == 1
        assert measure(example, given) == (1 if without_mistakes else 0)


def test_every_example_asks_about_both_sides_of_a_surface(made: list[Example]) -> None:
    for example in made:
        assert 0 < np.count_nonzero(example.had) < np.count_nonzero(example.sites)
        assert not (example.had & ~example.sites).any()
        assert not example.wanted[~example.sites].any()
        assert 0 < example.wanted[example.sites].mean() < 1
        assert example.wanted.max() <= 1


def test_an_example_is_a_function_of_its_number(made: list[Example], tmp_path: Path) -> None:
    again = training_examples(CONFIG, tmp_path / "again")
    for i in (5, 0):
        assert same(again[i], made[i])
    assert not any(same(made[5], made[i]) for i in range(5))
    assert not same(training_examples(replace(CONFIG, seed=4), tmp_path / "other")[5], made[5])


def test_kept_examples_come_again_as_they_are(made: list[Example], tmp_path: Path) -> None:
    """Not mirrored: hearts lie on the left."""
    kept = training_examples(replace(CONFIG, data=replace(CONFIG.data, distinct=1)), tmp_path / "kept")
    one, again = (unshifted(kept[i], made[0].sites.shape) for i in (0, 1))
    assert same(one, again)
    assert np.array_equal(again.sites, made[0].sites)
    np.testing.assert_allclose(again.features, made[0].features, atol=2e-3)
    np.testing.assert_allclose(again.wanted, made[0].wanted, atol=1e-3)


def test_what_another_dense_network_mistook_is_another_run_and_other_kept_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its mistakes are among what is learned from."""
    known = {}
    for network in ("one", "another"):
        monkeypatch.setattr("calvaria.training.lessons.segmented_by", lambda network=network: network)
        for config in (CONFIG, ONE_CHEST):
            kept = training_examples(replace(config, data=replace(config.data, distinct=1)), tmp_path / "run")
            known[network, config.data.segmented] = (LESSONS["refinement"].made_by(config.data), kept.folder)
    assert known["one", 0.0] == known["another", 0.0]
    assert not set(known["one", 0.5]) & set(known["another", 0.5])
    assert known["one", 0.0][0] == (CHESTS, None)


def test_no_mirror_image_is_asked_about(tmp_path: Path) -> None:
    with pytest.raises(CalvariaError, match=r"refinement tells left from right: leave mirrored out of \[settings\]"):
        fit(replace(CONFIG, settings=replace(CONFIG.settings, mirrored=True)), tmp_path / "run")
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_network_learns_from_them(tmp_path: Path) -> None:
    """From one on coarse cells, so that it takes no time."""
    data, optimizer = replace(CONFIG.data, distinct=1), replace(CONFIG.optimizer, steps=80, warmup=10, learning_rate=0.01)
    short = replace(CONFIG, settings=replace(CONFIG.settings, spacing_mm=4.0), data=data, optimizer=optimizer)
    history: list[Progress] = []
    network, task, settings = load_weights(fit(short, tmp_path / "learns", report=history.append))
    assert (network.config, task.name, settings) == (short.network, short.task, short.settings)
    assert history[-1].loss < history[0].loss
    assert -1 <= history[-1].quality <= 1
