"""The strongest plain baseline: holes of the vault are found, and its two tables continued over them as thin plates."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import RBFInterpolator

from calvaria.errors import CalvariaError
from calvaria.geometry import WorkingGrid, to_canonical
from calvaria.tasks.components import large_components
from calvaria.tasks.opening import open_by_ball
from calvaria.vault.cavity import Cavity, box_around
from calvaria.vault.unrolled import PIXEL, Plane, Unrolled, on_map
from calvaria.volume import BinaryVolume, Mask

CELL_MM = 1.0
NARROWEST_MM = 5.0  # a gap below this is a suture, a vessel's hole or a fissure
SMALLEST_HOLE_MM2 = 60.0
FRAYED_MM = 4.0  # around a hole, the tables are not trusted
RING_MM = 22.0
MIRROR_MM = 10.0  # the two sides of a head are that alike
LOW_DEG = 15.0  # elevation from the cavity's middle below which a head has openings of its own
MOST_POINTS = 700
SMOOTHING = 1.0
OVERLAP_MM = 5.0  # how far beyond a hole bone is proposed; what is there already is taken away again
OPENING_MM = 1.5
SMALLEST_MM3 = 300.0


def continuation(defective: BinaryVolume) -> BinaryVolume:
    """The implant [X, Y, Z] that continues the inner and the outer table over every hole; empty where no vault or no hole is found."""
    canonical = to_canonical(defective.mask, defective.affine)
    nothing = defective.like(np.zeros_like(defective.mask))
    try:
        cavity = Cavity.of(canonical.volume)
    except CalvariaError:
        return nothing
    grid = WorkingGrid.over(canonical.volume, max(CELL_MM, min(defective.spacing_mm)), margin_mm=4 * CELL_MM)
    unrolled = Unrolled.of(grid.coarsen(canonical.mask), grid.affine, cavity)
    mm = PIXEL * cavity.radius_mm
    implant = np.zeros_like(canonical.mask)
    for hole in holes(unrolled, mm):
        plates = _plates(unrolled, hole, mm)
        if plates is not None:
            _fill(implant, canonical.volume, unrolled, *plates)
    return defective.like(canonical.from_canonical(implant))


def holes(unrolled: Unrolled, mm: float) -> list[Mask]:
    """The holes of the vault on the map, [rows, columns] each; `mm` is the size of a pixel."""
    missing = unrolled.vault & ~unrolled.bone & ~openings(unrolled, mm)
    # cells outside the vault count as missing here, so that a hole that reaches the vault's end is not rounded off there
    core = ndimage.distance_transform_edt(missing | ~unrolled.vault) * mm > NARROWEST_MM / 2
    wide = missing & (ndimage.distance_transform_edt(~(core & missing)) * mm <= NARROWEST_MM / 2)
    labels, count = ndimage.label(wide)
    found = [labels == label for label in range(1, count + 1)]
    return [hole for hole in found if np.count_nonzero(hole) * mm**2 >= SMALLEST_HOLE_MM2]


def openings(unrolled: Unrolled, mm: float) -> Mask:
    """Directions low on the head that lack bone on both sides: orbits and the openings of the base, which are nobody's defect."""
    missing = np.isfinite(unrolled.smooth_mm) & ~unrolled.bone
    near_mirrored = ndimage.distance_transform_edt(~missing[::-1]) * mm <= MIRROR_MM
    return np.asarray(missing & near_mirrored & (unrolled.directions[..., 2] < np.sin(np.radians(LOW_DEG))))


def _plates(unrolled: Unrolled, hole: Mask, mm: float) -> tuple[Plane, Plane, Mask] | None:
    """Outer and inner table over a hole and a little beyond, mm from the centre, and where they hold; None without enough bone around."""
    away = ndimage.distance_transform_edt(~hole) * mm
    other = unrolled.vault & ~unrolled.bone & ~hole
    frayed = ndimage.distance_transform_edt(~other) * mm <= FRAYED_MM / 2
    ring = unrolled.bone & unrolled.vault & (away > FRAYED_MM) & (away < FRAYED_MM + RING_MM) & ~frayed
    if np.count_nonzero(ring) < 30:
        return None
    reached = unrolled.vault & (away <= OVERLAP_MM)
    flat = _flattened(unrolled, hole)
    chosen = np.flatnonzero(ring)
    chosen = chosen[:: len(chosen) // MOST_POINTS + 1]
    relative = unrolled.outer_mm - unrolled.smooth_mm, unrolled.outer_mm - unrolled.inner_mm
    known = np.column_stack([values.ravel()[chosen] for values in relative])
    spline = RBFInterpolator(flat.reshape(-1, 2)[chosen], known, kernel="thin_plate_spline", smoothing=SMOOTHING)
    raised, thickness = spline(flat[reached]).T
    outer, inner = np.zeros(hole.shape), np.zeros(hole.shape)
    outer[reached] = unrolled.smooth_mm[reached] + raised
    inner[reached] = outer[reached] - np.maximum(thickness, 1.0)
    return outer, inner, reached


def _flattened(unrolled: Unrolled, hole: Mask) -> NDArray[np.float64]:
    """Directions in the plane [rows, columns, 2], radians from a hole's middle, distances from which are true."""
    middle = unrolled.directions[hole].mean(axis=0)
    middle /= np.linalg.norm(middle)
    first = np.cross(middle, np.eye(3)[np.argmin(np.abs(middle))])
    first /= np.linalg.norm(first)
    frame = np.stack([first, np.cross(middle, first)], axis=1)
    across = unrolled.directions @ frame
    angle = np.arccos((unrolled.directions @ middle).clip(-1, 1))
    return np.asarray(across * (angle / np.maximum(np.linalg.norm(across, axis=-1), 1e-9))[..., None])


def _fill(implant: Mask, skull: BinaryVolume, unrolled: Unrolled, outer: Plane, inner: Plane, reached: Mask) -> None:
    """Add what lies between two tables and is no bone yet to an implant [X, Y, Z]."""
    corners = np.concatenate([(unrolled.centre_mm + unrolled.directions * table[..., None])[reached] for table in (outer, inner)])
    box = box_around(corners, skull.affine, skull.shape)
    added = np.zeros(skull.mask[box].shape, dtype=np.bool_)
    start = np.array([span.start for span in box])
    for plane in range(box[2].stop - box[2].start):  # plane by plane, so that a large head needs no more memory than a small one
        voxels = np.stack(np.nonzero(~skull.mask[box][:, :, plane]), axis=1)
        at = np.column_stack([voxels, np.full(len(voxels), plane)]) + start
        offsets = at @ skull.affine[:3, :3].T + skull.affine[:3, 3] - unrolled.centre_mm
        pixels = on_map(offsets)
        distance = np.linalg.norm(offsets, axis=1)
        inside = _read(reached.astype(np.float64), pixels)
        between = (distance * inside <= _read(outer, pixels)) & (distance * inside >= _read(inner, pixels)) & (inside > 0.5)
        added[*voxels.T, plane] = between
    opened = open_by_ball(added, OPENING_MM, skull.spacing_mm)
    implant[box] |= large_components(opened, SMALLEST_MM3 / skull.voxel_mm3)


def _read(plane: Plane, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = ndimage.map_coordinates(plane, pixels, order=1, mode="constant", prefilter=False)
    return values
