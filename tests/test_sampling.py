"""Values of one lattice at the points of another."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calvaria.sampling import nearest
from calvaria.volume import BinaryVolume


@pytest.mark.parametrize("origin", [(0.0, 0.0, 0.0), (-101.37, -150.913, -1003.77), (7.7, 1903.13, -55.5)])
def test_half_way_the_next_voxel_is_taken_wherever_the_origin_lies(origin: tuple[float, float, float]) -> None:
    mask = np.random.default_rng(0).random((9, 8, 7)) < 0.5
    affine = np.eye(4)
    affine[:3, :3] = 1.3 * Rotation.from_euler("xyz", (5, -10, 20), degrees=True).as_matrix()
    affine[:3, 3] = origin
    between = affine.copy()
    between[:3, 3] += affine[:3, :3] @ np.full(3, 0.5)
    points = BinaryVolume(np.zeros((8, 7, 6), np.bool_), between)
    np.testing.assert_array_equal(nearest(mask, BinaryVolume(mask, affine), points), mask[1:, 1:, 1:])
