"""The strongest plain baseline: what lies between the vault's tables, continued over holes that it finds as thin plates."""

import numpy as np

from calvaria.geometry import to_canonical
from calvaria.grid import WorkingGrid
from calvaria.sampling import placed
from calvaria.tasks.components import large_components
from calvaria.tasks.opening import open_by_ball
from calvaria.vault.continued import Plates, continued
from calvaria.vault.unrolled import unroll
from calvaria.volume import BinaryVolume, Mask

CELL_MM = 1.0
OPENING_MM = 1.5
SMALLEST_MM3 = 300.0


def continuation(defective: BinaryVolume) -> BinaryVolume:
    """The implant [X, Y, Z] that continues the inner and the outer table over every hole; empty where no vault or no hole is found."""
    canonical = to_canonical(defective)
    implant = np.zeros_like(canonical.mask)
    if defective.occupied:
        grid = WorkingGrid.over(canonical.volume, max(CELL_MM, min(defective.spacing_mm)), margin_mm=4 * CELL_MM)
        unrolled = unroll(canonical.volume, lambda: grid.coarsen(canonical.mask), grid.affine)
        for plates in continued(unrolled) if unrolled else []:
            _fill(implant, canonical.volume, plates)
    return defective.like(canonical.from_canonical(implant))


def _fill(implant: Mask, skull: BinaryVolume, plates: Plates) -> None:
    """Add what lies between two tables and is no bone yet to an implant [X, Y, Z]."""
    box = plates.box(skull.affine, skull.shape)
    added = np.zeros_like(skull.mask)
    for index, places in placed(~skull.mask, skull.affine, box):
        added[index] = plates.depth_mm(places.T) >= 0
    opened = open_by_ball(np.asfortranarray(added[box]), OPENING_MM, skull.spacing_mm)
    implant[box] |= large_components(opened, SMALLEST_MM3 / skull.voxel_mm3)
