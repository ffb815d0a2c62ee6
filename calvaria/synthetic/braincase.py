"""The brain case of a skull: where its outer surface lies. Works on generated and on real masks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calvaria.geometry import Canonical, WorkingGrid
from calvaria.volume import Mask

Vector = NDArray[np.float64]

COARSE_MM = 3.0
CENTRE_BELOW_VERTEX_MM = 72.0


@dataclass(frozen=True, eq=False)
class BrainCase:
    """The brain case, seen from inside: where its outer surface lies in any direction.

    centre_mm  [3], about the middle of the brain case, patient space
    low_mm     patient z of the lowest bone in the scan
    """

    grid: WorkingGrid
    occupied: Mask
    centre_mm: Vector
    low_mm: float

    @classmethod
    def of(cls, canonical: Canonical) -> "BrainCase":
        grid = WorkingGrid.over(canonical.volume, COARSE_MM, 0.0)
        occupied = grid.coarsen(canonical.mask) > 0.4
        index = np.argwhere(occupied)
        places = index @ grid.affine[:3, :3].T + grid.affine[:3, 3]
        top, low = places[:, 2].max(), places[:, 2].min()
        middle = max(top - CENTRE_BELOW_VERTEX_MM, low + 5)
        around = places[(places[:, 2] > middle - 10) & (places[:, 2] < (middle + top) / 2 + 10)]
        x, y = (around[:, :2].min(axis=0) + around[:, :2].max(axis=0)) / 2
        return cls(grid, occupied, np.array([x, y, middle]), float(low))

    def surface(self, direction: Vector, origin_mm: Vector | None = None) -> Vector | None:
        """Where a ray from `origin_mm` (default: the centre) last leaves bone, mm [3]; None where it meets none."""
        start = self.centre_mm if origin_mm is None else origin_mm
        steps = np.arange(20, 140, COARSE_MM / 2)
        points = start + steps[:, None] * direction
        index = np.rint((points - self.grid.affine[:3, 3]) @ np.linalg.inv(self.grid.affine[:3, :3]).T).astype(int)
        inside = ((index >= 0) & (index < self.occupied.shape)).all(axis=1)
        met = np.zeros(len(steps), np.bool_)
        met[inside] = self.occupied[tuple(index[inside].T)]
        return np.asarray(points[met][-1]) if met.any() else None
