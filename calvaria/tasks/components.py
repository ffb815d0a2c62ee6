"""Connected components of masks."""

import cc3d
import numpy as np

from calvaria.volume import Mask


def large_components(mask: Mask, smallest: float) -> Mask:
    """The 26-connected components of at least `smallest` voxels."""
    if not mask.any():
        return mask
    labels = cc3d.connected_components(mask, connectivity=26)
    large = cc3d.statistics(labels, no_slice_conversion=True)["voxel_counts"] >= smallest
    large[0] = False
    return np.asarray(large[labels])
