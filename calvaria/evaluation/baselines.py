"""Plain ways to complete a skull, which a network must beat.

Each takes a defective skull and returns its implant, bool on the same grid. None is random. They work on cells of 1 mm at the
finest, so that a full-size head takes seconds. Their settings were chosen on generated skulls of training seeds.
"""

from collections.abc import Callable

import edt
import numpy as np
from scipy import ndimage

from calvaria.evaluation.continuation import continuation
from calvaria.geometry import Field, bounding_box, to_canonical
from calvaria.grid import WorkingGrid
from calvaria.tasks.components import largest_component
from calvaria.tasks.opening import close_by_distance, open_by_ball
from calvaria.vault.mirrored import fit_mirror
from calvaria.volume import BinaryVolume, Mask

Baseline = Callable[[BinaryVolume], BinaryVolume]

CELL_MM = 1.0
MARGIN_CELLS = 8
CLOSING_MM = 90.0  # a ball that does not fit into the brain's cavity
CLOSING_CELL_MM = 2.0
BONE_PERCENT = 90.0  # share of the bone in the upper head that lies no deeper than a bone's thickness
FACE_SHARE = 0.45  # share of the height of the occupied cells, from below, that is face
OPENING_MM = 1.5


def unchanged(defective: BinaryVolume) -> BinaryVolume:
    """Nothing is done: an empty implant."""
    return defective.emptied()


def closing(defective: BinaryVolume) -> BinaryVolume:
    """The largest piece, in the upper part of the head, that a closing with a ball of `CLOSING_MM` adds, as thick as the bone is.

    So large a ball does not enter the brain's cavity: the closing fills the head, and its outer layer is taken. Further down, that
    would always be a gap of the face.
    """

    def close(share: Field, cell_mm: float) -> Mask:
        bone = share > 0.5
        solid = close_by_distance(bone, CLOSING_MM / cell_mm, (1.0, 1.0, 1.0))
        depth = edt.edt(solid, black_border=True)
        upper = _above_face(bone, bone)
        thickness = np.percentile(depth[upper], BONE_PERCENT) if upper.any() else 0.0
        return largest_piece(_above_face(solid & (depth <= thickness) & ~bone, bone), cell_mm)

    return _on_working_grid(defective, close, CLOSING_CELL_MM)


def mirror(defective: BinaryVolume) -> BinaryVolume:
    """The largest piece that the skull's mirror image adds, reflected in a plane fitted to the skull itself."""

    def reflect(share: Field, cell_mm: float) -> Mask:
        matrix, offset = fit_mirror(share, cell_mm)
        bone = share > 0.5
        mirrored: Mask = ndimage.affine_transform(share, matrix, offset, order=1) > 0.5
        return largest_piece(mirrored & ~bone, cell_mm)

    return _on_working_grid(defective, reflect)


BASELINES: dict[str, Baseline] = {"continuation": continuation, "mirror": mirror, "closing": closing, "input unchanged": unchanged}


def largest_piece(mask: Mask, cell_mm: float) -> Mask:
    """The largest 26-connected piece of a mask [x, y, z] after a ball has opened it; empty when nothing is left."""
    opened = open_by_ball(mask, max(OPENING_MM / cell_mm, 1.0), (1.0, 1.0, 1.0))  # a ball below one cell would open nothing
    return largest_component(opened)


def _above_face(added: Mask, bone: Mask) -> Mask:
    """What lies in the upper part of the head, whose top is the last of the z cells that hold bone."""
    height = bounding_box(bone)[2]
    above = np.arange(bone.shape[2]) >= height.start + FACE_SHARE * (height.stop - height.start)
    kept: Mask = added & above
    return kept


def _on_working_grid(defective: BinaryVolume, find: Callable[[Field, float], Mask], cell_mm: float = CELL_MM) -> BinaryVolume:
    """Run `find(share of each cell that is bone, cell size in mm)`, and bring the cells it returns back as an implant."""
    canonical = to_canonical(defective)
    cell_mm = max(cell_mm, min(defective.spacing_mm))
    grid = WorkingGrid.over(canonical.volume, cell_mm, margin_mm=MARGIN_CELLS * cell_mm)
    found = find(grid.coarsen(canonical.mask), cell_mm)
    implant = np.zeros_like(canonical.mask)
    fine, box = grid.refine(found.astype(np.float32), 0.5)
    implant[box] = fine & ~canonical.mask[box]
    return defective.like(canonical.from_canonical(implant))
