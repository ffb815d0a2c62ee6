"""Opening by a ball on bits, against every voxel of every ball, and against distance transforms."""

from itertools import product
from math import dist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from calvaria.tasks import opening
from calvaria.tasks.opening import close_by_distance, grown_by_ball, open_by_ball, open_by_distance


def blobs(shape: tuple[int, int, int], seed: int, width: float = 1.2) -> np.ndarray:
    """Solid, with holes, reaching the border."""
    return np.asfortranarray(ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), width) > 0.5 - 0.036 / width)


def by_definition(mask: np.ndarray, radius_mm: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """All voxels of each ball that lies wholly inside."""
    reach = [int(radius_mm / mm + 1e-6) for mm in spacing_mm]
    ball = [
        offset
        for offset in product(*(range(-cells, cells + 1) for cells in reach))
        if dist([step * mm for step, mm in zip(offset, spacing_mm, strict=True)], (0, 0, 0)) <= radius_mm * (1 + 1e-6)
    ]
    padded, opened = np.pad(mask, [(cells, cells) for cells in reach]), np.zeros_like(mask)
    for centre in np.argwhere(mask):
        if all(padded[tuple(centre + reach + offset)] for offset in ball):
            for offset in ball:
                opened[tuple(centre + offset)] = True
    return opened


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 8), st.integers(1, 7)),
    st.tuples(*[st.sampled_from([0.4, 0.5, 0.7, 1.0, 3.0])] * 3),
    st.integers(0, 5),
)
def test_it_is_what_balls_reach_that_stay_inside(shape, spacing_mm, seed):
    mask = blobs(shape, seed)
    np.testing.assert_array_equal(open_by_ball(mask, 1.0, spacing_mm), by_definition(mask, 1.0, spacing_mm))


@pytest.mark.parametrize("spacing_mm", [(0.41, 0.41, 0.63), (0.33, 0.9, 0.23), (0.12, 0.12, 0.12), (3.0, 3.0, 3.0)])
def test_it_agrees_with_distance_transforms_across_words(spacing_mm):
    mask = blobs((150, 40, 30), 1, 5.0)
    opened = open_by_ball(mask, 1.0, spacing_mm)
    assert opened.flags.f_contiguous
    np.testing.assert_array_equal(opened, open_by_distance(mask, 1.0, spacing_mm))
    assert np.count_nonzero(opened) > 0


def test_very_fine_voxels_are_left_to_distance_transforms(monkeypatch):
    asked = []
    monkeypatch.setattr(opening, "open_by_distance", lambda mask, *rest: asked.append(rest) or mask)
    for spacing_mm in [(0.05, 0.05, 0.05), (0.01, 1.0, 1.0)]:
        open_by_ball(np.ones((5, 5, 5), np.bool_), 1.0, spacing_mm)
    assert len(asked) == 2


@pytest.mark.parametrize("spacing_mm", [(1.25, 1.25, 1.25), (0.9, 1.3, 2.0)])
@pytest.mark.parametrize("radius_mm", [1.0, 4.0, 7.0])
def test_growing_reaches_all_within_the_radius(radius_mm, spacing_mm):
    mask = np.random.default_rng(0).random((90, 20, 17)) > 0.999
    expected = ndimage.distance_transform_edt(~mask, sampling=spacing_mm) <= radius_mm * (1 + 1e-6)
    np.testing.assert_array_equal(grown_by_ball(mask, radius_mm, spacing_mm), expected)


@pytest.mark.parametrize("radius", [1.0, 2.5, 4.0])
def test_closing_equals_its_definition(radius: float) -> None:
    mask = np.random.default_rng(5).random((14, 15, 16)) < 0.02
    reach = int(radius)
    ball = sum(g**2 for g in np.ogrid[-reach : reach + 1, -reach : reach + 1, -reach : reach + 1]) <= radius**2
    expected = ndimage.binary_closing(np.pad(mask, 10), ball)[10:-10, 10:-10, 10:-10]
    np.testing.assert_array_equal(close_by_distance(mask, radius, (1.0, 1.0, 1.0)), expected)


def test_very_fine_voxels_are_grown_by_a_distance_transform():
    mask = np.random.default_rng(1).random((300, 4, 3)) > 0.999
    expected = ndimage.distance_transform_edt(~mask, sampling=(0.0156, 1, 1)) <= 1
    np.testing.assert_array_equal(grown_by_ball(mask, 1.0, (0.0156, 1.0, 1.0)), expected)
    assert not grown_by_ball(np.zeros_like(mask), 1.0, (0.0156, 1.0, 1.0)).any()
