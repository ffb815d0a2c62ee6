"""Clefts: long and narrow gaps of a whole skull, the same in patient space whatever the file looks like."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from calvaria.synthetic import cleave, make_skull
from calvaria.synthetic.clefts import BURR_MM, WIDTH_MM
from calvaria.volume import BinaryVolume

SPACING_MM = 2.5


@pytest.fixture(scope="module")
def skull() -> BinaryVolume:
    return make_skull(4, SPACING_MM)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=12, deadline=None)
def test_only_narrow_gaps_are_taken(skull: BinaryVolume, seed: int) -> None:
    cleft = cleave(skull, seed)
    assert not (cleft.mask & ~skull.mask).any()
    taken = skull.mask & ~cleft.mask
    widest_mm = 2 * max(WIDTH_MM[1] / 2 * 1.5 + 1.8, BURR_MM[1])
    around = ndimage.distance_transform_edt(~cleft.mask, sampling=skull.spacing_mm)
    assert (around[taken].max() if taken.any() else 0) < widest_mm / 2 + SPACING_MM
    assert taken.sum() < 0.05 * skull.occupied


def test_the_seed_decides_and_most_skulls_lose_something(skull: BinaryVolume) -> None:
    once, again = (cleave(skull, 1).mask for _ in range(2))
    assert np.array_equal(once, again)
    lost = [skull.occupied - cleave(skull, seed).occupied for seed in range(8)]
    assert sum(count * skull.voxel_mm3 > 200 for count in lost) >= 6
    assert len(set(lost)) == 8
