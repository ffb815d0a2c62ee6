"""Connected components of masks."""

from math import prod
from typing import Any, Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

from calvaria.volume import Mask

LONGEST_MM = 300.0
"""What lies on a head is no longer."""

MOST_PLACES = 20_000
"""Voxels of a mask that its extents are measured by."""


def components(mask: Mask) -> tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.intp]]:
    """The 26-connected components of a mask as labels from 1, and how many voxels each has (none of 0).

    Only occupied voxels are counted: `cc3d.statistics`, which looks at all, takes five times as long as the labelling.
    """
    labels = cc3d.connected_components(mask, connectivity=26)
    order: Literal["F", "C"] = "F" if labels.flags.f_contiguous else "C"
    return labels, np.bincount(labels.ravel(order)[mask.ravel(order)], minlength=1)


def large_components(mask: Mask, smallest: float) -> Mask:
    """The 26-connected components of at least `smallest` voxels."""
    if not mask.any():
        return mask
    labels, counts = components(mask)
    large = counts >= smallest
    if large[1:].all():
        return mask
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
    labels, counts = components(mask)
    wide = counts * prod(spacing_mm) >= narrowest_mm**2 * LONGEST_MM  # too large to be narrow
    for label in np.flatnonzero(~wide[1:]) + 1:
        wide[label] = width_mm(labels == label, spacing_mm) >= narrowest_mm
    if wide[1:].all():
        return mask
    wide[0] = False
    return np.asarray(wide[labels])


def width_mm(mask: Mask, spacing_mm: tuple[float, float, float]) -> float:
    """The second longest of a mask's three extents, mm, as of a box with its second moments; 0 where it has fewer than two voxels.

    A plate in a round hole is nearly as wide as the hole, one in a cleft as wide as that, however long.
    """
    places = np.argwhere(mask)
    if len(places) < 2:
        return 0.0
    places = places[:: len(places) // MOST_PLACES + 1] * np.array(spacing_mm)
    return float(np.sqrt(12 * np.linalg.eigvalsh(np.cov(places.T))[1].clip(0)))
