from itertools import pairwise
from math import ceil

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import ndimage

from calvaria.grid import WorkingGrid
from calvaria.tasks.blocks import NEARLY, SURROUNDED, Runs, settle
from calvaria.volume import BinaryVolume, Mask


def grids(coarse: tuple[int, int, int], factors: tuple[float, float, float]) -> tuple[BinaryVolume, BinaryVolume]:
    """Two empty grids over one field of view; fine voxels as near to `factors` times smaller as fill it."""
    counts = [max(1, round(count * factor)) for count, factor in zip(coarse, factors, strict=True)]
    low = BinaryVolume.on_grid(np.zeros(coarse, np.bool_), (4.0, 4.0, 4.0), (2.0, 2.0, 2.0))
    x, y, z = (4.0 * count / many for count, many in zip(coarse, counts, strict=True))
    return low, BinaryVolume.on_grid(np.zeros(counts, np.bool_), (x, y, z), (x / 2, y / 2, z / 2))


def blocks_of(coarse: BinaryVolume, fine: BinaryVolume) -> list[tuple[tuple[int, int, int], Mask]]:
    """Each coarse voxel with the mask of fine voxels that lie in it: by looking at each. None may lie on a border."""
    places = [(np.arange(many) + 0.5) * count / many for count, many in zip(coarse.shape, fine.shape, strict=True)]
    assume(all((abs(place - np.rint(place)) > 1e-6).all() for place in places))
    index = [place.astype(int) for place in places]
    x, y, z = np.meshgrid(*index, indexing="ij")
    return [(place, (x == place[0]) & (y == place[1]) & (z == place[2])) for place in np.ndindex(coarse.shape)]


@given(
    st.tuples(*[st.integers(1, 4)] * 3),
    st.sampled_from([(2.0, 2.0, 2.0), (4.0, 4.0, 4.0), (1.0, 1.0, 5.0), (2.5, 3.0, 1.7)]),
    st.integers(0, 2**32 - 1),
)
def test_every_block_holds_what_is_expected_as_far_as_its_coarse_voxel_allows(
    shape: tuple[int, int, int], factors: tuple[float, float, float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    coarse, fine = grids(shape, factors)
    occupied = rng.random(shape) < 0.5
    grid = WorkingGrid.filling(fine, 1.0)
    field = rng.random(grid.shape, dtype=np.float32) ** rng.uniform(0.2, 5)
    centres = np.meshgrid(*(axis.positions(slice(0, axis.source_count)) for axis in grid.axes), indexing="ij")
    likely = ndimage.map_coordinates(field, np.stack(centres), order=1, mode="nearest")
    before = rng.random(fine.shape) < rng.random()
    after = before.copy()
    settle(after, occupied, coarse, fine, field, grid)
    around = ndimage.convolve(occupied.astype(int), np.ones((3, 3, 3), int), mode="constant")
    for place, block in blocks_of(coarse, fine):
        size, was, full = (int(np.count_nonzero(each)) for each in (block, block & before, block & after))
        least, most = (ceil(size / 2), size) if occupied[place] else (0, size // 2 if around[place] < SURROUNDED else 0)
        if size == 1:
            least, most = 0, 1
        expected = float(likely[block].sum())
        if abs(expected - was) > NEARLY * size + 0.51:
            assert min(max(expected - 0.51, least), most) <= full <= max(min(expected + 0.51, most), least)
        else:
            assert min(abs(full - expected), abs(full - was)) < 0.51 or full in (least, most)
        if full == was:
            np.testing.assert_array_equal(after[block], before[block])


def test_the_surest_voxels_are_chosen() -> None:
    coarse, fine = grids((1, 1, 2), (4.0, 4.0, 4.0))
    grid = WorkingGrid.filling(fine, 1.0)
    field = np.linspace(0, 1, 4, dtype=np.float32)[:, None, None] * np.ones(grid.shape, np.float32)
    mask = np.zeros(fine.shape, np.bool_)
    mask[:, :, 4:] = True
    settle(mask, np.array([[[True, False]]]), coarse, fine, field, grid)
    held = mask.reshape(4, 4, 2, 4).sum(axis=(1, 3))
    assert held.T.tolist() == [[0, 0, 16, 16], [0, 0, 16, 16]]


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_what_is_doubtful_everywhere_is_there_in_part(share: float) -> None:
    """Under a threshold all of it would be lost, as thin bone is in a coarse scan."""
    coarse, fine = grids((1, 1, 1), (4.0, 4.0, 4.0))
    grid = WorkingGrid.filling(fine, 1.0)
    mask = np.zeros(fine.shape, np.bool_)
    settle(mask, np.array([[[False]]]), coarse, fine, np.full(grid.shape, share, np.float32), grid)
    assert np.count_nonzero(mask) == round(64 * share)


@pytest.mark.parametrize(("around", "held"), [(26, 0), (SURROUNDED, 0), (SURROUNDED - 1, 32), (0, 32)])
def test_a_pore_stays_empty(around: int, held: int) -> None:
    """Were it filled as far as an empty voxel may be, its surface would lie where nobody knows."""
    coarse, fine = grids((3, 3, 3), (4.0, 4.0, 4.0))
    grid = WorkingGrid.filling(fine, 1.0)
    occupied = np.zeros(27, np.bool_)
    occupied[[index for index in range(27) if index != 13][:around]] = True
    mask = np.zeros(fine.shape, np.bool_)
    settle(mask, occupied.reshape(3, 3, 3), coarse, fine, np.ones(grid.shape, np.float32), grid)
    assert np.count_nonzero(mask[4:8, 4:8, 4:8]) == held


def test_a_block_that_holds_nearly_what_is_expected_stays() -> None:
    coarse, fine = grids((2, 1, 1), (4.0, 4.0, 4.0))
    grid = WorkingGrid.filling(fine, 1.0)
    mask = np.zeros(fine.shape, np.bool_)
    mask[::2] = True
    before = mask.copy()
    expected = 0.5 + np.array([0.9, 1.6])[:, None, None] * NEARLY
    settle(mask, np.array([True, True])[:, None, None], coarse, fine, np.kron(expected, np.ones((4, 4, 4))).astype(np.float32), grid)
    np.testing.assert_array_equal(mask[:4], before[:4])
    assert np.count_nonzero(mask[4:]) == 35


@pytest.mark.parametrize("count", [1, 2])
def test_blocks_too_small_for_a_half_are_free(count: int) -> None:
    coarse, fine = grids((3, 1, 1), (1.0, 1.0, float(count)))
    grid = WorkingGrid.filling(coarse, 4.0)
    half = np.zeros(fine.shape, np.bool_)
    half[:, :, 0] = True
    after = half.copy()
    settle(after, np.array([True, False, True])[:, None, None], coarse, fine, np.full(grid.shape, 1 / count, np.float32), grid.above(fine))
    np.testing.assert_array_equal(after, half)


@pytest.mark.parametrize("noise", [0.0, 1e-9, -1e-9])
def test_a_voxel_on_a_border_belongs_to_the_upper_one_whatever_was_rounded(noise: float) -> None:
    assert Runs.of(np.arange(6) / 2 + noise).count.tolist() == [1, 2, 2, 1]


def test_runs_are_of_what_lies_together() -> None:
    runs = Runs.of(np.array([-0.4, 0.1, 0.4, 0.6, 1.2, 2.9]))
    assert runs.coarse.tolist() == [0, 1, 3]
    assert [*pairwise([*runs.start.tolist(), 6])] == [(0, 3), (3, 5), (5, 6)]
    assert runs.count.tolist() == [3, 2, 1]
    np.testing.assert_array_equal(runs.sums().toarray(), [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1]])
    values = np.arange(24).reshape(2, 6, 2)
    np.testing.assert_array_equal(runs.summed(values, 1), np.add.reduceat(values, [0, 3, 5], axis=1))
