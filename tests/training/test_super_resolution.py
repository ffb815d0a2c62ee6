"""What super-resolution learns from: parts of skulls, coarse scans of them, and what is made of both, held against each other."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from calvaria.networks import NetworkConfig
from calvaria.synthetic.coarse import scan
from calvaria.tasks import Extras, Prepared, Settings
from calvaria.tasks.super_resolution import COARSE_MM, INPUTS, Given, prepare
from calvaria.training.checkpoint import Progress
from calvaria.training.config import DataConfig, OptimizerConfig, TrainConfig
from calvaria.training.data import Example, Examples, mirrored
from calvaria.training.examples import training_examples, training_seeds, training_source, validation_seeds
from calvaria.training.fit import fit
from calvaria.training.lessons import LESSONS
from calvaria.training.skulls import Head, store
from calvaria.volume import BinaryVolume
from calvaria.weights import load_weights
from tests.training.example_cells import same, shares_of, unshifted

CONFIG = TrainConfig(
    task="super-resolution",
    seed=3,
    network=NetworkConfig((4,) * 7, grows=False, inputs=INPUTS),
    settings=Settings(spacing_mm=0.4, occupied_share=0.01),
    data=DataConfig(skulls=2, finer=0.25, stretch=0.1),
    optimizer=OptimizerConfig(steps=24, batch=1, warmup=2),
    validate_every=2,
    validation_skulls=1,
)


@dataclass(frozen=True, eq=False)
class Made:
    """An example, the skull that it is of, and the coarse mask that was made of part of it, how."""

    example: Example
    skull: BinaryVolume
    coarse: BinaryVolume
    method: str

    @property
    def along(self) -> list[float]:
        """Cells along each edge of a coarse voxel."""
        assert self.example.features is not None
        return [4 * float(share) for share in self.example.features[0, Given.X : Given.CELL]]

    @property
    def is_cubes(self) -> bool:
        return max(self.along) == pytest.approx(min(self.along))

    def served(self, coarse: BinaryVolume) -> Prepared:
        """What the network is asked for a coarse mask with voxels as in this one, and cells as in the example."""
        cells = round(max(self.along))
        cell_mm = max(coarse.spacing_mm) / cells if max(self.along) == pytest.approx(cells) else min(coarse.spacing_mm)
        return prepare(coarse, replace(CONFIG.settings, spacing_mm=cell_mm), Extras(spacing_mm=cell_mm))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose store holds the skulls of `CONFIG`."""
    folder = tmp_path_factory.mktemp("runs")
    assert list(store(CONFIG, folder / "any").make([*training_seeds(CONFIG), *validation_seeds(CONFIG)], workers=1))
    return folder


@pytest.fixture(scope="module")
def made(runs: Path) -> Iterator[list[Made]]:
    """The examples of `CONFIG`."""
    skulls: list[BinaryVolume] = []
    scans: list[tuple[BinaryVolume, str]] = []

    def seen(rng: np.random.Generator) -> Head:
        subject = training_source(CONFIG, runs / "any")(rng)
        skulls.append(subject.whole)
        return subject

    def scanned(fine: BinaryVolume, spacing_mm: Any, method: str, shift: Any) -> BinaryVolume:
        scans.append((scan(fine, spacing_mm, method, shift), method))
        return scans[-1][0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("calvaria.training.super_resolution.scan", scanned)
        examples = Examples(LESSONS[CONFIG.task].draw(CONFIG, seen, None), CONFIG.seed, CONFIG.optimizer.steps)
        yield [Made(examples[i], skulls[-1], *scans[-1]) for i in range(len(examples))]


def test_a_network_is_given_what_it_is_asked_when_served(made: list[Made]) -> None:
    for each in made:
        prepared = each.served(each.coarse)
        assert np.array_equal(each.example.sites, prepared.sites)
        assert np.array_equal(each.example.features, prepared.features)
        assert np.array_equal(each.example.had, prepared.sites & (prepared.shares > 0.5))
        assert each.example.wanted.shape == prepared.sites.shape
        assert 0 < np.count_nonzero(each.example.had) < np.count_nonzero(prepared.sites) < prepared.sites.size


def test_what_is_given_is_a_coarse_scan_of_the_skull(made: list[Made]) -> None:
    """Either way of scanning occurs."""
    for each in made:
        share = shares_of(each.skull, each.coarse.affine, each.coarse.shape)
        if each.method == "mean":
            sure = abs(share - 0.5) > 1e-3
            assert np.array_equal(each.coarse.mask[sure], share[sure] > 0.5)
        else:
            assert each.coarse.mask[share > 0.999].all()
            assert not each.coarse.mask[share < 0.001].any()
            assert (each.coarse.mask != (share > 0.5)).any()
        assert each.coarse.occupied
    assert {each.method for each in made} == {"mean", "nearest"}


def test_what_is_wanted_is_how_full_the_cells_of_the_skull_are(made: list[Made]) -> None:
    """Where cells are judged; the outermost may reach beyond the part of the skull that the example is of."""
    inner = (slice(1, -1),) * 3
    for each in made:
        grid, wanted, sites = each.served(each.coarse).grid, each.example.wanted, each.example.sites
        expected = np.where(sites, shares_of(each.skull, grid.affine, grid.shape), 0)
        np.testing.assert_allclose(wanted[inner], expected[inner], atol=1e-3)
        assert np.mean((wanted[sites] > 0.05) & (wanted[sites] < 0.95)) > 0.02


def test_most_of_a_cube_that_is_given_as_full_is_wanted_and_of_an_empty_one_least(made: list[Made]) -> None:
    """Cells end where coarse voxels do, so whole blocks of them can be held against each other, knowing nothing but the example."""
    seen = {True: 0, False: 0}
    for each in made:
        if not each.is_cubes or each.method != "mean":
            continue
        example, along = each.example, round(max(each.along))
        given = np.zeros_like(example.wanted)
        given[example.sites] = example.features[:, Given.NEAREST]
        sites, full, wanted = (blocks(field, along) for field in (example.sites, given, example.wanted))
        judged = sites.all(axis=1)
        assert (np.ptp(full[judged], axis=1) == 0).all()
        occupied, share = full[judged, 0] == 1, wanted[judged].mean(axis=1)
        assert (share[occupied] > 0.499).all()
        assert (share[~occupied] < 0.501).all()
        for value in seen:
            seen[value] += int(np.count_nonzero(occupied == value))
    assert min(seen.values()) > 1000


def blocks(field: NDArray[Any], along: int) -> NDArray[Any]:
    """[N, along³]: the whole blocks of a field [x, y, z], from its first corner on."""
    counts = [count // along for count in field.shape]
    whole = field[tuple(slice(count * along) for count in counts)]
    split = whole.reshape([each for count in counts for each in (count, along)])
    return split.transpose(0, 2, 4, 1, 3, 5).reshape(-1, along**3)


def test_examples_are_about_as_large_whatever_the_scan(made: list[Made]) -> None:
    counts = [int(np.count_nonzero(each.example.sites)) for each in made]
    assert 20_000 < np.mean(counts) < 100_000
    for each in made:
        beyond = 2 * max(each.skull.spacing_mm) / each.example.features[0, Given.CELL]
        assert max(each.example.sites.shape) <= 56 + beyond + 2
    assert sum(max(each.example.sites.shape) > 45 for each in made) > len(made) / 2


def test_slices_and_cubes_of_many_sizes_both_occur(made: list[Made]) -> None:
    for each in made:
        low, high = COARSE_MM
        assert low <= max(each.coarse.spacing_mm) <= high + 1e-9
        assert np.allclose(np.array(each.coarse.spacing_mm) / each.example.features[0, Given.CELL], each.along, atol=1e-4)
        if not each.is_cubes:
            thin, middle, thick = sorted(each.along)
            assert thin == pytest.approx(middle)
            assert 0.12 <= thin / thick <= 0.7
            assert min(each.coarse.spacing_mm) >= 0.45 - 1e-9
            assert thin == pytest.approx(1) or thick == pytest.approx(round(thick))
    assert 2 <= sum(each.is_cubes for each in made) <= len(made) - 2
    assert {round(max(each.along)) for each in made if each.is_cubes} == {2, 3, 4}
    assert {min(each.along) == pytest.approx(1) for each in made if not each.is_cubes} == {True, False}
    assert np.ptp([max(each.coarse.spacing_mm) for each in made]) > 2


def test_an_example_is_a_function_of_its_number(runs: Path, made: list[Made]) -> None:
    again = training_examples(CONFIG, runs / "any")
    assert len(again) == len(made)
    for i in (7, 0, 11):
        assert same(again[i], made[i].example)
    others = again[8], training_examples(replace(CONFIG, seed=4), runs / "any")[7]
    assert not any(same(other, made[7].example) for other in others)


def test_a_mirrored_example_is_that_of_the_mirrored_scan(made: list[Made]) -> None:
    """Of two cells along a coarse voxel some lie exactly where judging ends, here or there by rounding: such scans are left out."""
    chosen = [each for each in made if round(max(each.along)) > 2]
    assert {each.is_cubes for each in chosen} == {True, False}
    for each in chosen:
        image, prepared = mirrored(each.example), each.served(each.coarse.like(each.coarse.mask[::-1]))
        assert np.array_equal(image.sites, prepared.sites)
        sure = abs(prepared.shares - 0.5) > 1e-4
        assert np.array_equal(image.had[sure], (prepared.sites & (prepared.shares > 0.5))[sure])
        assert np.array_equal(image.wanted, each.example.wanted[::-1])
        sure = sure[prepared.sites]  # elsewhere a cell's centre may lie on a border of coarse voxels
        np.testing.assert_allclose(image.features[sure], prepared.features[sure], atol=1e-4)


def test_kept_examples_come_again_mirrored(runs: Path, made: list[Made]) -> None:
    kept = training_examples(replace(CONFIG, data=replace(CONFIG.data, distinct=2)), runs / "kept")
    one, image, again = (unshifted(kept[i], made[1].example.sites.shape) for i in (1, 3, 5))
    assert same(one, again)
    assert same(mirrored(one), image)
    assert np.array_equal(one.sites, made[1].example.sites)
    np.testing.assert_allclose(one.features, made[1].example.features, atol=2e-3)


def test_to_know_the_skull_mends_every_error_and_the_scan_itself_none(made: list[Made]) -> None:
    measure = LESSONS[CONFIG.task].measure
    for each in made[:4]:
        example = each.example
        given = np.zeros_like(example.wanted)
        given[example.sites] = example.features[:, Given.NEAREST]
        assert measure(example, example.wanted) == 1
        assert measure(example, given) == 0
        assert measure(example, (example.wanted + given) / 2) == pytest.approx(0.5, abs=1e-3)


def test_a_network_learns_from_them(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a small one, so that it takes no time."""
    monkeypatch.setattr("calvaria.training.super_resolution.CELLS", 16)
    history: list[Progress] = []
    data, optimizer = replace(CONFIG.data, distinct=1), replace(CONFIG.optimizer, steps=6, learning_rate=0.02)
    short = replace(CONFIG, data=data, optimizer=optimizer)
    path = fit(short, runs / "learns", report=history.append)
    network, task, settings = load_weights(path)
    assert (network.config, task.name, settings) == (CONFIG.network, CONFIG.task, CONFIG.settings)
    assert history[-1].loss < history[0].loss
    assert -1 <= history[-1].quality <= 1
