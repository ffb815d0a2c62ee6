"""Connected components of masks."""

import cc3d
import numpy as np

from calvaria.volume import Mask

MOST_PLACES = 20_000
"""Voxels of a mask that its extents are measured by."""


def large_components(mask: Mask, smallest: float) -> Mask:
    """The 26-connected components of at least `smallest` voxels."""
    if not mask.any():
        return mask
    labels = cc3d.connected_components(mask, connectivity=26)
    large = cc3d.statistics(labels, no_slice_conversion=True)["voxel_counts"] >= smallest
    large[0] = False
    return np.asarray(large[labels])


def wide_components(mask: Mask, spacing_mm: tuple[float, float, float], narrowest_mm: float) -> Mask:
    """The 26-connected components that are at least so wide; see `width_mm`."""
    labels, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
    narrow = [label for label in range(1, count + 1) if width_mm(labels == label, spacing_mm) < narrowest_mm]
    return mask & ~np.isin(labels, narrow) if narrow else mask


def width_mm(mask: Mask, spacing_mm: tuple[float, float, float]) -> float:
    """The second longest of a mask's three extents, mm, as of a box with its second moments; 0 where it has fewer than two voxels.

    A plate in a round hole is nearly as wide as the hole, one in a cleft as wide as that, however long.
    """
    places = np.argwhere(mask)
    if len(places) < 2:
        return 0.0
    places = places[:: len(places) // MOST_PLACES + 1] * np.array(spacing_mm)
    return float(np.sqrt(12 * np.linalg.eigvalsh(np.cov(places.T))[1].clip(0)))
