"""Values of one lattice at the points of another of the same orientation: a working grid, a volume's voxels."""

from collections.abc import Iterator
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from calvaria.geometry import Box, Field
from calvaria.volume import Affine, Mask

Index = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]

AT_ONCE = 2**18


class Lattice(Protocol):
    """Points along three axes. `affine` float64 [4, 4]: index to LPS mm."""

    @property
    def shape(self) -> tuple[int, int, int]: ...

    @property
    def affine(self) -> Affine: ...


def sampled(values: Field, source: Lattice, target: Lattice) -> Field:
    """Values [x, y, z] on one lattice, linearly interpolated at the points of another of the same orientation."""
    along_x, along_y, along_z = positions(source, target)
    values = _interpolated(_interpolated(values, along_x, 0), along_y, 1)
    found = np.empty(target.shape, np.float32)
    for plane, into in zip(values, found, strict=True):  # turned, so that whole rows are picked: a seventh of the time
        into[:] = _interpolated(plane.T.copy(), along_z, 0).T
    return found


def _interpolated(values: Field, position: NDArray[np.float64], axis: int) -> Field:
    """Values at positions along an axis; along one that is slow in memory."""
    below = np.floor(position).astype(np.intp)
    weight = (position - below).astype(np.float32).reshape([-1 if along == axis else 1 for along in range(values.ndim)])
    lower = values.take(below, axis)
    upper = values.take(np.minimum(below + 1, values.shape[axis] - 1), axis)
    upper -= lower
    upper *= weight
    upper += lower
    return np.asarray(upper)


def nearest(mask: Mask, source: Lattice, target: Lattice) -> Mask:
    """A mask [x, y, z] on one lattice at the points of another of the same orientation."""
    for axis, position in reversed(list(enumerate(positions(source, target)))):  # whole planes last, when there are most
        mask = mask.take(nearest_steps(position).clip(0, mask.shape[axis] - 1), axis)
    return mask


def nearest_steps(position: NDArray[np.float64]) -> NDArray[np.intp]:
    """The nearest whole steps; half-way the next one, however an origin far away rounded the position."""
    return np.floor(np.round(position, 6) + 0.5).astype(np.intp)


def positions(source: Lattice, target: Lattice) -> Iterator[NDArray[np.float64]]:
    """Where the target's points lie along each axis of the source, in its steps, held at its border."""
    back = np.linalg.inv(source.affine) @ target.affine
    for axis, count in enumerate(target.shape):
        yield (back[axis, axis] * np.arange(count) + back[axis, 3]).clip(0, source.shape[axis] - 1)


def placed(cells: Mask, affine: Affine, box: Box = np.s_[:, :, :]) -> Iterator[tuple[Index, NDArray[np.float64]]]:
    """The chosen cells of a lattice (bool [x, y, z]) in a box of it, as many at a time as take little memory.

    With their indices comes where `affine`, float64 [4, 4], takes them, [3, n].
    """
    first, *rest = (range(count)[span] for count, span in zip(cells.shape, box, strict=True))
    step = max(AT_ONCE // max(prod(map(len, rest)), 1), 1)
    for start in range(first.start, first.stop, step):
        part = cells[start : min(start + step, first.stop), *box[1:]]
        x, y, z = (each + low for each, low in zip(np.nonzero(part), (start, *(span.start for span in rest)), strict=True))
        yield (x, y, z), transformed(affine[:3, :3], affine[:3, 3], (x, y, z))


def transformed(matrix: NDArray[np.float64], offset: NDArray[np.float64], points: NDArray[np.float64] | Index) -> NDArray[np.float64]:
    """A matrix [3, 3] times points [3, n], and an offset [3]: number by number, so that no library's threads show in the last bits."""
    x, y, z = points
    return np.asarray(matrix[:, :1] * x + matrix[:, 1:2] * y + matrix[:, 2:] * z + offset[:, None])
