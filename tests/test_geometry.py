"""Boxes and canonical orientation: one anatomy, however its file orders its axes."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from calvaria.geometry import bared, bounding_box, laid, none_of, regridded, to_canonical
from calvaria.volume import BinaryVolume, Mask
from tests.orientations import ORIENTATIONS, oblique, spacings, stored, turns


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS)
@pytest.mark.parametrize("turn", [(0, 0, 0), (10, -20, 5), (0, 0, 45)], ids=str)
def test_canonical_is_one_and_the_same_for_every_orientation(axes, flips, turn):
    volume = oblique((0.4, 0.7, 1.1), turn)
    expected = to_canonical(volume)
    other = stored(volume, axes, flips)
    seen = to_canonical(other)
    assert np.array_equal(seen.mask, expected.mask)
    assert seen.affine.tobytes() == expected.affine.tobytes()


@given(orientation=st.sampled_from(ORIENTATIONS), turn=turns, spacing=spacings)
def test_canonical_keeps_each_voxel_where_it_is_and_comes_back(orientation, turn, spacing):
    volume = stored(oblique(spacing, turn), *orientation)
    canonical = to_canonical(volume)
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
    canonical = to_canonical(BinaryVolume(mask, inferior_right_posterior))
    assert canonical.axes == (1, 2, 0)
    assert canonical.flips == (True, False, True)
    assert canonical.mask.shape == (3, 4, 2)
    assert canonical.affine[:3, 3].tolist() == [-2, 0, -1]


def test_from_canonical_refuses_another_shape():
    canonical = to_canonical(BinaryVolume(np.zeros((2, 3, 4), bool), np.eye(4)))
    with pytest.raises(ValueError, match="does not lie"):
        canonical.from_canonical(np.zeros((2, 3, 5), bool))


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


@given(
    turn=turns,
    spacing=spacings,
    steps=st.tuples(*[st.floats(0.2, 8)] * 3),
    start=st.tuples(*[st.floats(-3, 3)] * 3),
)
def test_other_voxels_lie_edge_by_edge_where_they_begin_and_end(turn, spacing, steps, start):
    volume = oblique(spacing, turn)
    edges_mm, start_mm = np.multiply(steps, volume.spacing_mm), np.multiply(start, volume.spacing_mm)
    for affine in (regridded(volume.affine, steps, start), laid(volume, edges_mm, start_mm)):
        for number in (0, 1, 7):
            edge = volume.affine[:3, :3] @ (np.array(start) + number * np.array(steps) - 0.5) + volume.affine[:3, 3]
            np.testing.assert_allclose(affine[:3, :3] @ np.full(3, number - 0.5) + affine[:3, 3], edge, atol=1e-9)


@given(arrays(np.bool_, array_shapes(min_dims=3, max_dims=3, max_side=5)))
def test_air_lies_beside_what_erosion_takes_but_not_beyond_the_grid(mask: Mask) -> None:
    np.testing.assert_array_equal(bared(mask), mask & ~ndimage.binary_erosion(mask, border_value=1))
