"""A fine mask in agreement with the coarse one that it was made from, block by block.

A scan's voxel is occupied because most of it is, and empty because most of it is not. Cell by cell, a network doubts what is thinner
than a coarse voxel, bone and holes alike, and a threshold then loses it; that some of it is there, the scan says.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calvaria.geometry import Field, WorkingGrid
from calvaria.sampling import Lattice, positions
from calvaria.volume import Mask

CHUNK_VOXELS = 2**21


@dataclass(frozen=True, eq=False)
class Runs:
    """The voxels of one axis that lie in the same coarse voxel: which that is, where the run starts, and how long it is."""

    coarse: NDArray[np.intp]
    start: NDArray[np.intp]
    count: NDArray[np.intp]

    @classmethod
    def of(cls, position: NDArray[np.float64]) -> "Runs":
        """`position` of each voxel's centre in coarse voxels, ascending."""
        coarse, start = np.unique(np.rint(position).astype(np.intp), return_index=True)
        return cls(coarse, start, np.diff(start, append=len(position)))


def settle(fine: Mask, coarse: Mask, of_coarse: Lattice, of_fine: Lattice, field: Field, grid: WorkingGrid) -> None:
    """Change a fine mask [X, Y, Z] in place until each block agrees with its coarse voxel; the surest of its voxels are occupied.

    The block of an occupied voxel is at least half full, that of an empty one at most. What is true of a scan that was made by the mean
    stays as it is.

    field  float32 [x, y, z] on the working grid over the fine one: how sure each cell is
    """
    x, y, z = (Runs.of(position) for position in positions(of_coarse, of_fine))
    full = fine.view(np.uint8)
    for axis, runs in enumerate((x, y, z)):
        full = np.add.reduceat(full, runs.start, axis=axis, dtype=np.int32)
    size = x.count[:, None, None] * y.count[:, None] * z.count
    occupied = coarse[np.ix_(x.coarse, y.coarse, z.coarse)]
    alone = size == 1  # such a voxel is free
    least, most = (size + 1) // 2 - alone, size // 2 + alone
    wanted = np.where(occupied, np.maximum(full, least), np.minimum(full, most))
    blocks = np.argwhere(wanted != full)
    largest = prod(int(runs.count.max()) for runs in (x, y, z))
    for some in np.array_split(blocks, len(blocks) * largest // CHUNK_VOXELS + 1) if len(blocks) else ():
        _surest(fine, some, wanted[tuple(some.T)], (x, y, z), field, grid)


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
    rank = np.argsort(np.argsort(-ranked, axis=1, kind="stable"), axis=1, kind="stable")
    chosen = (rank < wanted[:, None]).reshape(inside.shape)
    fine[tuple(place[inside] for place in places)] = chosen[inside]


def _voxels(blocks: NDArray[np.intp], runs: tuple[Runs, Runs, Runs]) -> Iterator[tuple[NDArray[np.intp], Mask]]:
    """Along each axis: the voxels of each block, [N, …] up to the longest run's length, and which of them it really has."""
    for axis, each in enumerate(runs):
        steps = np.arange(each.count.max()).reshape([-1 if place == axis else 1 for place in range(3)])
        start, count = (values[blocks[:, axis]][:, None, None, None] for values in (each.start, each.count))
        yield start + np.minimum(steps, count - 1), np.asarray(steps < count)
