"""Values of one lattice at the points of another of the same orientation: a working grid, a volume's voxels."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from calvaria.geometry import Field
from calvaria.volume import Affine, Mask


class Lattice(Protocol):
    """Points along three axes. `affine` float64 [4, 4]: index to LPS mm."""

    @property
    def shape(self) -> tuple[int, int, int]: ...

    @property
    def affine(self) -> Affine: ...


def sampled(values: Field, source: Lattice, target: Lattice) -> Field:
    """Values [x, y, z] on one lattice, linearly interpolated at the points of another of the same orientation."""
    for axis, position in enumerate(positions(source, target)):
        below = np.floor(position).astype(np.intp)
        shape = [-1 if along == axis else 1 for along in range(3)]
        weight = (position - below).astype(np.float32).reshape(shape)
        lower = values.take(below, axis)
        values = values.take(np.minimum(below + 1, source.shape[axis] - 1), axis)
        values -= lower
        values *= weight
        values += lower
    return values


def nearest(mask: Mask, source: Lattice, target: Lattice) -> Mask:
    """A mask [x, y, z] on one lattice at the points of another of the same orientation."""
    for axis, position in reversed(list(enumerate(positions(source, target)))):  # whole planes last, when there are most
        mask = mask.take(np.rint(position).astype(np.intp), axis)
    return mask


def positions(source: Lattice, target: Lattice) -> Iterator[NDArray[np.float64]]:
    """Where the target's points lie along each axis of the source, in its steps, held at its border."""
    back = np.linalg.inv(source.affine) @ target.affine
    for axis, count in enumerate(target.shape):
        yield (back[axis, axis] * np.arange(count) + back[axis, 3]).clip(0, source.shape[axis] - 1)
