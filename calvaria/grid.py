"""A coarse isotropic working grid over a canonical volume, with its way back.

Everything is written so that one anatomy gives one answer, to the last bit, however its file orders or flips the axes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from calvaria.geometry import Box, Field, as_box, bounding_box, laid, memory_order
from calvaria.volume import Affine, BinaryVolume, Mask

Ends = tuple[bool, bool]
"""A flag for an axis' lower end, and one for its upper end."""

BEYOND: Ends = (True, True)
CLIPPED = ((False, False),) * 3

HALF = 0.5 + 1e-4
"""What counts as more than half full: cells' edges are rounded when their shares are summed (`shares`)."""

_EDGE_STEPS = 2**16  # voxel edges are rounded to this share of a working cell: every sum below is then exact, in whatever order


@dataclass(frozen=True)
class GridAxis:
    """One axis of a working grid beside the same axis of its source; positions in mm from the outer edge of source voxel 0."""

    source_count: int
    source_mm: float
    count: int
    start_mm: float
    cell_mm: float

    @classmethod
    def over(
        cls, occupied: slice, source_count: int, source_mm: float, cell_mm: float, margin_mm: float, beyond: Ends = (False, False)
    ) -> "GridAxis":
        """Whole cells centred on the occupied voxels and a margin on both sides, as far as the field of view reaches, or `beyond` it."""
        low, high = occupied.start * source_mm - margin_mm, occupied.stop * source_mm + margin_mm
        low, high = low if beyond[0] else max(low, 0.0), high if beyond[1] else min(high, source_count * source_mm)
        return cls._between(low, high, source_count, source_mm, cell_mm)

    @classmethod
    def _between(cls, low_mm: float, high_mm: float, source_count: int, source_mm: float, cell_mm: float) -> "GridAxis":
        count = max(ceil((high_mm - low_mm) / cell_mm - 1e-6), 1)
        return cls(source_count, source_mm, count, (low_mm + high_mm - count * cell_mm) / 2, cell_mm)

    def recut(self, cells: slice, cell_mm: float) -> "GridAxis":
        """Cells of another size where some of these lie."""
        low, high = (self.start_mm + place * self.cell_mm for place in (cells.start, cells.stop))
        return self._between(low, high, self.source_count, self.source_mm, cell_mm)

    def overlaps(self) -> csr_array:
        """Share of each working cell that each source voxel covers, sparse [count, source_count]."""
        edges = (np.arange(self.source_count + 1) * self.source_mm - self.start_mm) / self.cell_mm
        edges = np.round(edges * _EDGE_STEPS) / _EDGE_STEPS
        cuts = np.union1d(edges.clip(0, self.count), np.arange(self.count + 1))  # between two of them lies one cell and one voxel
        cell = cuts[:-1].astype(np.intp)
        voxel = np.searchsorted(edges, cuts[:-1], side="right") - 1
        inside = (voxel >= 0) & (voxel < self.source_count)
        return csr_array((np.diff(cuts)[inside], (cell[inside], voxel[inside])), shape=(self.count, self.source_count))

    def positions(self, voxels: slice) -> NDArray[np.float64]:
        """Where source voxel centres lie, in cells, 0 being the centre of the first."""
        return ((np.arange(voxels.start, voxels.stop) + 0.5) * self.source_mm - self.start_mm) / self.cell_mm - 0.5

    def reach(self, cells: slice) -> slice:
        """Source voxels inside the grid whose linear interpolation draws on any of these cells."""
        position = self.positions(slice(0, self.source_count))
        inside = (position >= -0.5) & (position < self.count - 0.5)
        reached = np.flatnonzero(inside & (position > cells.start - 1) & (position < cells.stop) & (cells.start < cells.stop))
        return slice(int(reached[0]), int(reached[-1]) + 1) if reached.size else slice(0, 0)

    def neighbours(self, voxels: slice) -> tuple[NDArray[np.intp], NDArray[np.intp], Field]:
        """For each source voxel: the cell below its centre, the one above, and the weight of the latter; the border is held."""
        position = self.positions(voxels).clip(0, self.count - 1)
        below = np.floor(position).astype(np.intp)
        return below, np.minimum(below + 1, self.count - 1), (position - below).astype(np.float32)

    def interpolation(self) -> csr_array:
        """What each source voxel's centre draws on each cell, sparse float32 [source_count, count]; nothing outside the grid."""
        position = self.positions(slice(0, self.source_count))
        voxels = np.flatnonzero((position >= -0.5) & (position < self.count - 0.5))
        below, above, weight = (each[voxels] for each in self.neighbours(slice(0, self.source_count)))
        places = np.tile(voxels, 2), np.concatenate([below, above])
        return csr_array((np.concatenate([1 - weight, weight]), places), shape=(self.source_count, self.count))


@dataclass(frozen=True, eq=False)
class WorkingGrid:
    """Isotropic cells of `spacing_mm` laid over a canonical volume.

    axes    how each axis [x, y, z] of the grid lies on the source
    affine  float64 [4, 4], cell index (cell centres) to LPS mm
    """

    axes: tuple[GridAxis, GridAxis, GridAxis]
    affine: Affine
    spacing_mm: float

    @classmethod
    def over(cls, volume: BinaryVolume, spacing_mm: float, margin_mm: float, beyond: Sequence[Ends] = CLIPPED) -> "WorkingGrid":
        """A grid over the occupied box of a canonical volume and `margin_mm` around it, clipped to the field of view but at those ends of
        axes where it may reach `beyond` that.
        """
        if spacing_mm <= 0 or margin_mm < 0:
            raise ValueError(f"a working grid needs a positive spacing and a margin of at least 0, not {spacing_mm} and {margin_mm} mm")
        return cls._over(volume, bounding_box(volume.mask), spacing_mm, margin_mm, beyond)

    @classmethod
    def filling(cls, volume: BinaryVolume, spacing_mm: float) -> "WorkingGrid":
        """A grid over all of a canonical volume, occupied or not."""
        return cls.within(volume, as_box(slice(0, count) for count in volume.shape), spacing_mm)

    @classmethod
    def within(cls, volume: BinaryVolume, box: Box, spacing_mm: float) -> "WorkingGrid":
        """A grid over a box of a canonical volume, occupied or not; cells may reach a little beyond, evenly on both sides."""
        return cls._over(volume, box, spacing_mm, 0.0)

    @classmethod
    def _over(cls, volume: BinaryVolume, box: Box, spacing_mm: float, margin_mm: float, beyond: Sequence[Ends] = CLIPPED) -> "WorkingGrid":
        source_mm = volume.spacing_mm
        x, y, z = (
            GridAxis.over(occupied, count, mm, spacing_mm, margin_mm, ends)
            for occupied, count, mm, ends in zip(box, volume.shape, source_mm, beyond, strict=True)
        )
        affine = laid(volume, spacing_mm, [axis.start_mm for axis in (x, y, z)])
        return cls((x, y, z), affine, spacing_mm)

    def recut(self, box: Box, spacing_mm: float, volume: BinaryVolume) -> "WorkingGrid":
        """Cells of another size over a box of this grid's [x, y, z], a little more at most, evenly on both sides.

        volume  what this grid lies on
        """
        x, y, z = (axis.recut(cells, spacing_mm) for axis, cells in zip(self.axes, box, strict=True))
        return WorkingGrid((x, y, z), laid(volume, spacing_mm, [axis.start_mm for axis in (x, y, z)]), spacing_mm)

    def above(self, volume: BinaryVolume) -> "WorkingGrid":
        """The same cells over another canonical volume of the same orientation."""
        corner_mm = np.linalg.solve(volume.direction, self.affine[:3, 3] - volume.affine[:3, 3])  # axes may be sheared, by a gantry
        x, y, z = (
            GridAxis(count, mm, axis.count, float(place + (mm - axis.cell_mm) / 2), axis.cell_mm)
            for axis, place, count, mm in zip(self.axes, corner_mm, volume.shape, volume.spacing_mm, strict=True)
        )
        return WorkingGrid((x, y, z), self.affine, self.spacing_mm)

    @property
    def shape(self) -> tuple[int, int, int]:
        x, y, z = self.axes
        return x.count, y.count, z.count

    @property
    def source_shape(self) -> tuple[int, int, int]:
        x, y, z = self.axes
        return x.source_count, y.source_count, z.source_count

    @property
    def source_mm(self) -> tuple[float, float, float]:
        """Spacing of the source."""
        x, y, z = self.axes
        return x.source_mm, y.source_mm, z.source_mm

    def coarsen(self, mask: NDArray[Any]) -> Field:
        """Share of each cell that is occupied, float32 [x, y, z]; see `shares`."""
        return shares(mask, self.axes)

    def refine(self, field: Field, threshold: float) -> tuple[Mask, Box]:
        """Where the linear interpolation of a field exceeds `threshold` at source voxel centres.

        `field` is float32 [x, y, z] on this grid. Returns bool [a, b, c] in Fortran order, as most files have it, and the box of the
        source grid it fills: everything outside the box is at or below the threshold, or outside the working grid. Extra memory: a few
        planes of the source in float32.
        """
        _check(field.shape, self.shape)
        kept = bounding_box(field > threshold)
        x, y, z = box = as_box(axis.reach(cells) for axis, cells in zip(self.axes, kept, strict=True))
        planes = np.ascontiguousarray(field.T)  # [z, y, x]
        across, along = self.axes[1].neighbours(y), self.axes[0].neighbours(x)

        @lru_cache(maxsize=2)
        def plane(cell: int) -> Field:
            return _interpolate(_interpolate(planes[cell], 1, *along), 0, *across)

        mask = np.empty([voxels.stop - voxels.start for voxels in box], np.bool_, order="F")
        for above, below, upper, weight in zip(mask.T, *self.axes[2].neighbours(z), strict=True):
            lower = plane(below)
            values = plane(upper) - lower
            values *= weight
            values += lower
            np.greater(values, threshold, out=above)
        return mask, box


def shares(mask: NDArray[Any], axes: Sequence[GridAxis]) -> Field:
    """Share of each cell along three axes that is occupied, float32 [x, y, z]; what lies outside the source counts as empty.

    `mask` is bool [X, Y, Z] on the source grid; of real numbers, each cell gets the mean, zeros lying outside. Edges are rounded to
    1/65536 of a cell, so that a mask's sums are exact: the slowest axis in memory is reduced first, and the order still cannot show in
    the result. Extra memory: a few planes in float64.
    """
    _check(mask.shape, tuple(axis.source_count for axis in axes))
    order, in_memory = memory_order(mask)
    overlaps = [axes[axis].overlaps()[:, :: -1 if mask.strides[axis] < 0 else 1] for axis in order]
    if not all(overlap.nnz for overlap in overlaps):
        return np.zeros([axis.count for axis in axes], np.float32)  # the source lies beside the cells
    rows, columns = (slice(int(overlap.indices.min()), int(overlap.indices.max()) + 1) for overlap in overlaps[1:])
    across, along = overlaps[1][:, rows], overlaps[2][:, columns]
    coarse = np.zeros([overlap.shape[0] for overlap in overlaps], np.float32)
    # Of a mask, sums are exact in any order, in half the memory; of other numbers, so nearly that no answer shows it.
    first = overlaps[0].astype(np.float32 if mask.dtype == np.bool_ else np.float64)
    for cell, (start, stop) in enumerate(pairwise(first.indptr)):
        if start == stop:
            continue  # beyond the source
        planes = zip(first.indices[start:stop], first.data[start:stop], strict=True)
        slab = sum(in_memory[plane, rows, columns] * share for plane, share in planes)
        coarse[cell] = (along @ (across @ np.asarray(slab, np.float64)).T).T
    return np.ascontiguousarray(coarse.transpose(np.argsort(order)))


def _check(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if shape != expected:
        raise ValueError(f"an array of shape {shape} does not lie on a grid of shape {expected}")


def _interpolate(plane: Field, axis: int, below: NDArray[np.intp], above: NDArray[np.intp], weight: Field) -> Field:
    """Linear interpolation of a plane along one of its two axes, in place where it can be."""
    values, rise = plane.take(below, axis), plane.take(above, axis)
    rise -= values
    rise *= weight if axis else weight[:, None]
    values += rise
    return values
