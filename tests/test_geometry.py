"""Orientation and working grids: against oracles, and there and back."""

import tracemalloc
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from calvaria.geometry import WorkingGrid, bounding_box, none_of, to_canonical
from calvaria.volume import BinaryVolume

ORIENTATIONS = [(axes, flips) for axes in permutations(range(3)) for flips in product([False, True], repeat=3)]


def blob(seed: int, shape: tuple[int, int, int] = (11, 9, 13)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    inner = tuple(slice(2, n - 1) for n in shape)
    mask[inner] = np.random.default_rng(seed).random(mask[inner].shape) < 0.4
    mask[shape[0] // 2, shape[1] // 2, shape[2] // 2] = True
    return mask


def stored(volume: BinaryVolume, axes: tuple[int, ...], flips: tuple[bool, ...], in_order: str = "F") -> BinaryVolume:
    """The same anatomy as another scanner would have stored it: axes reordered, some running backwards."""
    affine = np.eye(4)
    affine[:3, :3] = volume.affine[:3, :3][:, axes]
    affine[:3, 3] = volume.affine[:3, 3]
    mask = volume.mask.transpose(axes)
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (mask.shape[axis] - 1)
            affine[:3, axis] *= -1
            mask = np.flip(mask, axis)
    return BinaryVolume(np.array(mask, order=in_order), affine)


def oblique(spacing_mm: tuple[float, float, float], turn: tuple[float, float, float], seed: int = 0) -> BinaryVolume:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() * spacing_mm
    affine[:3, 3] = (-101.3, 47.77, 12.01)
    return BinaryVolume(blob(seed), affine)


turns = st.tuples(*[st.floats(-40, 40)] * 3)
spacings = st.tuples(*[st.floats(0.3, 3.0)] * 3)


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS)
@pytest.mark.parametrize("turn", [(0, 0, 0), (10, -20, 5), (0, 0, 45)], ids=str)
def test_canonical_is_one_and_the_same_for_every_orientation(axes, flips, turn):
    volume = oblique((0.4, 0.7, 1.1), turn)
    expected = to_canonical(volume.mask, volume.affine)
    other = stored(volume, axes, flips)
    seen = to_canonical(other.mask, other.affine)
    assert np.array_equal(seen.mask, expected.mask)
    assert seen.affine.tobytes() == expected.affine.tobytes()


@given(orientation=st.sampled_from(ORIENTATIONS), turn=turns, spacing=spacings)
def test_canonical_keeps_each_voxel_where_it_is_and_comes_back(orientation, turn, spacing):
    volume = stored(oblique(spacing, turn), *orientation)
    canonical = to_canonical(volume.mask, volume.affine)
    assert np.shares_memory(canonical.mask, volume.mask)
    assert np.array_equal(canonical.from_canonical(canonical.mask), volume.mask)
    assert (np.diag(canonical.affine)[:3] > 0).all()

    def points(mask, affine):
        found = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
        return found[np.lexsort(found.round(3).T)]

    np.testing.assert_allclose(points(canonical.mask, canonical.affine), points(volume.mask, volume.affine), atol=2e-6)


def test_axes_go_to_the_nearest_patient_axis():
    mask = np.zeros((2, 3, 4), bool)
    inferior_right_posterior = np.array([[0, -1, 0, 0], [0, 0, 1, 0], [-1, 0, 0, 0], [0, 0, 0, 1]], float)
    canonical = to_canonical(mask, inferior_right_posterior)
    assert canonical.axes == (1, 2, 0)
    assert canonical.flips == (True, False, True)
    assert canonical.mask.shape == (3, 4, 2)
    assert canonical.affine[:3, 3].tolist() == [-2, 0, -1]


def test_from_canonical_refuses_another_shape():
    canonical = to_canonical(np.zeros((2, 3, 4), bool), np.eye(4))
    with pytest.raises(ValueError, match="does not lie"):
        canonical.from_canonical(np.zeros((2, 3, 5), bool))


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS)
@pytest.mark.parametrize("in_order", ["C", "F"])
def test_coarsening_gives_the_same_bits_for_every_orientation(axes, flips, in_order):
    volume = oblique((0.41, 0.73, 1.13), (8, -13, 3))
    expected, seen = (to_canonical(v.mask, v.affine) for v in (volume, stored(volume, axes, flips, in_order)))
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


@given(orientation=st.sampled_from(ORIENTATIONS), seed=st.integers(0, 999), density=st.sampled_from([0, 0.002, 0.1]))
def test_the_bounding_box_is_tight(orientation, seed, density):
    axes, flips = orientation
    mask = np.random.default_rng(seed).random((7, 9, 11)) < density
    mask = mask.transpose(axes)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    found = np.argwhere(mask)
    box = bounding_box(mask)
    if found.size:
        assert [(s.start, s.stop) for s in box] == list(zip(found.min(0), found.max(0) + 1, strict=True))
    else:
        assert mask[box].size == 0


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("flip", [1, -1])
def test_nothing_of_a_mask_lies_in_memory_as_the_mask_does(order: tuple[int, int, int], flip: int) -> None:
    mask = np.ones((5, 6, 7), np.bool_).transpose(order)[::flip]
    empty, expected = none_of(mask), np.zeros_like(mask)
    assert (empty.shape, empty.strides, empty.dtype) == (expected.shape, expected.strides, expected.dtype)
    assert not empty.any()
