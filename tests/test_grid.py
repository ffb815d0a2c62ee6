"""Working grids: coarsening and refining, against block means, dense sampling and scipy."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from calvaria.geometry import as_box, to_canonical
from calvaria.grid import WorkingGrid
from calvaria.volume import BinaryVolume
from tests.orientations import ORIENTATIONS, blob, oblique, spacings, stored


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS)
@pytest.mark.parametrize("in_order", ["C", "F"])
def test_coarsening_gives_the_same_bits_for_every_orientation(axes, flips, in_order):
    volume = oblique((0.41, 0.73, 1.13), (8, -13, 3))
    expected, seen = (to_canonical(v) for v in (volume, stored(volume, axes, flips, in_order)))
    grid, other = (WorkingGrid.over(canonical.volume, 1.7, 2.0) for canonical in (expected, seen))
    assert grid.affine.tobytes() == other.affine.tobytes()
    assert grid.coarsen(expected.mask).tobytes() == other.coarsen(seen.mask).tobytes()


@given(seed=st.integers(0, 99), factor=st.integers(1, 4), cells=st.tuples(*[st.integers(1, 5)] * 3))
def test_coarsening_by_a_whole_ratio_is_the_block_mean(seed, factor, cells):
    mask = np.random.default_rng(seed).random([n * factor for n in cells]) < 0.5
    mask[0, 0, 0] = mask[-1, -1, -1] = True  # the occupied box is the whole field of view
    grid = WorkingGrid.over(BinaryVolume.on_grid(mask, (0.5, 0.5, 0.5)), 0.5 * factor, 3.0)
    assert grid.shape == cells
    blocks = mask.reshape(cells[0], factor, cells[1], factor, cells[2], factor).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(grid.coarsen(mask), blocks, atol=1e-4)


@settings(max_examples=20)
@given(spacing=spacings, cell=st.floats(0.5, 4.0), margin=st.floats(0, 4), seed=st.integers(0, 9))
def test_coarsening_agrees_with_sampling_the_mask_densely(spacing, cell, margin, seed):
    volume = BinaryVolume.on_grid(blob(seed), spacing)
    grid = WorkingGrid.over(volume, cell, margin)
    fine = 16
    inside, weights = [], []
    for axis in range(3):
        start = grid.affine[axis, 3] + spacing[axis] / 2 - cell / 2  # from the outer edge of voxel 0
        at = np.floor((start + (np.arange(grid.shape[axis] * fine) + 0.5) * cell / fine) / spacing[axis]).astype(int)
        inside.append((at >= 0) & (at < volume.shape[axis]))
        weights.append(at.clip(0, volume.shape[axis] - 1))
    samples = volume.mask[np.ix_(*weights)] & inside[0][:, None, None] & inside[1][:, None] & inside[2]
    x, y, z = grid.shape
    sampled = samples.reshape(x, fine, y, fine, z, fine).mean(axis=(1, 3, 5))
    # a cell edge is placed to within half a sample, on each voxel edge that crosses the cell
    crossings = sum(np.ceil(cell / mm) + 1 for mm in spacing)
    assert abs(grid.coarsen(volume.mask) - sampled).max() <= crossings / (2 * fine)
    assert abs(grid.coarsen(volume.mask) - sampled).mean() <= 0.05


@given(spacing=spacings, cell=st.floats(0.3, 4.0), margin=st.floats(0, 4), seed=st.integers(0, 9))
def test_coarsening_keeps_the_occupied_volume(spacing, cell, margin, seed):
    volume = BinaryVolume.on_grid(blob(seed), spacing)
    coarse = WorkingGrid.over(volume, cell, margin).coarsen(volume.mask)
    assert coarse.sum(dtype=float) * cell**3 == pytest.approx(volume.occupied * volume.voxel_mm3, rel=2e-3)


def test_a_long_axis_takes_no_more_memory_than_its_length():
    mask = np.ones((60_000, 3, 3), bool, order="F")
    grid = WorkingGrid.over(BinaryVolume.on_grid(mask, (1, 1, 1)), 3.0, 0.0)
    tracemalloc.start()
    coarse = grid.coarsen(mask)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert coarse.shape == (20_000, 1, 1)
    assert (coarse == 1).all()
    assert most < 50e6


def test_refining_holds_planes_not_the_volume():
    volume = BinaryVolume.on_grid(np.ones((256, 256, 64), bool, order="F"), (0.5, 0.5, 30.0))
    grid = WorkingGrid.over(volume, 3.0, 0.0)
    tracemalloc.start()
    mask, _ = grid.refine(np.ones(grid.shape, np.float32), 0.5)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert grid.shape == (43, 43, 640)
    assert mask.all()
    assert most < 30e6  # the field along x and y would be 640 planes of 256 KiB


def test_coarsening_counts_what_lies_outside_the_source_as_empty():
    grid = WorkingGrid.over(BinaryVolume.on_grid(np.ones((1, 2, 4), bool), (1, 1, 1)), 2.0, 5.0)
    assert grid.shape == (1, 1, 2)
    assert grid.coarsen(np.ones((1, 2, 4), bool)).tolist() == [[[0.5, 0.5]]]


@pytest.mark.parametrize("axis", range(3))
def test_a_grid_beside_the_source_is_empty(axis):
    volume = BinaryVolume.on_grid(np.ones((4, 4, 4), bool), (1, 1, 1))
    away = BinaryVolume.on_grid(volume.mask, (1, 1, 1), tuple(10.0 * (np.arange(3) == axis)))
    coarse = WorkingGrid.filling(volume, 2.0).above(away).coarsen(away.mask)
    assert (coarse.shape, coarse.dtype, coarse.any()) == ((2, 2, 2), np.float32, False)


@given(spacing=spacings, cell=st.floats(0.5, 4.0), margin=st.floats(0, 5), threshold=st.floats(-0.5, 0.9), seed=st.integers(0, 99))
def test_refining_agrees_with_scipy(spacing, cell, margin, threshold, seed):
    volume = BinaryVolume.on_grid(blob(seed), spacing, (7.0, -3.0, 100.0))
    grid = WorkingGrid.over(volume, cell, margin)
    field = np.random.default_rng(seed).normal(size=grid.shape).astype(np.float32)
    mask, box = grid.refine(field, threshold)
    refined = np.zeros(volume.shape, bool)
    refined[box] = mask

    to_cells = np.linalg.inv(grid.affine) @ volume.affine
    at = np.moveaxis(np.indices(volume.shape), 0, -1) @ to_cells[:3, :3].T + to_cells[:3, 3]
    expected = map_coordinates(field, np.moveaxis(at, -1, 0), order=1, mode="nearest", output=np.float64)
    inside = ((at > -0.5) & (at < np.array(grid.shape) - 0.5)).all(axis=-1)
    on_an_edge = (np.minimum(abs(at + 0.5), abs(at + 0.5 - np.array(grid.shape))) < 1e-6).any(axis=-1)
    decided = (abs(expected - threshold) > 1e-5) & ~on_an_edge
    assert np.array_equal(refined[decided], ((expected > threshold) & inside)[decided])


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.4, 0.4, 0.4)], ids=str)
def test_coarsening_and_refining_at_the_source_spacing_changes_nothing(spacing):
    volume = BinaryVolume.on_grid(blob(5), spacing)
    grid = WorkingGrid.over(volume, spacing[0], 2 * spacing[0])
    mask, box = grid.refine(grid.coarsen(volume.mask), 0.5)
    restored = np.zeros_like(volume.mask)
    restored[box] = mask
    assert np.array_equal(restored, volume.mask)


def test_refining_a_coarsened_ball_gives_nearly_the_ball_and_no_shift():
    x, y, z = np.indices((50, 40, 60)) - np.array([24, 20, 31]).reshape(3, 1, 1, 1)
    volume = BinaryVolume.on_grid((x * 0.8) ** 2 + y**2 + (z * 0.6) ** 2 < 15**2, (0.8, 1.0, 0.6))
    grid = WorkingGrid.over(volume, 2.5, 5)
    mask, box = grid.refine(grid.coarsen(volume.mask), 0.5)
    refined = np.zeros_like(volume.mask)
    refined[box] = mask
    assert 2 * (refined & volume.mask).sum() / (refined.sum() + volume.occupied) > 0.98
    np.testing.assert_allclose(np.argwhere(refined).mean(axis=0), np.argwhere(volume.mask).mean(axis=0), atol=0.05)


def test_refining_a_field_that_never_exceeds_the_threshold_is_an_empty_box():
    volume = BinaryVolume.on_grid(blob(0), (1, 1, 1))
    grid = WorkingGrid.over(volume, 2.0, 1.0)
    mask, box = grid.refine(np.zeros(grid.shape, np.float32), 0.5)
    assert mask.size == 0
    assert volume.mask[box].shape == mask.shape


def test_the_grid_stays_in_the_field_of_view_and_reaches_the_margin():
    mask = np.zeros((100, 100, 100), bool)
    mask[2:50, 40:60, 95:100] = True
    grid = WorkingGrid.over(BinaryVolume.on_grid(mask, (1, 1, 1)), 2.0, 10.0)
    assert grid.shape == (30, 20, 8)  # 0-60, 30-70 and 85-100 mm, in whole cells
    assert grid.affine[:3, 3].tolist() == [0.5, 30.5, 85.0]  # 15 mm in 8 cells: half a millimetre over on both sides


@pytest.mark.parametrize(("spacing_mm", "margin_mm"), [(0.0, 1.0), (-1.0, 1.0), (1.0, -1.0)])
def test_a_grid_refuses_impossible_settings(spacing_mm, margin_mm):
    with pytest.raises(ValueError, match="positive spacing"):
        WorkingGrid.over(BinaryVolume.on_grid(blob(0), (1, 1, 1)), spacing_mm, margin_mm)


def test_a_grid_refuses_arrays_of_another_shape():
    volume = BinaryVolume.on_grid(blob(0), (1, 1, 1))
    grid = WorkingGrid.over(volume, 2.0, 1.0)
    with pytest.raises(ValueError, match="does not lie"):
        grid.coarsen(volume.mask[1:])
    with pytest.raises(ValueError, match="does not lie"):
        grid.refine(np.zeros((1, 1, 1), np.float32), 0.5)


@given(cell=st.floats(0.5, 4.0), finer=st.floats(0.4, 3.0), seed=st.integers(0, 9))
def test_cells_of_another_size_lie_where_those_of_a_box_do(cell, finer, seed):
    volume = BinaryVolume.on_grid(blob(seed), (1.0, 1.5, 0.7))
    grid = WorkingGrid.over(volume, cell, 3.0)
    box = as_box(slice(count // 4, max(count // 2, count // 4 + 1)) for count in grid.shape)
    cut = grid.recut(box, finer, volume)
    for new, old, cells in zip(cut.axes, grid.axes, box, strict=True):
        low, high = (old.start_mm + place * cell for place in (cells.start, cells.stop))
        assert low - finer / 2 <= new.start_mm <= low + 1e-5
        assert new.start_mm + new.count * finer == pytest.approx(low + high - new.start_mm)
    again = cut.above(volume)
    assert [(axis.count, axis.start_mm) for axis in again.axes] == [(axis.count, pytest.approx(axis.start_mm)) for axis in cut.axes]


@pytest.mark.parametrize("tilt_deg", [0, 25])
def test_a_grid_lies_the_same_over_a_part_of_a_volume_even_where_its_axes_are_sheared(tilt_deg):
    """As by a tilted gantry."""
    tilt = np.radians(tilt_deg)
    affine = np.array([[0.9, 0, 0, -50], [0, 0.9, 3 * np.sin(tilt), 20], [0, 0, 3 * np.cos(tilt), -7], [0, 0, 0, 1.0]])
    volume = to_canonical(BinaryVolume(np.ones((40, 50, 20), np.bool_), affine)).volume
    grid = WorkingGrid.over(volume, 2.0, 0.0)
    part = volume.cropped((slice(11, 30), slice(17, 40), slice(5, 15)))
    starts = [axis.start_mm - place * mm for axis, place, mm in zip(grid.axes, (11, 17, 5), volume.spacing_mm, strict=True)]
    assert [axis.start_mm for axis in grid.above(part).axes] == pytest.approx(starts)
