"""A fine mask that holds as much, block by block, as is expected, and agrees with the coarse one that it was made from.

A network is unsure, cell by cell, of what is thinner than a coarse voxel, bone and pores alike: it knows that there is some, but not where,
and a threshold loses all of it. Its probabilities still add up to how much there is. And a scan's voxel is occupied because most of it is,
and empty because most of it is not.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import csr_array

from calvaria.geometry import Field
from calvaria.grid import WorkingGrid
from calvaria.sampling import Lattice, nearest_steps, positions
from calvaria.volume import Mask

CHUNK_VOXELS, CHUNK_BLOCKS = 2**20, 2**18
"""Voxels, and blocks, at once: some 40 MB beside the answer and two bytes a block."""

SURROUNDED = 16
"""Least occupied voxels among the 26 neighbours of an empty coarse voxel that make it a pore, or part of a slit."""

NEARLY = 1 / 32
"""A block of 32 voxels or more that holds as much as expected but for this share stays as it is: large ones are smooth, and many."""


@dataclass(frozen=True, eq=False)
class Runs:
    """The voxels of one axis that lie in the same coarse voxel: which that is, where the run starts, and how long it is."""

    coarse: NDArray[np.intp]
    start: NDArray[np.intp]
    count: NDArray[np.intp]

    @classmethod
    def of(cls, position: NDArray[np.float64]) -> "Runs":
        """`position` of each voxel's centre in coarse voxels, ascending; one on a border belongs to the upper one."""
        coarse, start = np.unique(nearest_steps(position), return_index=True)
        return cls(coarse, start, np.diff(start, append=len(position)))

    def part(self, start: int, stop: int) -> "Runs":
        """Runs from `start` to `stop`, counted from their first voxel on."""
        return Runs(self.coarse[start:stop], self.start[start:stop] - self.start[start], self.count[start:stop])

    def sums(self) -> csr_array:
        """The matrix that sums each run, sparse float32 [runs, voxels]."""
        voxels = int(self.count.sum())
        return csr_array((np.ones(voxels, np.float32), np.arange(voxels), np.append(self.start, voxels)))

    def summed(self, values: NDArray[Any], axis: int) -> NDArray[np.int32]:
        """The sum of each run along an axis [X, Y, Z]. Whole planes are added: `np.add.reduceat` takes three times as long."""
        planes, ends = np.moveaxis(values, axis, 0), self.start + self.count
        sums = [planes[start:end].sum(axis=0, dtype=np.int32) for start, end in zip(self.start, ends, strict=True)]
        return np.moveaxis(np.stack(sums), 0, axis)


def settle(fine: Mask, coarse: Mask, of_coarse: Lattice, of_fine: Lattice, field: Field, grid: WorkingGrid) -> None:
    """Change a fine mask [X, Y, Z] in place until each block, what lies in one coarse voxel, holds as much as expected: its surest voxels.

    The block of an occupied coarse voxel is at least half full, that of an empty one at most, as in a scan that was made by the mean; and
    that of a pore stays empty: half filled it would lie where nobody knows, and its surface with it.

    field  float32 [x, y, z] on the working grid over the fine one: how likely each cell is to be occupied
    """
    runs = x, y, z = [Runs.of(position) for position in positions(of_coarse, of_fine)]
    surrounded, largest = pores(coarse), prod(int(each.count.max()) for each in runs)
    summed = [each.sums() @ axis.interpolation() for axis, each in zip(grid.axes, runs, strict=True)]
    step = max(CHUNK_BLOCKS // (len(x.count) * len(y.count)), 1)
    for start in range(0, len(z.count), step):
        stop = min(start + step, len(z.count))
        here = z.part(start, stop)
        voxels = slice(z.start[start], z.start[stop - 1] + z.count[stop - 1])
        full = _held(fine[:, :, voxels], (x, y, here))
        expected = _expected(field, summed[0], summed[1], summed[2][start:stop])
        size = x.count[:, None, None] * y.count[:, None] * here.count
        of_coarse_voxels = np.ix_(x.coarse, y.coarse, here.coarse)
        wanted = _wanted(full, expected, size, coarse[of_coarse_voxels])
        wanted[surrounded[of_coarse_voxels] & (size > 1)] = 0
        blocks = np.argwhere(wanted != full)
        at_once = max(CHUNK_VOXELS // largest, 1)
        for some in (blocks[first : first + at_once] for first in range(0, len(blocks), at_once)):
            _surest(fine, some + np.array([0, 0, start]), wanted[tuple(some.T)], (x, y, z), field, grid)


def pores(coarse: Mask) -> Mask:
    """Which voxels are empty while most of those around them are occupied; beyond the border all are empty."""
    around = coarse.view(np.uint8)
    for axis in range(3):
        planes = np.moveaxis(around, axis, 0)
        around = around.copy(order="K")
        sums = np.moveaxis(around, axis, 0)
        sums[1:] += planes[:-1]
        sums[:-1] += planes[1:]
    return np.asarray((around >= SURROUNDED) & ~coarse)


def _wanted(full: NDArray[np.int32], expected: Field, size: NDArray[np.intp], occupied: Mask) -> NDArray[np.intp]:
    """How many voxels of each block should be occupied; one that is alone in its block is free."""
    rounded = np.rint(expected).astype(np.intp)
    wanted = np.where(abs(rounded - full) > NEARLY * size, rounded, full)
    alone = size == 1
    return np.asarray(np.where(occupied, np.maximum(wanted, (size + 1) // 2 - alone), np.minimum(wanted, size // 2 + alone)))


def _held(fine: Mask, runs: Sequence[Runs]) -> NDArray[np.int32]:
    """How many voxels of each block are occupied, int32 [blocks along X, Y, Z]."""
    sums: NDArray[Any] = fine.view(np.uint8)
    for axis in np.argsort(fine.strides)[::-1].tolist():  # what lies together in memory stays together
        sums = runs[axis].summed(sums, axis)
    return sums


def _expected(field: Field, x: csr_array, y: csr_array, z: csr_array) -> Field:
    """Expected occupied voxels of each block, by the sum of the interpolated field at their centres; rounded, so that the order of axes
    does not show.

    Plane by plane, and the axis first along which most is summed: little is left to move then. `x`, `y` and `z` sum what cells of the field
    have interpolated in each run.
    """
    summed = np.stack([y @ (z @ plane.T).T for plane in field])
    return np.asarray((x @ summed.reshape(len(summed), -1)).reshape(-1, *summed.shape[1:]).round(3), np.float32)


def _surest(
    fine: Mask, blocks: NDArray[np.intp], wanted: NDArray[np.intp], runs: tuple[Runs, Runs, Runs], field: Field, grid: WorkingGrid
) -> None:
    """Occupy `wanted` voxels of each of the blocks [N, 3], and no other of theirs."""
    along = list(_voxels(blocks, runs))
    places = np.broadcast_arrays(*(index for index, _ in along))
    inside = np.logical_and.reduce(np.broadcast_arrays(*(valid for _, valid in along)))
    cells = [axis.positions(slice(0, axis.source_count))[place] for axis, place in zip(grid.axes, places, strict=True)]
    sure = ndimage.map_coordinates(field, np.stack(cells), order=1, mode="nearest", prefilter=False)
    ranked = np.where(inside, sure, np.float32(-1)).reshape(len(blocks), -1)
    chosen = np.empty(ranked.shape, np.bool_)
    surest = np.argsort(-ranked, axis=1, kind="stable")
    np.put_along_axis(chosen, surest, np.arange(ranked.shape[1]) < wanted[:, None], axis=1)
    chosen = chosen.reshape(inside.shape)
    fine[tuple(place[inside] for place in places)] = chosen[inside]


def _voxels(blocks: NDArray[np.intp], runs: tuple[Runs, Runs, Runs]) -> Iterator[tuple[NDArray[np.intp], Mask]]:
    """Along each axis: the voxels of each block, [N, …] up to the longest run's length, and which of them it really has."""
    for axis, each in enumerate(runs):
        steps = np.arange(each.count.max()).reshape([-1 if place == axis else 1 for place in range(3)])
        start, count = (values[blocks[:, axis]][:, None, None, None] for values in (each.start, each.count))
        yield start + np.minimum(steps, count - 1), np.asarray(steps < count)
