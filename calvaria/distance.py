"""Signed distances to a mask's surface."""

from collections.abc import Sequence

import edt
import numpy as np
from numpy.typing import NDArray

from calvaria.geometry import Field
from calvaria.volume import Mask


def signed_distance(mask: Mask, spacing: Sequence[float] | NDArray[np.float64] = (1.0, 1.0, 1.0)) -> Field:
    """float32 [X, Y, Z]: of each voxel's centre to the nearest one on the mask's other side, positive inside, in the unit of `spacing`.

    Between a voxel and its neighbour on the other side it is zero half-way; infinite where there is no other side.
    """
    mask = np.ascontiguousarray(mask)
    inside, outside = (edt.edt(each, anisotropy=tuple(spacing)) for each in (mask, ~mask))
    return np.asarray(inside - outside, np.float32)
