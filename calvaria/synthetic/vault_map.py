"""Where the outside of a skull lies, seen from the middle of its brain case: what a defect is aimed by. Works on any skull mask."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from calvaria.vault.cavity import direction
from calvaria.volume import BinaryVolume

Points = NDArray[np.float32]

COARSE_MM = 3.0
BELOW_TOP_MM = 72.0
"""The middle of an adult brain case lies about this far below its top."""
BINS = (72, 36)
"""Directions told apart: azimuth by elevation, 5 degrees each."""


@dataclass(frozen=True, eq=False)
class VaultMap:
    """Distance of the outermost bone by direction from `centre_mm` (patient mm).

    Azimuth 0 looks forward (anterior), 90 degrees left, 180 back; elevation 90 degrees is up.
    """

    centre_mm: Points  # [3]
    reach_mm: Points  # [72, 36], smoothed, every direction filled
    bottom_mm: float  # patient z of the lowest bone

    @classmethod
    def of(cls, skull: BinaryVolume) -> "VaultMap":
        """Look at a skull of at least one voxel, from a coarse copy of it."""
        places = coarse_points(skull)
        top, bottom = np.percentile(places[:, 2], [99.7, 0.5])
        band = places[(places[:, 2] > top - 75) & (places[:, 2] < top - 20)]
        band = band if len(band) else places
        sides = np.percentile(band[:, :2], [1, 99], axis=0).mean(axis=0)
        centre = np.array([*sides, top - BELOW_TOP_MM], dtype=np.float32)
        reach = np.zeros(BINS, dtype=np.float32)
        offsets = places - centre
        np.maximum.at(reach, bins(offsets), np.linalg.norm(offsets, axis=1))
        return cls(centre, _filled(reach, reach > 0), float(bottom))

    def outermost(self, azimuth: float, elevation: float) -> Points:
        """The outermost bone in a direction (degrees), patient mm [3]."""
        along = direction(azimuth, elevation).astype(np.float32)
        return np.asarray(self.centre_mm + along * self.reach_mm[bins(along[None])][0])

    def depth_mm(self, places: Points) -> Points:
        """How far below the outermost bone of their direction points [n, 3] lie, mm."""
        offsets = places - self.centre_mm
        return np.asarray(self.reach_mm[bins(offsets)] - np.linalg.norm(offsets, axis=1))

    def surface_mm(self, offsets: Points) -> Points:
        """The distance of the outermost bone in the directions of offsets [n, 3] from the centre, mm, without steps between directions."""
        around = np.concatenate([self.reach_mm[-1:], self.reach_mm, self.reach_mm[:1]])
        turns, rise = angles(offsets)
        at = np.stack([turns * BINS[0] + 0.5, rise * BINS[1] - 0.5])
        return np.asarray(map_coordinates(around, at, order=1, mode="nearest", prefilter=False))


def to_patient(affine: NDArray[np.float64], voxels: NDArray[np.int64]) -> Points:
    """Voxel indices [n, 3] in patient mm."""
    return np.asarray(voxels @ affine[:3, :3].T + affine[:3, 3], dtype=np.float32)


def coarse_points(skull: BinaryVolume) -> Points:
    """Bone sampled about every 3 mm along each axis, patient mm [n, 3]; every voxel where that finds too little."""
    strides = [max(1, round(COARSE_MM / s)) for s in skull.spacing_mm]
    sampled = np.argwhere(skull.mask[:: strides[0], :: strides[1], :: strides[2]]) * strides
    voxels = sampled if len(sampled) > 200 else np.argwhere(skull.mask)
    return to_patient(skull.affine, voxels)


def angles(offsets: Points) -> tuple[Points, Points]:
    """Azimuth, in turns from 0 to 1, and elevation, from 0 at the bottom to 1 at the top, of directions [n, 3]; see `VaultMap`."""
    azimuth = np.arctan2(offsets[:, 0], -offsets[:, 1]) / np.float32(2 * np.pi) % 1
    elevation = np.arctan2(offsets[:, 2], np.hypot(offsets[:, 0], offsets[:, 1])) / np.float32(np.pi) + np.float32(0.5)
    return np.asarray(azimuth), np.asarray(elevation)


def bins(offsets: Points, counts: tuple[int, int] = BINS) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bins of azimuth and elevation, `counts` of them, in which directions [n, 3] lie."""
    columns, rows = ((angle * count).astype(np.int64).clip(0, count - 1) for angle, count in zip(angles(offsets), counts, strict=True))
    return columns, rows


def _filled(reach: Points, seen: NDArray[np.bool_]) -> Points:
    """Directions without bone get a weighted mean of those around; the others are barely smoothed."""
    filled = reach
    for width in (1.0, 4.0, 12.0):
        weight = gaussian_filter(seen.astype(np.float32), width, mode=("wrap", "nearest"))
        mean = gaussian_filter(reach, width, mode=("wrap", "nearest")) / np.maximum(weight, 1e-6)
        filled = np.where((filled > 0) & (width > 1), filled, np.where(weight > 1e-3, mean, 0))
    return np.where(filled > 0, filled, reach.max()).astype(np.float32)
