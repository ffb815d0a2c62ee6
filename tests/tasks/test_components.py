"""Components, where a library fails, and how wide they are."""

import numpy as np
import pytest

from calvaria.tasks.components import components, width_mm


@pytest.mark.parametrize("axis", range(3))
def test_a_line_of_single_voxels_has_as_many_components(axis: int) -> None:
    """cc3d fails for some of these."""
    mask = np.moveaxis(np.array([[[0, 1, 0, 1, 0, 1]]], np.bool_), 2, axis)
    labels, counts = components(mask)
    assert counts[1:].tolist() == [1, 1, 1]
    assert np.array_equal(labels > 0, mask)


@pytest.mark.parametrize("counts", [(2, 2, 2), (2, 2, 1), (10, 2, 1), (20, 20, 12), (1, 1, 1)])
def test_a_box_is_as_wide_as_it_is_however_coarse_its_voxels(counts: tuple[int, int, int]) -> None:
    """10 × 10 × 6 mm."""
    x, y, z = counts
    for axes in ((0, 1, 2), (2, 0, 1)):
        spacing = np.array([10 / x, 10 / y, 6 / z])[list(axes)]
        box = np.ones(np.array(counts)[list(axes)], np.bool_)
        assert width_mm(np.pad(box, 1), (float(spacing[0]), float(spacing[1]), float(spacing[2]))) == pytest.approx(10)
