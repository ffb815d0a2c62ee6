"""What a defective skull itself says of what it lacks: its vault, continued over the holes found in it, and its mirror image."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import prod

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calvaria.cores import one_blas_thread
from calvaria.geometry import Field
from calvaria.grid import BEYOND, WorkingGrid
from calvaria.sampling import placed, transformed
from calvaria.tasks.task import Prepared
from calvaria.vault.bent import Bent, bend
from calvaria.vault.continued import Plates, continued, depths_mm
from calvaria.vault.mirrored import between, fit_mirror
from calvaria.vault.unrolled import Unrolled, unroll
from calvaria.volume import Mask

CELL_MM = 1.0
MOST_CELLS = 2**24
"""Most cells of the grid on which the skull is looked at: a head has 6 million of 1 mm. What is wider gets larger cells."""

MARGIN_MM = 4.0
MIRROR_POINTS = 8_000
DEEP_MM = 3.0
"""Depth, mm, inside and outside the continued tables up to which cells are told apart."""


Opposite = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Maps cells to other places in a grid: float64 [3, n] in cells, both."""


@dataclass(frozen=True, eq=False)
class Hints:
    """What one skull hints at.

    prepared  the skull
    grid      of cells of about a millimetre over it
    share     gives float32 [x, y, z], how full these are; counted when it is needed, which it is not where there is no vault and nothing
              is looked at closer
    image     gives the skull's mirror image, bent to lie on it; fitted when it is needed, once
    unrolled  the vault, where there is one
    plates    what continues it
    """

    prepared: Prepared
    grid: WorkingGrid
    share: Callable[[], Field]
    image: Callable[[], Bent]
    unrolled: Unrolled | None
    plates: list[Plates]

    @classmethod
    def of(cls, prepared: Prepared) -> "Hints":
        """The hints of a skull. Time and memory are bounded as in `prepare`; a mask without a vault has no plates."""
        extent_mm = [count * prepared.grid.spacing_mm for count in prepared.grid.shape]
        cell_mm = max(CELL_MM, (prod(extent_mm) / MOST_CELLS) ** (1 / 3))
        grid = WorkingGrid.over(prepared.canonical.volume, cell_mm, MARGIN_MM, [BEYOND] * 3)
        share = cache(lambda: grid.coarsen(prepared.canonical.mask))

        def image() -> Bent:
            with one_blas_thread():
                fitted = fit_mirror(prepared.shares, prepared.grid.spacing_mm, MIRROR_POINTS)
                return bend(share(), grid.spacing_mm, between(fitted, prepared.grid, grid))

        with one_blas_thread():
            unrolled = unroll(prepared.canonical.volume, share, grid.affine)
            return cls(prepared, grid, share, cache(image), unrolled, continued(unrolled) if unrolled else [])

    def filled(self, grid: WorkingGrid) -> Field:
        """How full the cells of a grid are if the vault goes on over its holes, float32 [x, y, z]; 0 away from them."""
        return _between(depths_mm(self.plates, grid.affine, np.ones(grid.shape, np.bool_)), grid.spacing_mm / 2)

    def plain(self, grid: WorkingGrid, cells: Mask) -> Field:
        """`filled` for small round holes alone: no head has these by itself, whatever the networks think of them.

        Only `cells` (bool [x, y, z]) of the grid are looked at, here and below; the others are 0.
        """
        return _between(depths_mm([each for each in self.plates if each.plain], grid.affine, cells), grid.spacing_mm / 2)

    def astray(self, grid: WorkingGrid, cells: Mask) -> tuple[Mask, Mask]:
        """Cells of other bone than the vault (orbits, base, face), two masks [x, y, z]: those far inside or outside the vault; those
        straight below, in front.
        """
        beside, below = np.zeros((2, *grid.shape), np.bool_)
        if self.unrolled:
            for index, places in placed(cells, grid.affine):
                beside[index], below[index] = self.unrolled.astray(places.T)
        return beside, below

    def depth(self, grid: WorkingGrid, cells: Mask) -> Field:
        """Depth of cells in the vault, continued over its holes, float32 [x, y, z]: 0 at 3 mm or more outside and wherever nothing is
        continued, 0.5 at the tables, 1 at 3 mm inside.
        """
        return _between(depths_mm(self.plates, grid.affine, cells), DEEP_MM)

    def mirrored(self, grid: WorkingGrid, cells: Mask) -> tuple[Field, Opposite]:
        """How full the cells of a grid are in the skull's mirror image, bent to lie on the skull, float32 [x, y, z]; and where in the grid
        lies what is opposite its cells.
        """
        cell_mm = self.grid.spacing_mm
        image = self.image()
        to_hints = np.asarray(np.linalg.inv(self.grid.affine) @ grid.affine, np.float64)
        back = np.asarray(np.linalg.inv(to_hints), np.float64)
        seen = np.zeros(grid.shape, np.float32)
        for index, places in placed(cells, to_hints):
            opposite = image.opposite(places * cell_mm) / cell_mm
            seen[index] = ndimage.map_coordinates(self.share(), opposite, order=1, prefilter=False)

        def opposite_cells(places: NDArray[np.float64]) -> NDArray[np.float64]:
            there = image.opposite(transformed(to_hints[:3, :3], to_hints[:3, 3], places) * cell_mm) / cell_mm
            return transformed(back[:3, :3], back[:3, 3], there)

        return seen, opposite_cells


def _between(depths_mm: Field, reach_mm: float) -> Field:
    """Depths as numbers from 0, `reach_mm` outside, to 1, `reach_mm` inside."""
    return np.asarray((depths_mm / np.float32(2 * reach_mm) + np.float32(0.5)).clip(0, 1))
