"""Where the brain's cavity and the bone around it lie in the patient, found from a skull that may have holes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.geometry import Box
from calvaria.volume import Affine, BinaryVolume

Points = NDArray[np.float64]  # [n, 3], patient mm, left-posterior-superior

SAMPLE_MM = 2.5
CAP_MM = 70.0  # a sphere is fitted to this much of the head, from its top
TRIMMED = 0.85  # share of the points that stay, at each round of the fit
ROUNDS = 8
SKULL_RADIUS_MM = 40.0, 130.0  # what the fit must find: from a newborn's head to more than the largest
FEWEST_POINTS = 200
NARROWEST_CONE_DEG = 4.0


@dataclass(frozen=True, eq=False)
class Cavity:
    """The middle of the brain case, `centre_mm` [3], with a sample of all bone `bone_mm` [n, 3], and the sphere's `radius_mm`."""

    centre_mm: Points
    radius_mm: float
    bone_mm: Points

    @classmethod
    def of(cls, skull: BinaryVolume) -> "Cavity":
        """Fit a sphere to the top of the head. CalvariaError BAD_GEOMETRY where there is nothing like a skull."""
        bone = sample(skull)
        if len(bone) < FEWEST_POINTS:
            raise _no_skull()
        top = np.percentile(bone[:, 2], 99.7)
        cap = bone[bone[:, 2] > top - CAP_MM]
        centre, radius = trimmed_sphere(cap)
        if not SKULL_RADIUS_MM[0] < radius < SKULL_RADIUS_MM[1]:
            raise _no_skull()
        return cls(centre, radius, bone)

    def surface_mm(self, direction: Points) -> Points:
        """The outermost bone in a direction (unit vector [3]), patient mm [3]; near it where there is none.

        That is the 90th percentile of distances in a cone, which is widened until it holds bone.
        """
        offsets = self.bone_mm - self.centre_mm
        distances = np.linalg.norm(offsets, axis=1)
        cosines = offsets @ direction / np.maximum(distances, 1e-6)
        width = NARROWEST_CONE_DEG
        while not (near := (cosines > np.cos(np.radians(width))) & (distances > 0.5 * self.radius_mm)).any():
            width *= 1.5
        return np.asarray(self.centre_mm + np.percentile(distances[near], 90) * direction)


def direction(azimuth_deg: ArrayLike, elevation_deg: ArrayLike) -> Points:
    """Unit vectors [..., 3]: azimuth 0 looks forward (anterior), 90 degrees to the left, 180 back; elevation 90 degrees is up."""
    a, e = np.radians(azimuth_deg), np.radians(elevation_deg)
    return np.stack(np.broadcast_arrays(np.cos(e) * np.sin(a), -np.cos(e) * np.cos(a), np.sin(e)), axis=-1)


def sample(skull: BinaryVolume) -> Points:
    """Bone voxels about every 2.5 mm along each axis, patient mm [n, 3]."""
    strides = [max(1, round(SAMPLE_MM / spacing)) for spacing in skull.spacing_mm]
    voxels = np.argwhere(skull.mask[:: strides[0], :: strides[1], :: strides[2]]) * strides
    return np.asarray(voxels @ skull.affine[:3, :3].T + skull.affine[:3, 3])


def box_around(places_mm: Points, affine: Affine, shape: tuple[int, int, int]) -> Box:
    """The box of a grid that holds points [n, 3], as far as the grid goes; it may be empty."""
    voxels = np.linalg.solve(affine, np.column_stack([places_mm, np.ones(len(places_mm))]).T)[:3]
    low = np.floor(voxels.min(axis=1)).astype(int).clip(0, shape)
    high = (np.ceil(voxels.max(axis=1)).astype(int) + 1).clip(0, shape)
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return x, y, z


def trimmed_sphere(points: Points) -> tuple[Points, float]:
    """Centre and radius of the sphere through most of the points [n, 3]: least squares, again and again without the worst."""
    kept = points
    for _ in range(ROUNDS):
        system = np.column_stack([2 * kept, np.ones(len(kept))])
        (x, y, z, rest), *_ = np.linalg.lstsq(system, np.square(kept).sum(axis=1), rcond=None)
        centre = np.array([x, y, z])
        radius = float(np.sqrt(max(rest + centre @ centre, 0.0)))
        errors = np.abs(np.linalg.norm(points - centre, axis=1) - radius)
        kept = points[errors <= np.quantile(errors, TRIMMED)]
    return centre, radius


def _no_skull() -> CalvariaError:
    return CalvariaError(ErrorCode.BAD_GEOMETRY, "Nothing like the vault of a skull is found here. Check that it is one, in millimetres.")
