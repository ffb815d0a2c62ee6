"""Smooth fields sampled on a coarse lattice in patient space, and noise, both evaluated quickly on any axis-aligned grid.

A grid's axes are independent, so interpolation is three small matrix products instead of a gather of 64 neighbours per voxel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calvaria.geometry import Field

Axis = NDArray[np.float32]
Reals = NDArray[np.floating[Any]]

TILE = 64


def catmull_rom(position: Axis) -> tuple[NDArray[np.int64], Field]:
    """Node numbers [n, 4] and weights [n, 4] of the interpolating cubic (Catmull and Rom, 1974) at positions in node units."""
    first = np.floor(position).astype(np.int64)
    t = position - first
    weights = 0.5 * np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], axis=1)
    return first[:, None] + np.arange(-1, 3), weights.astype(np.float32)


def _matrix(position: Axis, nodes: int, *, wrap: bool) -> Field:
    """Interpolation as a matrix [n, nodes]; beyond the ends the field is continued periodically or by its last value."""
    columns, weights = catmull_rom(position)
    columns = columns % nodes if wrap else columns.clip(0, nodes - 1)
    matrix = np.zeros((len(position), nodes), dtype=np.float32)
    np.add.at(matrix, (np.arange(len(position))[:, None], columns), weights)
    return matrix


def _separable(matrices: Sequence[Field], values: Field) -> Field:
    """values [a, b, c] through matrices [x, a], [y, b], [z, c] to [x, y, z]."""
    along_x, along_y, along_z = matrices
    a, b, c = values.shape
    partial = (along_x @ values.reshape(a, b * c)).reshape(-1, b, c)
    return np.asarray(np.matmul(along_y, partial) @ along_z.T)


@dataclass(frozen=True)
class Lattice:
    """Nodes at whole multiples of `step_mm` in patient space from node number `first` on; `shape` nodes along x, y, z.

    Because the nodes' places do not depend on any grid, a field means the same at every grid spacing.
    """

    first: tuple[int, int, int]
    shape: tuple[int, int, int]
    step_mm: float

    @classmethod
    def over(cls, low_mm: Sequence[float], high_mm: Sequence[float], step_mm: float) -> "Lattice":
        """The lattice whose nodes surround the box from `low_mm` to `high_mm` (patient mm) with one spare node on each side."""
        first = [int(np.floor(v / step_mm)) - 1 for v in low_mm]
        last = [int(np.ceil(v / step_mm)) + 1 for v in high_mm]
        shape = [b - a + 1 for a, b in zip(first, last, strict=True)]
        return cls((first[0], first[1], first[2]), (shape[0], shape[1], shape[2]), step_mm)

    def axes_mm(self) -> list[Axis]:
        """Node coordinates along x, y, z in patient mm."""
        return [((start + np.arange(n)) * self.step_mm).astype(np.float32) for start, n in zip(self.first, self.shape, strict=True)]

    def matrices(self, axes_mm: Sequence[Axis]) -> list[Field]:
        """Interpolation matrices for the grid with these coordinates (patient mm) along x, y, z."""
        return [_matrix(a / self.step_mm - start, n, wrap=False) for a, start, n in zip(axes_mm, self.first, self.shape, strict=True)]


def interpolate(matrices: Sequence[Field], field: Field) -> Field:
    """A lattice field on the grid the matrices were made for, float32 [X, Y, Z]."""
    return _separable(matrices, field)


class Noise:
    """Zero-mean, unit-variance smooth random noise in patient space, the same at every spacing; it repeats after 64 grains."""

    def __init__(self, rng: np.random.Generator, grain_mm: float):
        self.grain_mm = grain_mm
        self.tile = rng.standard_normal((TILE, TILE, TILE), dtype=np.float32)
        self.tile *= np.float32(1.75)  # cubic interpolation averages: this restores unit variance between the nodes

    def matrices(self, axes_mm: Sequence[Axis]) -> list[Field]:
        """Interpolation matrices for the grid with these coordinates (patient mm) along x, y, z."""
        return [_matrix(a / self.grain_mm, TILE, wrap=True) for a in axes_mm]

    def on(self, axes_mm: Sequence[Axis]) -> Field:
        """The noise at the grid points with these coordinates (patient mm), float32 [X, Y, Z]."""
        return _separable(self.matrices(axes_mm), self.tile)
