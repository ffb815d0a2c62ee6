"""Coarse scans of fine masks, against averaging and picking voxels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calvaria.errors import CalvariaError
from calvaria.grid import WorkingGrid
from calvaria.synthetic.coarse import METHODS, scan
from calvaria.volume import BinaryVolume


def noise(shape, seed=0):
    return np.random.default_rng(seed).random(shape) < 0.4


@given(st.tuples(*[st.integers(1, 5)] * 3), st.tuples(*[st.integers(1, 4)] * 3), st.integers(0, 99))
def test_the_mean_of_whole_blocks(counts, factors, seed):
    fine = BinaryVolume.on_grid(noise(np.array(counts) * factors, seed), (1.0, 2.0, 0.5), (3, 4, 5))
    blocks = fine.mask.reshape([n for pair in zip(counts, factors, strict=True) for n in pair])
    coarse = scan(fine, np.array(factors) * fine.spacing_mm, "mean")
    assert np.array_equal(coarse.mask, blocks.mean(axis=(1, 3, 5)) > 0.5)
    first = fine.affine @ [*((np.array(factors) - 1) / 2), 1]
    assert coarse.origin_mm == pytest.approx(first[:3])


@given(st.floats(1.0, 3.7), st.integers(0, 99))
def test_the_mean_of_any_blocks_is_the_working_grids(edge, seed):
    fine = BinaryVolume.on_grid(noise((11, 12, 13), seed), (1.0, 1.0, 1.0))
    coarse = scan(fine, (edge,) * 3, "mean")
    grid = WorkingGrid.filling(coarse, edge).above(fine)
    share = grid.coarsen(fine.mask)
    sure = abs(share - 0.5) > 1e-3
    assert np.array_equal(coarse.mask[sure], share[sure] > 0.5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shift", [(0, 0, 0), (0.5, 0.25, 0.9)])
def test_a_coarse_voxel_lies_where_its_affine_says(method, shift):
    """A half-space stays one, at the same place to half a coarse voxel."""
    fine = BinaryVolume.on_grid(np.arange(40)[:, None, None] * np.ones((40, 20, 20)) >= 17, (1.0, 1.0, 1.0), (100, 0, 0))
    coarse = scan(fine, (4, 4, 4), method, shift)
    begins = coarse.affine @ [np.argmax(coarse.mask[:, 0, 0]) - 0.5, 0, 0, 1]
    assert begins[0] == pytest.approx(116.5, abs=2.0)
    assert coarse.mask.shape == tuple((np.array((40, 20, 20)) - 4 * np.array(shift)) // 4)


def test_what_makes_no_sense_is_an_error():
    fine = BinaryVolume.on_grid(noise((4, 4, 4)), (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="no method"):
        scan(fine, (2, 2, 2), "median")
    with pytest.raises(CalvariaError, match="fits"):
        scan(fine, (9, 9, 9), "mean")
