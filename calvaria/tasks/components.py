"""Connected components of masks."""

from math import prod

import cc3d
import numpy as np

from calvaria.volume import Mask

LONGEST_MM = 300.0
"""What lies on a head is no longer."""

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


def main_components(mask: Mask, smallest: float) -> Mask:
    """The same, and the largest component however small that is."""
    kept = large_components(mask, smallest)
    return kept if kept.any() else cc3d.largest_k(np.ascontiguousarray(mask), k=1, connectivity=26).astype(np.bool_)


def wide_components(mask: Mask, spacing_mm: tuple[float, float, float], narrowest_mm: float) -> Mask:
    """The 26-connected components that are at least so wide; see `width_mm`."""
    if not mask.any():
        return mask
    labels = cc3d.connected_components(mask, connectivity=26)
    found = cc3d.statistics(labels)
    wide = found["voxel_counts"] * prod(spacing_mm) >= narrowest_mm**2 * LONGEST_MM  # too large to be narrow
    wide[0] = False
    for label in np.flatnonzero(~wide[1:]) + 1:
        wide[label] = width_mm(labels[found["bounding_boxes"][label]] == label, spacing_mm) >= narrowest_mm
    return mask if wide[1:].all() else np.asarray(wide[labels])


def width_mm(mask: Mask, spacing_mm: tuple[float, float, float]) -> float:
    """The second longest of a mask's three extents, mm, as of a box with its second moments; 0 where it has fewer than two voxels.

    A plate in a round hole is nearly as wide as the hole, one in a cleft as wide as that, however long.
    """
    places = np.argwhere(mask)
    if len(places) < 2:
        return 0.0
    places = places[:: len(places) // MOST_PLACES + 1] * np.array(spacing_mm)
    return float(np.sqrt(12 * np.linalg.eigvalsh(np.cov(places.T))[1].clip(0)))
