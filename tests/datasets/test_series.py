"""One skull at several resolutions: each voxel in its place, by every rule."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from calvaria.datasets.series import RULES, counts_at, own_resolution, resampled, series
from calvaria.errors import CalvariaError
from calvaria.volume import BinaryVolume

masks = arrays.arrays(np.bool_, st.tuples(*[st.integers(1, 9)] * 3))
counts = st.tuples(*[st.integers(1, 12)] * 3)
OBLIQUE = np.array([[0.4, 0.05, 0, -90], [-0.05, 0.45, 0.1, 12], [0, -0.1, 0.8, 5], [0, 0, 0, 1.0]])


def edges_mm(volume: BinaryVolume) -> np.ndarray:
    """Where the corners of the field of view lie."""
    corners = [[(-0.5, size - 0.5)[end] for size, end in zip(volume.shape, ends, strict=True)] for ends in product((0, 1), repeat=3)]
    return np.array(corners) @ volume.affine[:3, :3].T + volume.affine[:3, 3]


def test_the_shapes_are_the_papers():
    scan = BinaryVolume.on_grid(np.zeros((512, 512, 240), np.bool_), (0.4, 0.4, 0.625))
    shapes = {resolution: volume.shape for resolution, volume in series(scan)}
    assert shapes == {64: (64, 64, 30), 128: (128, 128, 60), 256: (256, 256, 120), 512: (512, 512, 240)}
    spacings = {resolution: volume.spacing_mm for resolution, volume in series(scan)}
    assert spacings == {64: (3.2, 3.2, 5.0), 128: (1.6, 1.6, 2.5), 256: (0.8, 0.8, 1.25), 512: (0.4, 0.4, 0.625)}


def test_nothing_finer_than_the_scan_is_made_up():
    volume = BinaryVolume.on_grid(np.zeros((100, 160, 70), np.bool_), (1, 1, 1))
    assert own_resolution(volume) == 160
    assert {resolution: each.shape for resolution, each in series(volume)} == {64: (40, 64, 28), 128: (80, 128, 56)}


def test_slices_are_axial_whatever_the_order_of_the_axes():
    mask = np.zeros((300, 64, 80), np.bool_)  # axes superior, left, posterior
    volume = BinaryVolume(mask, np.array([[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]]))
    assert own_resolution(volume) == 80
    assert counts_at(volume, 40) == (150, 32, 40)


@given(masks, counts, st.sampled_from(RULES))
def test_the_field_of_view_stays(mask, wanted, rule):
    volume = BinaryVolume(mask, OBLIQUE)
    small = resampled(volume, wanted, rule)
    assert small.shape == wanted
    np.testing.assert_allclose(edges_mm(small), edges_mm(volume), atol=1e-9)


@given(masks, counts)
def test_nearest_is_the_voxel_at_the_centre(mask, wanted):
    volume = BinaryVolume.on_grid(mask, (0.4, 0.5, 0.9), (-7, 3, 11))
    small = resampled(volume, wanted)
    for index in np.ndindex(wanted):
        place = np.linalg.solve(volume.affine, small.affine @ [*index, 1])[:3]
        chosen = {tuple(at) for at in product(*({int(np.floor(p + 0.5 - 1e-9)), int(np.floor(p + 0.5 + 1e-9))} for p in place))}
        inside = [at for at in chosen if all(0 <= a < n for a, n in zip(at, volume.shape, strict=True))]
        assert small.mask[index] in {mask[at] for at in inside}


@given(masks, counts)
def test_any_and_share_are_what_boxes_of_voxels_hold(mask, wanted):
    volume = BinaryVolume.on_grid(mask, (0.4, 0.5, 0.9))
    fine = mask  # every voxel cut into as many as the coarse voxels are cut into, so that each piece lies in one of both
    for axis, count in enumerate(wanted):
        fine = np.repeat(fine, count, axis)
    boxes = fine.reshape([size for count, own in zip(wanted, mask.shape, strict=True) for size in (count, own)])
    assert np.array_equal(resampled(volume, wanted, "any").mask, boxes.any(axis=(1, 3, 5)))
    shares, ours = boxes.mean(axis=(1, 3, 5)), resampled(volume, wanted, "share").mask
    assert (ours[shares > 0.5 + 1e-3]).all()
    assert not ours[shares < 0.5 - 1e-3].any()


@given(masks, counts, st.sampled_from(RULES), st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))
def test_one_anatomy_has_one_series(mask, wanted, rule, order, flips):
    volume = BinaryVolume.on_grid(mask, (0.4, 0.5, 0.9), (1, 2, 3))
    turned = np.eye(4)[:, [*order, 3]]
    for axis, flip in enumerate(flips):
        if flip:
            turned[:3, 3] += turned[:3, axis] * (mask.shape[order[axis]] - 1)
            turned[:3, axis] *= -1
    flipped = BinaryVolume(np.flip(mask.transpose(order), np.flatnonzero(flips)), volume.affine @ turned)
    expected = resampled(volume, wanted, rule)
    answer = resampled(flipped, tuple(wanted[axis] for axis in order), rule)
    assert np.array_equal(np.flip(answer.mask, np.flatnonzero(flips)), expected.mask.transpose(order))
    np.testing.assert_allclose(np.sort(edges_mm(answer), axis=0), np.sort(edges_mm(expected), axis=0), atol=1e-9)


@given(masks, counts)
def test_nearest_keeps_what_is_disjoint_so(mask, wanted):
    implant = mask & (np.indices(mask.shape).sum(axis=0) % 2 == 0)
    whole, piece, rest = (resampled(BinaryVolume.on_grid(each, (1, 1, 1)), wanted) for each in (mask, implant, mask & ~implant))
    assert np.array_equal(whole.mask & ~rest.mask, piece.mask)


@given(masks, st.tuples(*[st.integers(1, 3)] * 3), st.sampled_from(RULES))
def test_up_and_down_again_changes_nothing(mask, times, rule):
    """As a network for shape super-resolution gets its input: enlarged to the grid of its answer."""
    volume = BinaryVolume(mask, OBLIQUE)
    large = resampled(volume, tuple(size * by for size, by in zip(mask.shape, times, strict=True)))
    back = resampled(large, volume.shape, rule)
    assert np.array_equal(back.mask, mask)
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-12)


def test_what_cannot_be_is_refused():
    volume = BinaryVolume.on_grid(np.ones((4, 4, 4), np.bool_), (1, 1, 1))
    with pytest.raises(CalvariaError, match="Choose one of: nearest"):
        resampled(volume, (2, 2, 2), "linear")
    with pytest.raises(CalvariaError, match="at least 1"):
        counts_at(volume, 0)
