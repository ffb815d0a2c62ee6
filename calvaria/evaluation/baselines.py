"""Plain ways to complete a skull, which a network must beat.

Each takes a defective skull and returns its implant, bool on the same grid. None is random. They work on cells of 1 mm at the
finest, so that a full-size head takes seconds. Their settings were chosen on generated skulls of training seeds.
"""

from collections.abc import Callable
from itertools import product

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from calvaria.evaluation.continuation import continuation
from calvaria.geometry import Field, WorkingGrid, bounding_box, to_canonical
from calvaria.tasks.opening import open_by_ball
from calvaria.volume import BinaryVolume, Mask

Baseline = Callable[[BinaryVolume], BinaryVolume]
Reflection = tuple[NDArray[np.float64], NDArray[np.float64]]

CELL_MM = 1.0
MARGIN_CELLS = 8
CLOSING_MM = 90.0  # a ball that does not fit into the brain's cavity
CLOSING_CELL_MM = 2.0
BONE_PERCENT = 90.0  # of the bone in the upper head lies no deeper than a bone's thickness
FACE_SHARE = 0.45  # of the height of the occupied cells, from below
OPENING_MM = 1.5
FIT_BLUR_MM = 3.0
FIT_POINTS = 2_000, 30_000  # to find a plane, and to refine it


def unchanged(defective: BinaryVolume) -> BinaryVolume:
    """Nothing is done: an empty implant."""
    return defective.like(np.zeros_like(defective.mask))


def closing(defective: BinaryVolume, radius_mm: float = CLOSING_MM) -> BinaryVolume:
    """The largest piece, in the upper part of the head, that a closing with a ball of `radius_mm` adds, as thick as the bone is.

    So large a ball does not enter the brain's cavity: the closing fills the head, and its outer layer is taken. Further down, that
    would always be a gap of the face.
    """

    def close(share: Field, cell_mm: float) -> Mask:
        bone = share > 0.5
        solid = closed(bone, radius_mm / cell_mm)
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


def closed(mask: Mask, radius: float) -> Mask:
    """Morphological closing with a ball of `radius` voxels; by distance transforms, whose cost does not grow with the radius."""
    margin = int(radius) + 2
    grown = _within(np.pad(mask, margin), radius)
    inner = slice(margin, -margin)
    return ~_within(~grown, radius)[inner, inner, inner]


def largest_piece(mask: Mask, cell_mm: float) -> Mask:
    """The largest 26-connected piece of a mask [x, y, z] after a ball has opened it; empty when nothing is left."""
    opened = open_by_ball(mask, max(OPENING_MM / cell_mm, 1.0), (1.0, 1.0, 1.0))  # a ball below one cell would open nothing
    piece: Mask = cc3d.largest_k(opened, k=1, connectivity=26).astype(np.bool_)
    return piece


def fit_mirror(share: Field, cell_mm: float) -> Reflection:
    """The reflection x → matrix · x + offset, in cells, that lays a skull best upon itself.

    `share` is float32 [x, y, z], x running near the left-right axis. The plane is sought around the centroid, within 15 mm and 15
    degrees, first on a lattice of planes, then by Nelder-Mead, maximising the mean blurred occupancy at the reflected cells.
    """
    blurred = ndimage.gaussian_filter(share, FIT_BLUR_MM / cell_mm)
    cells = np.argwhere(share >= min(0.5, share.max())).astype(np.float64)
    centroid = cells.mean(axis=0)

    def mismatch(plane: NDArray[np.float64], points: NDArray[np.float64]) -> float:
        matrix, offset = _reflection(plane, centroid)
        return -float(ndimage.map_coordinates(blurred, matrix @ points + offset[:, None], order=1, mode="constant").mean())

    few, many = (cells[:: len(cells) // count + 1].T for count in FIT_POINTS)
    reach, tilt = 15 / cell_mm, np.tan(np.radians(15))
    lattice = product(np.linspace(-tilt, tilt, 7), np.linspace(-tilt, tilt, 7), np.linspace(-reach, reach, 11))
    start = min((np.array(plane) for plane in lattice), key=lambda plane: mismatch(plane, few))
    simplex = start + np.vstack([np.zeros(3), np.diag([0.05, 0.05, 2 / cell_mm])])
    options = {"initial_simplex": simplex, "xatol": 1e-3, "fatol": 1e-6}
    return _reflection(optimize.minimize(mismatch, start, args=(many,), method="Nelder-Mead", options=options).x, centroid)


def _reflection(plane: NDArray[np.float64], centroid: NDArray[np.float64]) -> Reflection:
    """Reflection in the plane with normal (1, plane[0], plane[1]), plane[2] cells from the centroid."""
    normal = np.array([1.0, plane[0], plane[1]])
    normal /= np.linalg.norm(normal)
    return np.eye(3) - 2 * np.outer(normal, normal), 2 * (normal @ centroid + plane[2]) * normal


def _above_face(added: Mask, bone: Mask) -> Mask:
    """What lies in the upper part of the head, whose top is the last of the z cells that hold bone."""
    height = bounding_box(bone)[2]
    above = np.arange(bone.shape[2]) >= height.start + FACE_SHARE * (height.stop - height.start)
    kept: Mask = added & above
    return kept


def _within(mask: Mask, radius: float) -> Mask:
    """Voxels no further than `radius` voxels from the mask; none when the mask is empty."""
    if not mask.any():
        return np.zeros_like(mask)
    return np.asarray(edt.edt(~mask) <= radius)


def _on_working_grid(defective: BinaryVolume, find: Callable[[Field, float], Mask], cell_mm: float = CELL_MM) -> BinaryVolume:
    """Run `find(share of each cell that is bone, cell size in mm)`, and bring the cells it returns back as an implant."""
    canonical = to_canonical(defective.mask, defective.affine)
    cell_mm = max(cell_mm, min(defective.spacing_mm))
    grid = WorkingGrid.over(canonical.volume, cell_mm, margin_mm=MARGIN_CELLS * cell_mm)
    found = find(grid.coarsen(canonical.mask), cell_mm)
    implant = np.zeros_like(canonical.mask)
    fine, box = grid.refine(found.astype(np.float32), 0.5)
    implant[box] = fine & ~canonical.mask[box]
    return defective.like(canonical.from_canonical(implant))
