"""The strongest plain baseline: what lies between the vault's tables, continued over holes that it finds as thin plates."""

import numpy as np

from calvaria.geometry import to_canonical
from calvaria.grid import WorkingGrid
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
    canonical = to_canonical(defective.mask, defective.affine)
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
    added = np.zeros(skull.mask[box].shape, dtype=np.bool_)
    start = np.array([span.start for span in box])
    for plane in range(box[2].stop - box[2].start):  # plane by plane, so that a large head needs no more memory than a small one
        voxels = np.stack(np.nonzero(~skull.mask[box][:, :, plane]), axis=1)
        at = np.column_stack([voxels, np.full(len(voxels), plane)]) + start
        added[*voxels.T, plane] = plates.depth_mm(at @ skull.affine[:3, :3].T + skull.affine[:3, 3]) >= 0
    opened = open_by_ball(added, OPENING_MM, skull.spacing_mm)
    implant[box] |= large_components(opened, SMALLEST_MM3 / skull.voxel_mm3)
