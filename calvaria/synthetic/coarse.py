"""What a coarse scan would have made of a fine mask."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.geometry import regridded
from calvaria.grid import HALF, GridAxis, shares
from calvaria.volume import BinaryVolume, Mask

Reals = NDArray[np.float64]
Counts = NDArray[np.intp]

METHODS = "mean", "nearest"
"""A voxel is occupied where more than half of it is, or where its centre is."""


def scan(fine: BinaryVolume, spacing_mm: Sequence[float] | Reals, method: str, shift: Sequence[float] | Reals = (0, 0, 0)) -> BinaryVolume:
    """A mask on voxels of `spacing_mm` along its own axes, over the part of the field of view that whole voxels fill.

    shift  where the first voxel begins, in coarse voxels from the edge of the field of view: from 0 up to 1
    """
    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}; there are {', '.join(METHODS)}")
    steps = np.array(spacing_mm) / fine.spacing_mm
    starts = np.array(shift) * steps
    counts = np.floor((fine.shape - starts) / steps + 1e-9).astype(np.intp)
    if counts.min() < 1:
        edge = " × ".join(f"{mm:.3g}" for mm in spacing_mm)
        raise CalvariaError(ErrorCode.BAD_GEOMETRY, f"No voxel of {edge} mm fits into the field of view.")
    mask = _by_mean(fine, starts, steps, counts) if method == "mean" else _by_centre(fine.mask, starts, steps, counts)
    return BinaryVolume(mask, regridded(fine.affine, steps, starts))


def _by_mean(fine: BinaryVolume, starts: Reals, steps: Reals, counts: Counts) -> Mask:
    placed = zip(fine.shape, fine.spacing_mm, counts.tolist(), starts.tolist(), steps.tolist(), strict=True)
    return shares(fine.mask, [GridAxis(source, mm, count, start * mm, step * mm) for source, mm, count, start, step in placed]) > HALF


def _by_centre(mask: Mask, starts: Reals, steps: Reals, counts: Counts) -> Mask:
    centres = [start + step * (np.arange(count) + 0.5) for start, step, count in zip(starts, steps, counts, strict=True)]
    return np.asarray(mask[np.ix_(*(centre.astype(np.intp) for centre in centres))])
