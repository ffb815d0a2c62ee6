"""The vault unrolled onto a plane: how far its two tables lie from the cavity's middle in every direction, and where bone is missing."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations_with_replacement
from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calvaria.errors import CalvariaError
from calvaria.geometry import Field
from calvaria.vault.cavity import Cavity, Points
from calvaria.volume import Affine, BinaryVolume, Mask

Plane = NDArray[np.float64]  # [rows, columns]: one value for each direction

PIXEL = 0.02  # of the map, on the unit sphere: 1.7 mm on a skull
WIDEST_DEG = 118.0  # from straight up
SAMPLE_MM = 0.75  # along a ray
GROUP = 4  # samples that are looked up together, if there is any bone nearby
NEAREST, FARTHEST = 0.4, 1.7  # of the fitted sphere's radius: where bone is sought
GAP_MM = 3.0  # within a bone: marrow
ASTRAY_MM = 14.0  # what lies further from the smooth vault than this is other bone
ROUNDS = 4
FITTED = 3  # every third ray with bone is enough for what is smooth
SECTORS = 48
COVERED = 0.6
WINDOW_MM = 18.0
THICKEST_MM = 14.0  # of a vault: where a ray stays in bone longer, it meets the base or the face
ABOVE_END_MM = 4.0
BORDER = 2


@dataclass(frozen=True, eq=False)
class Unrolled:
    """A map of directions (Lambert's azimuthal equal-area projection, straight up in the middle), with what a ray in each meets.

    centre_mm   where the rays start, patient mm [3]
    pixel_mm    the size of a pixel on the skull
    directions  unit vectors [rows, columns, 3]
    smooth_mm   outer surface of the vault as a smooth function of direction, mm from the centre
    outer_mm    outer table, mm from the centre; nan without bone
    inner_mm    inner table
    vault       directions that belong to the vault, holes included
    """

    centre_mm: Points
    pixel_mm: float
    directions: NDArray[np.float64]
    smooth_mm: Plane
    outer_mm: Plane
    inner_mm: Plane
    vault: Mask

    @classmethod
    def of(cls, share: Field, affine: Affine, cavity: Cavity) -> "Unrolled":
        """Look around from a cavity's middle. `share` is float32 [x, y, z], occupancy of cells; `affine` takes cells to patient mm."""
        directions, within = lattice()
        groups = ceil((FARTHEST - NEAREST) * cavity.radius_mm / (GROUP * SAMPLE_MM))
        radii = NEAREST * cavity.radius_mm + SAMPLE_MM * np.arange(GROUP * groups, dtype=np.float64)
        runs = _Runs.of(_along_rays(share, affine, cavity.centre_mm, directions[within], radii), radii)
        smooth, outer, inner = (_on_map(within, values) for values in _follow(runs, directions[within]))
        unrolled = cls(cavity.centre_mm, PIXEL * cavity.radius_mm, directions, smooth, outer, inner, within)
        return replace(unrolled, vault=within & unrolled._above_openings())

    @property
    def bone(self) -> Mask:
        """Directions with bone of the vault."""
        return np.isfinite(self.outer_mm)

    def astray(self, places_mm: Points) -> tuple[Mask, Mask]:
        """Which points [n, 3] (patient mm) belong to other bone than the vault, bool [n] each: those that lie far inside or outside the
        smooth vault; and of those straight below, which the map does not show, the front half, since the back of a head reaches there.
        """
        offsets = places_mm - self.centre_mm
        distance = np.linalg.norm(offsets, axis=1)
        shown = offsets[:, 2] >= np.cos(np.radians(WIDEST_DEG)) * distance
        pixels = np.rint(on_map(offsets[shown])).astype(np.intp)
        beside = np.zeros(len(offsets), np.bool_)
        beside[shown] = np.abs(distance[shown] - self.smooth_mm[tuple(pixels)]) > ASTRAY_MM
        return beside, ~shown & (offsets[:, 1] < 0)

    def _above_openings(self) -> Mask:
        """Directions above the plane where the vault ends: above orbits, base, and the end of the scan.

        Where the vault ends is looked up sector by sector, and a plane laid through most of these ends, so that a defect that
        reaches them does not move it.
        """
        places = self.directions * self.smooth_mm[..., None]
        azimuth = np.arctan2(self.directions[..., 0], -self.directions[..., 1]) / (2 * np.pi) % 1 * SECTORS
        sectors = np.where(np.isfinite(self.smooth_mm), azimuth, SECTORS).astype(int).ravel()
        order = np.lexsort((places[..., 2].ravel(), sectors))
        borders = np.searchsorted(sectors[order], np.arange(1, SECTORS + 1))
        bone = self.outer_mm - self.inner_mm < THICKEST_MM
        upwards = zip(*(np.split(values[order], borders)[:-1] for values in (places.reshape(-1, 3), bone.ravel())), strict=True)
        ends = np.array([end for sector in upwards if (end := _end(*sector)) is not None])
        if len(ends) < SECTORS // 2:
            return np.isfinite(self.smooth_mm)
        system = np.column_stack([ends[:, :2], np.ones(len(ends))])
        weights = np.ones(len(ends))
        for _ in range(20):  # least absolute deviations
            plane = np.linalg.lstsq(system * weights[:, None], ends[:, 2] * weights, rcond=None)[0]
            weights = 1 / np.sqrt(np.maximum(np.abs(system @ plane - ends[:, 2]), 1.0))
        return np.asarray(places[..., 2] > places[..., :2] @ plane[:2] + plane[2] + ABOVE_END_MM)


def unroll(skull: BinaryVolume, share: Callable[[], Field], affine: Affine) -> Unrolled | None:
    """The vault of a canonical skull; None where none is found, and never an error.

    share   gives float32 [x, y, z], how full the cells of a grid over it are, of a millimetre or so; asked only where there is a vault
    affine  float64 [4, 4]: cell index to patient mm
    """
    try:
        cavity = Cavity.of(skull)
        return Unrolled.of(share(), affine, cavity)
    except (CalvariaError, np.linalg.LinAlgError):  # nothing like a skull
        return None


@cache
def lattice() -> tuple[NDArray[np.float64], Mask]:
    """Unit vectors of the map's directions [rows, columns, 3], and which of them lie on the map."""
    half = int(np.ceil(2 * np.sin(np.radians(WIDEST_DEG) / 2) / PIXEL))
    u, v = np.meshgrid(*[PIXEL * np.arange(-half, half + 1)] * 2, indexing="ij")
    square = np.minimum(u**2 + v**2, 4.0)
    flat = np.sqrt(1 - square / 4)
    directions = np.stack([u * flat, v * flat, 1 - square / 2], axis=-1)
    return directions, directions[..., 2] >= np.cos(np.radians(WIDEST_DEG))


def on_map(offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where on the map [2, ...], in pixels, directions [..., 3] of any length lie."""
    half = int(np.ceil(2 * np.sin(np.radians(WIDEST_DEG) / 2) / PIXEL))
    length = np.maximum(np.linalg.norm(offsets, axis=-1), 1e-9)
    scale = np.sqrt(2 / np.maximum(1 + offsets[..., 2] / length, 1e-9)) / length / PIXEL
    return np.stack([offsets[..., 0] * scale + half, offsets[..., 1] * scale + half])


def _on_map(within: Mask, values: NDArray[np.float64]) -> Plane:
    plane = np.full(within.shape, np.nan)
    plane[within] = values
    return plane


def _along_rays(share: Field, affine: Affine, centre: Points, directions: Points, radii: NDArray[np.float64]) -> Field:
    """Occupancy at `radii` (mm, a multiple of GROUP) along rays [n, 3] from a centre, float32 [n, radii]. No cell is below a millimetre.

    Most samples lie far from bone, so whether there is any is looked up first, for GROUP of them at once.
    """
    to_cells = np.linalg.inv(affine)
    start, steps = to_cells[:3, :3] @ centre + to_cells[:3, 3], (directions @ to_cells[:3, :3].T).astype(np.float32)
    grouped = radii.astype(np.float32).reshape(-1, GROUP)
    some = _some_bone(share)
    index = np.zeros((len(directions), len(grouped)), np.int32)
    for axis, count in enumerate(some.shape):
        block = np.multiply.outer(steps[:, axis] / 2, grouped.mean(axis=1))
        block += np.float32(start[axis] / 2 + 0.25 + BORDER)  # 0.25: a block ends half a cell beyond the centre of its last
        index *= np.int32(count)
        index += block.clip(0, count - 1, out=block).astype(np.int32)
    ray, group = np.divmod(np.flatnonzero(some.ravel()[index]), len(grouped))
    places = start.astype(np.float32)[:, None, None] + steps.T[:, ray, None] * grouped[group]
    seen = np.zeros((len(directions), *grouped.shape), np.float32)
    seen[ray, group] = ndimage.map_coordinates(share, places, order=1, mode="constant", prefilter=False)
    return seen.reshape(len(directions), -1)


def _some_bone(share: Field) -> Mask:
    """Whether a block of 2³ cells or one of its neighbours has any bone, with BORDER blocks more on either side."""
    some = np.pad(share > 0, [(2 * BORDER, 2 * BORDER + count % 2) for count in share.shape])
    for axis in range(3):
        some = some.swapaxes(0, axis)
        some = some[::2] | some[1::2]
        grown = some.copy()
        grown[1:] |= some[:-1]
        grown[:-1] |= some[1:]
        some = grown.swapaxes(0, axis)
    return np.ascontiguousarray(some)


@dataclass(frozen=True, eq=False)
class _Runs:
    """Every stretch of bone on every ray, sorted by ray: its ray, and where it begins and ends, mm."""

    rays: int
    ray: NDArray[np.intp]
    start_mm: NDArray[np.float64]
    stop_mm: NDArray[np.float64]

    @classmethod
    def of(cls, seen: Field, radii: NDArray[np.float64]) -> "_Runs":
        ray, at = np.divmod(np.flatnonzero(seen > 0.5), len(radii))
        apart = (np.diff(ray) > 0) | (np.diff(at) > GAP_MM / SAMPLE_MM + 1)
        first, last = np.append(True, apart)[: len(at)], np.append(apart, True)[: len(at)]
        padded = np.pad(seen, ((0, 0), (1, 1)))
        ends = (_crossing(padded, ray[first], places, radii) for places in (at[first], at[last] + 1))
        return cls(len(seen), ray[first], *ends)

    def nearest(self, wanted: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """On each ray, outer and inner end of the run whose outer end is nearest to `wanted` mm; nan where all are astray."""
        outer, inner = np.full(self.rays, np.nan), np.full(self.rays, np.nan)
        error = np.abs(self.stop_mm - wanted[self.ray])
        least = np.full(self.rays, ASTRAY_MM)
        np.minimum.at(least, self.ray, error)
        best = (error == least[self.ray]) & (error < ASTRAY_MM)
        outer[self.ray[best]], inner[self.ray[best]] = self.stop_mm[best], self.start_mm[best]
        return outer, inner

    def outermost(self) -> NDArray[np.float64]:
        outer = np.full(self.rays, np.nan)
        outer[self.ray] = self.stop_mm  # the last of a ray stays
        return outer


def _crossing(padded: Field, ray: NDArray[np.intp], at: NDArray[np.intp], radii: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where occupancy crosses a half between samples `at` - 1 and `at`."""
    low, high = padded[ray, at].astype(np.float64), padded[ray, at + 1].astype(np.float64)
    apart = high - low
    part = np.where(np.abs(apart) > 1e-3, (0.5 - low) / np.where(np.abs(apart) > 1e-3, apart, 1), 0.5).clip(0, 1)
    return np.asarray(radii[0] + (at - 1 + part) * SAMPLE_MM)


def _follow(runs: _Runs, directions: Points) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The smooth vault and the two tables along each ray, by turns: a smooth surface through the tables, the tables nearest to it."""
    terms, upper = _polynomials(directions), directions[:, 2] > -0.1
    outer = runs.outermost()
    if not np.isfinite(outer[upper]).any():
        return (np.full(runs.rays, np.nan),) * 3
    smooth = np.full(runs.rays, np.nanmedian(outer[upper]))
    inner = outer
    for _ in range(ROUNDS):
        known = np.flatnonzero(np.isfinite(outer))[::FITTED]
        weights = np.where(upper[known], 1.0, 0.05) / (1 + np.square((outer - smooth)[known] / 5.0))
        weighted = terms[known].T * weights
        smooth = terms @ np.linalg.lstsq(weighted @ terms[known], weighted @ outer[known], rcond=None)[0]
        outer, inner = runs.nearest(smooth)
    return smooth, outer, inner


def _end(places: Points, bone: Mask) -> Points | None:
    """The lowest of a sector's places [n, 3], sorted upwards, above which most have bone."""
    heights = places[:, 2]
    upto = np.searchsorted(heights, heights + WINDOW_MM)
    covered = np.concatenate([[0], np.cumsum(bone)])
    share = (covered[upto] - covered[: len(bone)]) / np.maximum(upto - np.arange(len(bone)), 1)
    good = np.flatnonzero((share > COVERED) & bone)
    return places[good[0]] if len(good) else None


def _polynomials(directions: Points) -> NDArray[np.float64]:
    """Polynomials of degree 0 to 4 in the three coordinates [n, terms]."""
    choices = [choice for degree in (3, 4) for choice in combinations_with_replacement(range(3), degree)]  # lower ones are in these
    return np.column_stack([np.prod(directions[:, choice], axis=1) for choice in choices])
