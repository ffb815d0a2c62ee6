"""26-connected components of masks."""

from math import prod
from typing import Any, Literal

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calvaria.geometry import Box
from calvaria.volume import Mask

LONGEST_MM = 300.0
"""Longest extent, mm, of what lies on a head."""

MOST_PLACES = 20_000
"""Most voxels of a mask by which its extents are measured."""


Components = NDArray[np.unsignedinteger[Any]]
"""The component that each voxel belongs to, from 1; 0 where there is none."""


def components(mask: Mask) -> tuple[Components, NDArray[np.intp]]:
    """The 26-connected components of a mask [X, Y, Z], and how many voxels each has, by label (none of 0).

    Only occupied voxels are looked at: `cc3d.statistics`, which looks at all, takes five times as long as the labelling.
    """
    labels = connected(mask)
    order = _order(labels)
    return labels, np.bincount(labels.ravel(order)[mask.ravel(order)], minlength=1)


def connected(mask: Mask) -> Components:
    """The 26-connected components of a mask [X, Y, Z]. By scipy where it is one voxel thin along two axes: cc3d fails for some of these."""
    if mask.shape.count(1) > 1:
        return np.asarray(ndimage.label(mask, np.ones((3, 3, 3)))[0]).astype(np.uint32)
    return np.asarray(cc3d.connected_components(mask, connectivity=26))


def boxes(labels: Components, mask: Mask) -> list[Box]:
    """The box of each of a mask's components: that of label 1 first."""
    order = _order(labels)
    at = np.flatnonzero(mask.ravel(order))
    owners = labels.ravel(order)[at]
    count = int(owners.max(initial=0)) + 1
    sides = []
    for length, places in zip(mask.shape, np.unravel_index(at, mask.shape, order), strict=True):
        low, high = np.full(count, length), np.zeros(count, np.intp)
        np.minimum.at(low, owners, places)
        np.maximum.at(high, owners, places + 1)
        sides.append(map(slice, low[1:].tolist(), high[1:].tolist()))
    return list(zip(*sides, strict=True))


def large_components(mask: Mask, smallest: float, *, largest: bool = False) -> Mask:
    """The components of at least `smallest` voxels; and, if so wished, the `largest`, however small it is."""
    if not mask.any():
        return mask
    labels, counts = components(mask)
    return _kept(mask, labels, counts >= (min(smallest, counts.max()) if largest else smallest))


def largest_component(mask: Mask) -> Mask:
    """The component of the most voxels; the first of those that are as large."""
    if not mask.any():
        return mask
    labels, counts = components(mask)
    return np.asarray(labels == counts.argmax())


def wide_components(mask: Mask, spacing_mm: tuple[float, float, float], narrowest_mm: float) -> Mask:
    """The components that are at least so wide; see `width_mm`."""
    if not mask.any():
        return mask
    labels, counts = components(mask)
    wide = counts * prod(spacing_mm) >= narrowest_mm**2 * LONGEST_MM  # too large to be narrow
    if not wide[1:].all():
        for label, box in enumerate(boxes(labels, mask), start=1):
            wide[label] = wide[label] or width_mm(labels[box] == label, spacing_mm) >= narrowest_mm
    return _kept(mask, labels, wide)


def _kept(mask: Mask, labels: Components, keep: NDArray[np.bool_]) -> Mask:
    """The components whose `keep`, by label, is true; the mask itself where all are kept."""
    if keep[1:].all():
        return mask
    keep[0] = False
    return np.asarray(keep[labels])


def _order(labels: Components) -> Literal["F", "C"]:
    """Memory order in which a flat view takes no copy."""
    return "F" if labels.flags.f_contiguous else "C"


def width_mm(mask: Mask, spacing_mm: tuple[float, float, float]) -> float:
    """The second longest of the three extents, mm, of a mask that is not empty, as of a box with its second moments.

    A plate in a round hole is nearly as wide as the hole, one in a cleft as wide as that, however long.
    """
    places = np.argwhere(mask)
    places = places[:: len(places) // MOST_PLACES + 1] * np.array(spacing_mm)
    within_voxels = np.diag(np.square(spacing_mm) / 12)  # they are boxes, no points: coarse ones make no narrower pieces
    return float(np.sqrt(12 * np.linalg.eigvalsh(np.cov(places.T, bias=True) + within_voxels)[1]))
