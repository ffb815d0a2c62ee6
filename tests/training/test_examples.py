"""Examples for completion: what is given and wanted, drawn by number, as the configuration says."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.synthetic import DEFECT_KINDS
from calvaria.training.completion import CHANGES
from calvaria.training.data import Draw, Example, Examples
from calvaria.training.examples import HeldOut, training_examples, training_seeds, validation_seeds
from calvaria.training.skulls import store
from calvaria.volume import BinaryVolume
from tests.training.small_run import CONFIG, GRADED


def test_examples_may_be_intact(runs: Path) -> None:
    intact = replace(CONFIG, data=replace(CONFIG.data, intact=1.0))
    assert all(np.array_equal(e.sites, e.wanted > 0) for e in (training_examples(intact, runs / "any")[i] for i in range(3)))


@pytest.mark.parametrize("share", list(CHANGES))
def test_some_skulls_may_be_changed_before_they_are_learned_from(runs: Path, monkeypatch: pytest.MonkeyPatch, share: str) -> None:
    def lower_half(skull: BinaryVolume, seed: int) -> BinaryVolume:
        return skull.like(skull.mask & (np.arange(skull.shape[2]) < skull.shape[2] // 2))

    monkeypatch.setitem(CHANGES, share, lower_half)
    some, none = (training_examples(replace(CONFIG, data=replace(CONFIG.data, **{share: part})), runs / "any") for part in (0.5, 0.0))
    heights = [[np.ptp(np.nonzero(examples[i].wanted)[2]) for i in range(8)] for examples in (some, none)]
    assert 1 <= sum(height < 0.7 * min(heights[1]) for height in heights[0]) <= 7


def test_examples_are_a_function_of_their_number(runs: Path) -> None:
    examples = training_examples(CONFIG, runs / "any")
    again = training_examples(CONFIG, runs / "any")
    assert len(examples) == 12
    assert all(np.array_equal(examples[i].sites, again[i].sites) for i in (0, 7))
    assert not np.array_equal(examples[0].sites, examples[1].sites)


def test_what_leaves_nothing_to_see_is_drawn_again_and_what_cannot_be_asked_for_is_no_chance() -> None:
    tried: list[ErrorCode] = []

    def drawing(code: ErrorCode) -> Draw:
        def draw(rng: np.random.Generator) -> Example:
            tried.append(code)
            raise CalvariaError(code, "No.")

        return draw

    with pytest.raises(CalvariaError, match="in 20 tries"):
        Examples(drawing(ErrorCode.EMPTY_MASK), 0, 1)[0]
    with pytest.raises(CalvariaError, match=r"No\."):
        Examples(drawing(ErrorCode.BAD_OPTION), 0, 1)[0]
    assert tried.count(ErrorCode.BAD_OPTION) == 1


def test_what_is_given_is_part_of_what_is_wanted_and_less(runs: Path) -> None:
    for example in (training_examples(CONFIG, runs / "any")[i] for i in range(6)):
        assert not (example.sites & (example.wanted == 0)).any()
        assert example.wanted.sum() > example.sites.sum() > 0


def test_graded_examples_say_how_full_a_cell_is_and_shall_be(runs: Path) -> None:
    for example in (training_examples(GRADED, runs / "any")[i] for i in range(3)):
        assert example.features is not None
        assert example.features.shape == (example.sites.sum(), 1)
        assert ((example.features > 0.1) & (example.features <= 1)).all()
        assert (example.wanted[example.sites] >= example.features[:, 0]).all()
        assert np.mean((example.wanted > 0.05) & (example.wanted < 0.95)) > 0.02


def test_kinds_of_defects_may_be_left_out(runs: Path) -> None:
    few = replace(CONFIG, data=replace(CONFIG.data, without=tuple(kind for kind in DEFECT_KINDS if kind != "large")))
    for i in range(3):
        large, any_kind = (training_examples(config, runs / "any")[i] for config in (few, CONFIG))
        assert (large.wanted > 0).sum() - large.sites.sum() > 30
        assert not np.array_equal(large.sites, any_kind.sites)
    with pytest.raises(ValueError, match="no defects of kind enormous"):
        replace(CONFIG.data, without=("enormous",))
    with pytest.raises(ValueError, match="every kind of defect"):
        replace(CONFIG.data, without=DEFECT_KINDS)


def test_settings_under_which_nothing_can_be_seen_are_an_error(runs: Path) -> None:
    blind = replace(CONFIG, settings=replace(CONFIG.settings, occupied_share=1.0))
    with pytest.raises(CalvariaError, match="No example could be made in 20 tries; the last failed because: Nothing in the mask"):
        training_examples(blind, runs / "any")[0]


def test_training_and_held_out_skulls_never_mix() -> None:
    assert not set(training_seeds(CONFIG)) & set(validation_seeds(CONFIG))


def test_every_head_that_is_held_out_is_one_that_is_judged_by(runs: Path) -> None:
    config = replace(CONFIG, validation_skulls=2)
    examples, stores = (
        HeldOut(config, runs / "any"),
        {seed: store(config, runs / "any").load(seed).occupied for seed in validation_seeds(config)},
    )
    assert len(set(stores.values())) == len(examples) == 2
    volumes = [examples[index].wanted.sum() for index in (0, 1, 0)]
    assert volumes[0] == volumes[2] != volumes[1]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a file"])
def test_a_kept_example_or_skull_that_is_damaged_is_made_again(runs: Path, tmp_path: Path, content: bytes) -> None:
    config = replace(CONFIG, data=replace(CONFIG.data, distinct=2))
    shutil.copytree(runs, tmp_path / "runs")
    examples = training_examples(config, tmp_path / "runs" / "any")
    before = examples[0]
    for path in (*(tmp_path / "runs").rglob("examples-*/0.npz"), *(tmp_path / "runs").rglob("skulls-*/*.npz")):
        path.write_bytes(content)
    again = examples[0]
    assert np.array_equal(again.wanted, before.wanted)
    assert np.array_equal(again.sites, before.sites)
