"""Components, where a library fails."""

import numpy as np
import pytest

from calvaria.tasks.components import components


@pytest.mark.parametrize("axis", range(3))
def test_a_line_of_single_voxels_has_as_many_components(axis: int) -> None:
    """cc3d fails for some of these."""
    mask = np.moveaxis(np.array([[[0, 1, 0, 1, 0, 1]]], np.bool_), 2, axis)
    labels, counts = components(mask)
    assert counts[1:].tolist() == [1, 1, 1]
    assert np.array_equal(labels > 0, mask)
