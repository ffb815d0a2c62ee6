"""The vault continued: its holes are found, and its two tables carried on over them as thin plates."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import RBFInterpolator

from calvaria.geometry import Box, Field
from calvaria.sampling import placed
from calvaria.vault.cavity import Points, box_around
from calvaria.vault.unrolled import Plane, Unrolled, on_map
from calvaria.volume import Affine, Mask

NARROWEST_MM = 5.0  # a gap below this is a suture, a vessel's hole or a fissure
SMALLEST_HOLE_MM2 = 60.0
MOST_HOLES = 12  # the largest; a head has one or two, and each takes time
FRAYED_MM = 4.0  # around a hole, the tables are not trusted
RING_MM = 22.0
FEWEST_POINTS, MOST_POINTS = 30, 700
MIRROR_MM = 10.0  # the two sides of a head are alike to within this
LOW_DEG = 15.0  # elevation from the cavity's middle below which a head has openings of its own
SMOOTHING = 1.0
OVERLAP_MM = 5.0  # how far beyond a hole the plates reach
THINNEST_MM = 1.0
PLAIN_MM2 = 100.0, 700.0
PLAIN_ROUND, PLAIN_RINGED = 0.5, 0.95
PLAIN_RING_MM = 6.0
"""Ring around a plain hole, whose area lies in PLAIN_MM2. Its largest circle fills PLAIN_ROUND of it, and bone PLAIN_RINGED of the ring.

Chosen on generated validation heads (seeds from 900,000): of 16 holes of the test's kind "small" 11 are found in the vault, and all of
these are plain; of 52 openings that intact heads have by themselves one is.
"""
OUTSIDE_MM = 4.0
"""Farthest outside the tables, mm, that depths are told."""


@dataclass(frozen=True, eq=False)
class Plates:
    """The tables over one hole and a little beyond.

    centre_mm  where distances are measured from, patient mm [3]
    outer_mm   outer table on the map of directions [rows, columns], mm from the centre; 0 where the plates do not reach
    inner_mm   inner table
    reached    directions that the plates reach
    around_mm  points [n, 3] in whose box the plates lie, patient mm
    plain      whether the hole is small and round, with bone all around: one that no head has by itself
    """

    centre_mm: Points
    outer_mm: Plane
    inner_mm: Plane
    reached: Mask
    around_mm: Points
    plain: bool

    def depth_mm(self, places_mm: Points) -> NDArray[np.float64]:
        """How deep between the tables points [n, 3] (patient mm) lie: negative outside of them, -inf beyond the plates."""
        offsets = places_mm - self.centre_mm
        pixels = on_map(offsets)
        distance = np.linalg.norm(offsets, axis=1)
        inside, outer, inner = (_read(plane, pixels) for plane in (self.reached.astype(np.float64), self.outer_mm, self.inner_mm))
        # at the border, all three fade alike
        return np.where(inside > 0.5, np.minimum(outer - distance * inside, distance * inside - inner) / np.maximum(inside, 0.5), -np.inf)

    def box(self, affine: Affine, shape: tuple[int, int, int]) -> Box:
        """The part of a grid [X, Y, Z] where the plates lie."""
        return box_around(self.around_mm, affine, shape)


def continued(unrolled: Unrolled) -> list[Plates]:
    """Plates over the holes of a vault, the largest first."""
    found = (_plates(unrolled, hole) for hole in holes(unrolled))
    return [plates for plates in found if plates]


def depths_mm(plates: list[Plates], affine: Affine, cells: Mask) -> Field:
    """How deep between continued tables the cells of a grid lie, float32 [x, y, z], the deepest of all plates.

    -inf beyond the plates, more than `OUTSIDE_MM` outside of the tables, and where `cells` (bool [x, y, z]) are not looked at.
    """
    depths = np.full(cells.shape, -np.inf, np.float32)
    for each in plates:
        for index, places in placed(cells, affine, each.box(affine, cells.shape)):
            depths[index] = np.maximum(depths[index], each.depth_mm(places.T))
    depths[depths < -OUTSIDE_MM] = -np.inf
    return depths


def holes(unrolled: Unrolled) -> list[Mask]:
    """The holes of the vault on the map, [rows, columns] each, largest first."""
    mm = unrolled.pixel_mm
    missing = unrolled.vault & ~unrolled.bone & ~openings(unrolled)
    # cells outside the vault count as missing here, so that a hole that reaches the vault's end is not rounded off there
    core = ndimage.distance_transform_edt(missing | ~unrolled.vault) * mm > NARROWEST_MM / 2
    wide = missing & (ndimage.distance_transform_edt(~(core & missing)) * mm <= NARROWEST_MM / 2)
    labels, _ = ndimage.label(wide)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest = np.argsort(-sizes, kind="stable")[:MOST_HOLES]
    return [labels == label for label in largest if sizes[label] * mm**2 >= SMALLEST_HOLE_MM2]


def openings(unrolled: Unrolled) -> Mask:
    """Directions low on the head that lack bone on both sides: orbits and the openings of the base, which are nobody's defect."""
    missing = np.isfinite(unrolled.smooth_mm) & ~unrolled.bone
    near_mirrored = ndimage.distance_transform_edt(~missing[::-1]) * unrolled.pixel_mm <= MIRROR_MM
    return np.asarray(missing & near_mirrored & (unrolled.directions[..., 2] < np.sin(np.radians(LOW_DEG))))


def _plates(unrolled: Unrolled, hole: Mask) -> Plates | None:
    """Plates over a hole; None without enough bone around."""
    away = ndimage.distance_transform_edt(~hole) * unrolled.pixel_mm
    other = unrolled.vault & ~unrolled.bone & ~hole
    frayed = ndimage.distance_transform_edt(~other) * unrolled.pixel_mm <= FRAYED_MM / 2
    ring = unrolled.bone & unrolled.vault & (away > FRAYED_MM) & (away < FRAYED_MM + RING_MM) & ~frayed
    if np.count_nonzero(ring) < FEWEST_POINTS:
        return None
    reached = unrolled.vault & (away <= OVERLAP_MM)
    flat = _flattened(unrolled, hole)
    chosen = np.flatnonzero(ring)
    chosen = chosen[:: len(chosen) // MOST_POINTS + 1]
    relative = unrolled.outer_mm - unrolled.smooth_mm, unrolled.outer_mm - unrolled.inner_mm
    known = np.column_stack([values.ravel()[chosen] for values in relative])
    try:
        spline = RBFInterpolator(flat.reshape(-1, 2)[chosen], known, kernel="thin_plate_spline", smoothing=SMOOTHING)
    except np.linalg.LinAlgError:  # all on one line
        return None
    raised, thickness = _thinly(spline, flat, reached)
    outer, inner = np.zeros(hole.shape), np.zeros(hole.shape)
    outer[reached] = unrolled.smooth_mm[reached] + raised
    inner[reached] = outer[reached] - np.maximum(thickness, THINNEST_MM)
    ends = (table[reached][:, None] for table in (outer + OUTSIDE_MM, inner - OUTSIDE_MM))
    around = np.concatenate([unrolled.centre_mm + unrolled.directions[reached] * end for end in ends])
    return Plates(unrolled.centre_mm, outer, inner, reached, around, is_plain(unrolled, hole, away))


def is_plain(unrolled: Unrolled, hole: Mask, away_mm: Plane) -> bool:
    """Whether a hole on the map is small and round, with bone all around; `away_mm`: how far each direction is from it."""
    mm = unrolled.pixel_mm
    area_mm2 = np.count_nonzero(hole) * mm**2
    if not PLAIN_MM2[0] <= area_mm2 <= PLAIN_MM2[1]:
        return False
    widest_mm = ndimage.distance_transform_edt(hole).max() * mm
    ring = ~hole & (away_mm < PLAIN_RING_MM)
    round_enough = np.pi * widest_mm**2 >= PLAIN_ROUND * area_mm2
    ringed = np.count_nonzero(ring & unrolled.vault & unrolled.bone) >= PLAIN_RINGED * np.count_nonzero(ring)
    return bool(round_enough and ringed)


def _flattened(unrolled: Unrolled, hole: Mask) -> NDArray[np.float64]:
    """Directions laid flat [rows, columns, 2], radians from the middle of a hole; distances from there are true."""
    middle = unrolled.directions[hole].mean(axis=0)
    middle /= np.linalg.norm(middle)
    first = np.cross(middle, np.eye(3)[np.argmin(np.abs(middle))])
    first /= np.linalg.norm(first)
    frame = np.stack([first, np.cross(middle, first)], axis=1)
    across = unrolled.directions @ frame
    angle = np.arccos((unrolled.directions @ middle).clip(-1, 1))
    return np.asarray(across * (angle / np.maximum(np.linalg.norm(across, axis=-1), 1e-9))[..., None])


def _thinly(spline: RBFInterpolator, flat: NDArray[np.float64], where: Mask) -> NDArray[np.float64]:
    """A spline's two values [2, n] `where` they are wanted on a map of its arguments [rows, columns, 2]; not empty.

    It is evaluated at every other direction both ways and interpolated between them: it bends little within 3 mm, and each takes time.
    """
    wanted = np.argwhere(where)
    first = wanted.min(axis=0)
    box = tuple(slice(low, high + 2, 2) for low, high in zip(first, wanted.max(axis=0), strict=True))
    few = flat[box]
    values = spline(few.reshape(-1, 2)).T.reshape(2, *few.shape[:2])
    at = (wanted - first).T / 2
    return np.stack([ndimage.map_coordinates(each, at, order=1, mode="nearest", prefilter=False) for each in values])


def _read(plane: Plane, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = ndimage.map_coordinates(plane, pixels, order=1, mode="constant", prefilter=False)
    return values
