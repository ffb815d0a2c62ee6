"""A network that refines learns from the users' own masks."""

from dataclasses import replace
from pathlib import Path

import nrrd
import numpy as np
import pytest

from calvaria.evaluation.metrics import dice
from calvaria.io import write
from calvaria.networks import NetworkConfig
from calvaria.tasks import Extras, Settings
from calvaria.tasks.refinement import INPUTS, Given, prepare
from calvaria.training.config import DataConfig, OptimizerConfig, TrainConfig
from calvaria.training.data import Example
from calvaria.training.examples import training_examples, training_source
from calvaria.training.run import run
from calvaria.volume import BinaryVolume
from calvaria.weights import WEIGHTS, load_weights
from tests.training.example_cells import shares_of

SETTINGS = Settings(spacing_mm=2.5, occupied_share=0.01)
SPACING_MM = 1.5, 1.5, 2.0


def ball(radius_mm: float, off_mm: float = 0.0) -> BinaryVolume:
    """In a corner of a large field of view."""
    centre = np.array([30.0, 32.0, 34.0 + off_mm])
    places = np.moveaxis(np.indices((70, 60, 50)), 0, -1) * SPACING_MM
    return BinaryVolume.on_grid(np.linalg.norm(places - centre, axis=-1) < radius_mm, SPACING_MM)


RIGHT, ROUGH = ball(18.0), ball(18.0, off_mm=4.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two persons' masks, of which one comes with its scan."""
    data = tmp_path_factory.mktemp("masks")
    for role, volume in (("rough", ROUGH), ("right", RIGHT)):
        (data / role).mkdir()
        for person in ("a", "b"):
            write(data / role / f"{person}.nrrd", volume)
    (data / "scan").mkdir()
    header = nrrd.read_header(str(data / "rough" / "a.nrrd"))
    geometry = {name: header[name] for name in ("space", "space directions", "space origin")}
    for person in ("a", "b"):
        nrrd.write(str(data / "scan" / f"{person}.nrrd"), np.where(RIGHT.mask, 60, -700).astype(np.int16), geometry)
    return data


def config(folder: Path, **data: float) -> TrainConfig:
    return TrainConfig(
        task="refinement",
        seed=3,
        network=NetworkConfig((4,) * 7, grows=False, inputs=INPUTS),
        settings=SETTINGS,
        data=replace(DataConfig(skulls=0, cases=str(folder)), **data),
        optimizer=OptimizerConfig(steps=12, batch=1, warmup=1, learning_rate=0.02),
        validate_every=6,
        validation_skulls=1,
    )


def examples(config: TrainConfig, runs: Path, count: int = 12) -> list[Example]:
    made = training_examples(config, runs / "any")
    return [made[number] for number in range(count)]


def test_their_mistakes_are_learned_from_with_and_without_the_scan(folder: Path, tmp_path: Path) -> None:
    scanned = set()
    for example in examples(config(folder, anew=0.0), tmp_path):
        assert example.features is not None
        scanned.add(float(example.features[0, Given.SCANNED]))
        cropped = prepare(ROUGH, SETTINGS, Extras())
        assert np.count_nonzero(example.sites) == np.count_nonzero(cropped.sites)
        sums = float(example.wanted.sum()), float(shares_of(RIGHT, cropped.grid.affine, cropped.grid.shape)[cropped.sites].sum())
        assert sums[0] == pytest.approx(sums[1], rel=0.01)
    assert scanned == {0.0, 1.0}


def test_some_get_other_mistakes_than_their_own(folder: Path, tmp_path: Path) -> None:
    rng, source = np.random.default_rng(0), training_source(config(folder, anew=0.5), tmp_path)
    right = [dice(case.given.mask, case.truth.mask) for case in (source(rng) for _ in range(20))]
    assert 3 < right.count(dice(ROUGH.mask, RIGHT.mask)) < 17
    assert len(set(right)) > 3
    given = [example.sites.sum() for example in examples(config(folder, anew=1.0), tmp_path)]
    assert len(set(given)) > 5


def test_masks_are_stretched_with_their_scans(folder: Path, tmp_path: Path) -> None:
    rng, source = np.random.default_rng(1), training_source(config(folder, stretch=0.1, anew=0.0), tmp_path)
    case = next(case for case in (source(rng) for _ in range(20)) if case.image is not None)
    assert case.given.spacing_mm == case.truth.spacing_mm != SPACING_MM
    assert np.allclose(case.given.spacing_mm, SPACING_MM, rtol=0.1)
    assert np.array_equal(case.image > 0, case.truth.mask)
    assert np.prod(case.truth.shape) < np.prod(RIGHT.shape)  # what lies around the mask is enough


def test_a_run_learns_from_them(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.toml").write_text(
        'task = "refinement"\nseed = 1\nvalidate_every = 2\nvalidation_skulls = 1\n'
        f"network = {{channels = [4, 4, 4, 4, 4, 4, 4], inputs = {INPUTS}, grows = false}}\n"
        "settings = {spacing_mm = 2.5, occupied_share = 0.01}\ndata = {skulls = 0}\n"
        "optimizer = {steps = 2, batch = 1, warmup = 1}\n"
    )
    run("refinement", tmp_path / "own.toml", tmp_path / "run", "cpu", cases=folder)
    assert "1 of 1 heads, 1 of 1 heads" in capsys.readouterr().out
    assert load_weights(tmp_path / "run" / WEIGHTS)[1].name == "refinement"
