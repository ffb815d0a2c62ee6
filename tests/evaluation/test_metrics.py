import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from calvaria.evaluation.metrics import SurfaceDistances, border_dice, dice, precision, recall, reconstruction_error
from calvaria.volume import Mask

EMPTY = np.zeros((6, 7, 8), dtype=bool)
SPACINGS = st.tuples(*[st.sampled_from([0.4, 0.5, 1.0, 2.5])] * 3)


def hd95_mm(a: Mask, b: Mask, spacing_mm: tuple[float, float, float]) -> float:
    return SurfaceDistances.between(a, b, spacing_mm).percentile(95)


def surface_dice(a: Mask, b: Mask, spacing_mm: tuple[float, float, float], tolerance_mm: float) -> float:
    return SurfaceDistances.between(a, b, spacing_mm).within(tolerance_mm)


def box(shape: tuple[int, int, int], *spans: tuple[int, int]) -> Mask:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*span) for span in spans)] = True
    return mask


@st.composite
def pairs(draw: st.DrawFn, allow_empty: bool = True) -> tuple[Mask, Mask]:
    """Two random masks on a grid that may be as small as one voxel, blobs or speckle, often touching its border."""
    shape = draw(st.tuples(*[st.integers(1, 12)] * 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    masks = [rng.random(shape) < draw(st.sampled_from([0.0, 0.05, 0.5, 0.95])) for _ in range(2)]
    if not allow_empty:
        for mask in masks:
            mask.flat[rng.integers(mask.size)] = True
    return masks[0], masks[1]


def test_dice_counts_overlap() -> None:
    a, b = box((10, 10, 10), (0, 4), (0, 5), (0, 5)), box((10, 10, 10), (2, 6), (0, 5), (0, 5))
    assert dice(a, b) == pytest.approx(2 * 50 / 200)


def test_empty_masks_follow_the_stated_policy() -> None:
    some = box(EMPTY.shape, (1, 3), (1, 3), (1, 3))
    assert dice(EMPTY, EMPTY) == 1
    assert dice(EMPTY, some) == 0
    assert hd95_mm(EMPTY, EMPTY, (1, 1, 1)) == 0
    assert hd95_mm(EMPTY, some, (1, 1, 1)) == np.inf
    assert hd95_mm(some, EMPTY, (1, 1, 1)) == np.inf
    assert surface_dice(EMPTY, EMPTY, (1, 1, 1), 1.0) == 1
    assert surface_dice(EMPTY, some, (1, 1, 1), 1.0) == 0
    assert border_dice(EMPTY, EMPTY, some, (1, 1, 1)) == 1
    assert border_dice(EMPTY, some, some, (1, 1, 1)) == 0
    assert border_dice(some, some, EMPTY, (1, 1, 1)) == 1


def test_distance_of_parallel_plates_is_their_gap_in_millimetres() -> None:
    a, b = box((9, 5, 5), (1, 2), (0, 5), (0, 5)), box((9, 5, 5), (7, 8), (0, 5), (0, 5))
    assert hd95_mm(a, b, (0.5, 1, 1)) == pytest.approx(3.0)


def test_distance_is_pooled_both_ways_before_the_percentile() -> None:
    line = box((100, 1, 1), (0, 1), (0, 1), (0, 1))
    longer = box((100, 1, 1), (0, 100), (0, 1), (0, 1))
    pooled = np.concatenate([[0.0], np.arange(100.0)])
    assert hd95_mm(line, longer, (1, 1, 1)) == pytest.approx(np.percentile(pooled, 95))


def test_border_dice_sees_only_what_lies_near_the_skull() -> None:
    skull = box((60, 3, 3), (0, 1), (0, 3), (0, 3))
    truth = box((60, 3, 3), (1, 41), (0, 3), (0, 3))
    predicted = box((60, 3, 3), (1, 21), (0, 3), (0, 3))
    assert dice(predicted, truth) < 1
    assert border_dice(predicted, truth, skull, (0.5, 1, 1)) == 1
    assert border_dice(predicted, truth, skull, (0.49, 1, 1)) == 1
    assert border_dice(predicted, truth, skull, (0.25, 1, 1)) == pytest.approx(2 * 20 / 60)


def test_border_is_measured_in_millimetres_not_voxels() -> None:
    skull, truth = box((40, 3, 3), (0, 1), (0, 3), (0, 3)), box((40, 3, 3), (1, 31), (0, 3), (0, 3))
    predicted = box((40, 3, 3), (1, 11), (0, 3), (0, 3))
    assert border_dice(predicted, truth, skull, (1, 1, 1)) == 1
    assert border_dice(predicted, truth, skull, (0.5, 1, 1)) == pytest.approx(2 * 10 / 30)


def test_reconstruction_error_is_a_share_of_the_grid() -> None:
    assert reconstruction_error(box((10, 10, 10), (0, 1), (0, 1), (0, 10)), np.zeros((10, 10, 10), dtype=bool)) == pytest.approx(1.0)


def test_masks_of_unequal_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        dice(EMPTY, EMPTY[1:])
    with pytest.raises(ValueError, match="one shape"):
        border_dice(EMPTY, EMPTY, EMPTY[:1], (1, 1, 1))


@given(pairs(allow_empty=False), SPACINGS)
def test_hd95_agrees_with_medpy(masks: tuple[Mask, Mask], spacing: tuple[float, float, float]) -> None:
    oracle = pytest.importorskip("medpy.metric.binary", reason="MedPy is the oracle; pip install medpy")
    a, b = masks
    assert hd95_mm(a, b, spacing) == pytest.approx(oracle.hd95(a, b, voxelspacing=spacing))
    assert dice(a, b) == pytest.approx(oracle.dc(a, b))


@given(pairs(), SPACINGS)
def test_metrics_are_symmetric(masks: tuple[Mask, Mask], spacing: tuple[float, float, float]) -> None:
    a, b = masks
    skull = np.roll(a, 1, axis=0) & ~b
    assert dice(a, b) == dice(b, a)
    assert hd95_mm(a, b, spacing) == hd95_mm(b, a, spacing)
    assert border_dice(a, b, skull, spacing, 1.0) == border_dice(b, a, skull, spacing, 1.0)


@given(pairs(), SPACINGS, st.sampled_from([0.5, 2.0, 10.0]))
def test_distances_scale_with_the_spacing(masks: tuple[Mask, Mask], spacing: tuple[float, float, float], factor: float) -> None:
    a, b = masks
    x, y, z = spacing
    assert hd95_mm(a, b, (x * factor, y * factor, z * factor)) == pytest.approx(factor * hd95_mm(a, b, spacing))


@given(pairs(), SPACINGS, st.integers(1, 5), st.sampled_from([0.6, 1.3, 4.0]))
def test_empty_space_around_changes_nothing(masks: tuple[Mask, Mask], spacing: tuple[float, float, float], pad: int, near: float) -> None:
    a, b = masks
    skull = np.roll(a, 1, axis=0) & ~b
    wide_a, wide_b, wide_skull = (np.pad(mask, ((pad, 0), (0, pad), (pad, pad))) for mask in (a, b, skull))
    assert dice(wide_a, wide_b) == dice(a, b)
    assert hd95_mm(wide_a, wide_b, spacing) == hd95_mm(a, b, spacing)
    assert border_dice(wide_a, wide_b, wide_skull, spacing, near) == border_dice(a, b, skull, spacing, near)


@given(pairs(), SPACINGS, st.sampled_from([0.6, 1.3, 4.0]))
def test_border_dice_agrees_with_its_definition(masks: tuple[Mask, Mask], spacing: tuple[float, float, float], near: float) -> None:
    """The definition in the plainest words, without cropping or distance transforms: compare every pair of voxels."""
    a, b = masks
    skull = np.roll(a ^ b, 1, axis=1)
    bone = np.argwhere(skull) * spacing
    close = np.zeros(a.shape, dtype=bool)
    for voxel in np.ndindex(a.shape):
        close[voxel] = len(bone) > 0 and np.linalg.norm(bone - np.multiply(voxel, spacing), axis=1).min() <= near
    assert border_dice(a, b, skull, spacing, near) == dice(a & close, b & close)


def test_precision_and_recall_count_what_was_proposed_and_what_was_missing() -> None:
    proposed, truth = box((10, 10, 10), (0, 2), (0, 5), (0, 5)), box((10, 10, 10), (1, 5), (0, 5), (0, 5))
    assert precision(proposed, truth) == pytest.approx(25 / 50)
    assert recall(proposed, truth) == pytest.approx(25 / 100)
    none = np.zeros_like(truth)
    assert (precision(none, truth), recall(none, truth)) == (0, 0)
    assert (precision(truth, none), recall(truth, none)) == (0, 0)
    assert (precision(none, none), recall(none, none)) == (1, 1)


@given(pairs(allow_empty=False), SPACINGS, st.sampled_from([0.5, 1.0, 2.0]))
def test_surface_dice_agrees_with_monai(masks: tuple[Mask, Mask], spacing: tuple[float, float, float], tolerance: float) -> None:
    oracle = pytest.importorskip("monai.metrics", reason="MONAI is the oracle; pip install monai")
    a, b = (torch.from_numpy(mask)[None, None] for mask in masks)
    expected = oracle.compute_surface_dice(a, b, class_thresholds=[tolerance * 1.0001], include_background=True, spacing=spacing)
    assert surface_dice(*masks, spacing, tolerance) == pytest.approx(float(expected), abs=1e-6)


def surface_by_definition(mask: Mask, spacing: tuple[float, float, float]) -> np.ndarray:
    """Places of the voxels of a mask with a neighbour across a face that is not in it, mm [n, 3]."""
    wide = np.pad(mask, 1)
    faces = [
        wide[tuple(slice(1 + step * (a == axis), n + 1 + step * (a == axis)) for a, n in enumerate(mask.shape))]
        for axis in range(3)
        for step in (-1, 1)
    ]
    return np.argwhere(mask & ~np.logical_and.reduce(faces)) * spacing


@given(pairs(allow_empty=False), SPACINGS, st.sampled_from([0.5, 1.0, 2.0]))
def test_surfaces_agree_with_their_definition(masks: tuple[Mask, Mask], spacing: tuple[float, float, float], tolerance: float) -> None:
    """Every pair of surface voxels is compared: no distance transform, no cropping."""
    a, b = (surface_by_definition(mask, spacing) for mask in masks)
    apart = np.linalg.norm(a[:, None] - b[None], axis=-1)
    pooled = np.concatenate([apart.min(axis=1), apart.min(axis=0)])
    assert surface_dice(*masks, spacing, tolerance) == pytest.approx(np.mean(pooled <= tolerance + 1e-4))
    assert hd95_mm(*masks, spacing) == pytest.approx(np.percentile(pooled, 95), rel=1e-5)


def test_far_surfaces_are_found_beyond_the_first_search() -> None:
    """Two large masks that differ in a hole far from any other surface, and in a far piece."""
    a = box((90, 60, 60), (0, 60), (0, 60), (0, 60))
    b = a.copy()
    b[30, 30, 30] = False
    far = a.copy()
    far[89] = True
    assert hd95_mm(a, b, (1, 1, 1)) == 0
    assert surface_dice(a, b, (1, 1, 1), 1.0) > 0.999
    pooled = np.concatenate(
        [np.zeros(len(surface_by_definition(a, (1, 1, 1)))), [0] * len(surface_by_definition(a, (1, 1, 1))), [30.0] * 3600]
    )
    assert hd95_mm(a, far, (1, 1, 1)) == np.percentile(pooled, 95) == 30
