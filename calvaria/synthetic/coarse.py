"""What a coarse scan would have made of a fine mask."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calvaria.volume import BinaryVolume, Mask

Numbers = Sequence[float] | NDArray[np.float64]

METHODS = "mean", "nearest"
"""A voxel is occupied where more than half of it is, or where its centre is."""


def scan(fine: BinaryVolume, spacing_mm: Numbers, method: str, shift: Numbers = (0, 0, 0)) -> BinaryVolume:
    """A mask on voxels of `spacing_mm` along its own axes, over the part of the field of view that whole voxels fill.

    shift  where the first voxel begins, in coarse voxels from the edge of the field of view: from 0 up to 1
    """
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}; there are {', '.join(METHODS)}")
    steps = np.array(spacing_mm) / fine.spacing_mm
    starts = np.array(shift) * steps
    counts = np.floor((fine.shape - starts) / steps + 1e-9).astype(int)
    if counts.min() < 1:
        raise ValueError(f"no voxel of {spacing_mm} mm fits into the field of view")
    edges = [start + step * np.arange(count + 1) for start, step, count in zip(starts, steps, counts, strict=True)]
    affine = fine.affine.copy()
    affine[:3, :3] = fine.affine[:3, :3] * steps
    affine[:3, 3] += fine.affine[:3, :3] @ (starts + (steps - 1) / 2)
    return BinaryVolume(_by_mean(fine.mask, edges) if method == "mean" else _by_centre(fine.mask, edges), affine)


def _by_centre(mask: Mask, edges: Sequence[NDArray[np.float64]]) -> Mask:
    centres = [np.minimum(((low[1:] + low[:-1]) / 2).astype(np.intp), count - 1) for low, count in zip(edges, mask.shape, strict=True)]
    return np.asarray(mask[np.ix_(*centres)])


def _by_mean(mask: Mask, edges: Sequence[NDArray[np.float64]]) -> Mask:
    """Sums up to each edge, interpolated where it divides a voxel, tell how much of each coarse voxel is occupied."""
    share: NDArray[np.float32] = mask.astype(np.float32)
    for axis, edge in enumerate(edges):
        sums = np.concatenate([np.zeros_like(share.take([0], axis)), np.cumsum(share, axis, dtype=np.float32)], axis)
        below = np.minimum(edge.astype(np.intp), share.shape[axis] - 1)
        part = (edge - below).astype(np.float32).reshape([-1 if along == axis else 1 for along in range(3)])
        upto = sums.take(below, axis) * (1 - part) + sums.take(below + 1, axis) * part
        share = np.diff(upto, axis=axis) / np.float32(edge[1] - edge[0])
    return np.asarray(share > 0.5)
