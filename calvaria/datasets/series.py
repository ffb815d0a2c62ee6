"""One skull at several resolutions: 64² × Z/8, 128² × Z/4, 256² × Z/2 and 512² × Z for a scan of 512² × Z, each in its place.

Every grid of a series covers the same field of view to the edges of its outermost voxels.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from calvaria.errors import bad_option
from calvaria.geometry import regridded, to_canonical
from calvaria.grid import HALF, GridAxis, shares
from calvaria.volume import BinaryVolume, Mask

RESOLUTIONS = (64, 128, 256, 512)
"""Voxels across an axial slice, as in Li et al., Scientific Reports 13 (2023), doi 10.1038/s41598-023-47437-6."""
RULES = ("nearest", "share", "any")

Counts = tuple[int, int, int]


def series(volume: BinaryVolume, resolutions: Sequence[int] = RESOLUTIONS, rule: str = "nearest") -> Iterator[tuple[int, BinaryVolume]]:
    """A volume at each resolution that is not finer than its own, one at a time; see `counts_at` and `resampled`."""
    for resolution in resolutions:
        if resolution <= own_resolution(volume):
            yield resolution, resampled(volume, counts_at(volume, resolution), rule)


def own_resolution(volume: BinaryVolume) -> int:
    """How many voxels the longer side of its axial slices has, whatever the order of the axes."""
    x, y, _ = to_canonical(volume).mask.shape
    return int(max(x, y))


def counts_at(volume: BinaryVolume, resolution: int) -> Counts:
    """The shape at which the longer side of axial slices has `resolution` voxels and the other axes are scaled alike: 64 × 64 × Z/8
    of 512 × 512 × Z. BAD_OPTION below one voxel."""
    if resolution < 1:
        raise bad_option(f"A resolution is at least 1 voxel, not {resolution}.")
    own = own_resolution(volume)
    x, y, z = (max(1, (2 * count * resolution + own) // (2 * own)) for count in volume.shape)
    return x, y, z


def resampled(volume: BinaryVolume, counts: Counts, rule: str = "nearest") -> BinaryVolume:
    """The same field of view in [x, y, z] = `counts` voxels, fewer or more than there are.

    nearest  a voxel has the value at its centre; where that lies between two voxels, of the one further left, posterior and superior.
             What is disjoint stays so, and complete less defective stays the implant.
    share    a voxel is occupied where more than half of it is
    any      a voxel is occupied where any of it is, as the sites of a sparse network are when their stride doubles

    One anatomy gives one answer, however its file orders or flips the axes. BAD_OPTION for another rule.
    """
    check_rule(rule)
    affine = regridded(volume.affine, np.array(volume.shape) / counts)
    if rule == "share":
        sizes = zip(volume.shape, volume.spacing_mm, counts, strict=True)
        axes = [GridAxis(count, mm, wanted, 0.0, count * mm / wanted) for count, mm, wanted in sizes]
        return BinaryVolume(shares(volume.mask, axes) > HALF, affine)
    if rule == "any":
        return BinaryVolume(_any(volume.mask, counts), affine)
    canonical = to_canonical(volume)
    against = {axis for axis, flipped in zip(canonical.axes, canonical.flips, strict=True) if flipped}
    picked = [_nearest(*sizes, axis in against) for axis, sizes in enumerate(zip(volume.shape, counts, strict=True))]
    mask = volume.mask
    for axis in sorted(range(3), key=lambda axis: counts[axis] / volume.shape[axis]):  # what shrinks most comes first
        mask = mask.take(picked[axis], axis)
    return BinaryVolume(mask, affine)


def check_rule(rule: str) -> None:
    """BAD_OPTION unless it is one of RULES."""
    if rule not in RULES:
        raise bad_option(f"There is no rule {rule!r} to resample by. Choose one of: {', '.join(RULES)}.")


def _nearest(count: int, wanted: int, against: bool) -> NDArray[np.intp]:
    """Which of `count` voxels lies at the centre of each of `wanted`, in whole numbers; `against`: ties go the other way."""
    index = (2 * np.arange(wanted) + 1) * count // (2 * wanted)
    return count - 1 - index[::-1] if against else index


def _any(mask: Mask, counts: Counts) -> Mask:
    for axis, wanted in enumerate(counts):
        count = mask.shape[axis]
        edges = np.arange(wanted + 1) * count  # in parts of a voxel, `wanted` of which are one
        ranges = np.stack([edges[:-1] // wanted, -(-edges[1:] // wanted)], axis=1)  # coarse voxels may share a fine one
        padded = np.pad(mask, [(0, int(each == axis)) for each in range(3)])  # so that every range ends before the last index
        mask = np.logical_or.reduceat(padded, ranges.reshape(-1), axis)[(slice(None),) * axis + (slice(None, None, 2),)]
    return mask
