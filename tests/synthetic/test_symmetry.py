"""Heads with both sides alike: once their mirror image is bent, they agree with it as the heads they were made of do not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from calvaria.geometry import to_canonical
from calvaria.grid import WorkingGrid
from calvaria.synthetic import make_skull, symmetrise
from calvaria.vault.bent import bend
from calvaria.vault.mirrored import fit_mirror
from calvaria.volume import BinaryVolume

SPACING_MM = 2.0


@pytest.fixture(scope="module")
def skull() -> BinaryVolume:
    return make_skull(4, SPACING_MM)


def _apart(skull: BinaryVolume) -> float:
    """Share of the bone that its bent mirror image does not have in the same place."""
    grid = WorkingGrid.filling(to_canonical(skull).volume, SPACING_MM)
    share = grid.coarsen(to_canonical(skull).mask)
    image = bend(share, SPACING_MM, fit_mirror(share, SPACING_MM))
    places = np.argwhere(share > 0.5).T * SPACING_MM
    seen = ndimage.map_coordinates(share, image.opposite(places) / SPACING_MM, order=1, prefilter=False)
    return float((seen < 0.5).mean())


@given(seed=st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_it_stays_a_skull_of_the_same_size(skull: BinaryVolume, seed: int) -> None:
    alike = symmetrise(skull, seed)
    assert alike.shape == skull.shape
    assert np.array_equal(alike.affine, skull.affine)
    assert abs(alike.occupied - skull.occupied) < 0.15 * skull.occupied
    assert 0.05 * skull.occupied < np.count_nonzero(alike.mask ^ skull.mask) < skull.occupied


def test_both_sides_are_more_alike_than_they_were() -> None:
    skulls = [make_skull(seed, SPACING_MM) for seed in (4, 5, 6)]
    before, after = ([_apart(each) for each in heads] for heads in (skulls, [symmetrise(each, 1) for each in skulls]))
    assert np.mean(after) < 0.7 * np.mean(before)


def test_the_seed_decides_and_either_side_may_be_the_one_that_stays(skull: BinaryVolume) -> None:
    once, again = (symmetrise(skull, 1).mask for _ in range(2))
    assert np.array_equal(once, again)
    middle = skull.shape[0] // 2
    changed = [np.count_nonzero((symmetrise(skull, seed).mask ^ skull.mask)[:middle]) for seed in range(12)]
    assert max(changed) > 1.5 * min(changed)
