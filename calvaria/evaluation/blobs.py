"""Shapes to cut a defect with: signed distances on a lattice in patient space, opened and elastically warped.

Built as the published data sets were: fused spheres (Li et al., AutoImplant 2021: SkullBreak), or a plate with round holes at its
corners (SkullFix).
"""

from dataclasses import dataclass

import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calvaria.vault.cavity import Points

Distances = NDArray[np.float32]

STEP_MM = 1.5
CONTROL_MM = 22.0  # between the control points of a warp
MARGIN_MM = 12.0
OPENING_MM = 4.0


@dataclass(frozen=True, eq=False)
class Blob:
    """A solid shape: `depth_mm`, float32 [x, y, z], is positive inside; node (0, 0, 0) of its lattice of STEP_MM lies at `origin_mm`."""

    origin_mm: Points
    depth_mm: Distances

    @property
    def corners_mm(self) -> Points:
        """The eight corners of the lattice [8, 3]."""
        far = STEP_MM * (np.array(self.depth_mm.shape) - 1)
        return np.asarray(self.origin_mm + np.array(list(np.ndindex(2, 2, 2))) * far)

    def holds(self, places_mm: Points) -> NDArray[np.bool_]:
        """Whether points [n, 3] lie inside."""
        nodes = (places_mm - self.origin_mm).T / STEP_MM
        inside: NDArray[np.bool_] = ndimage.map_coordinates(self.depth_mm, nodes, order=1, cval=-1.0) > 0
        return inside


@dataclass(frozen=True, eq=False)
class Nodes:
    """Nodes STEP_MM apart in a cube about a centre."""

    origin_mm: Points
    count: int

    @classmethod
    def around(cls, centre_mm: Points, reach_mm: float) -> "Nodes":
        half = int(np.ceil((reach_mm + MARGIN_MM) / STEP_MM))
        return cls(centre_mm - half * STEP_MM, 2 * half + 1)

    def places(self) -> NDArray[np.float32]:
        """Patient mm of every node [3, x, y, z]."""
        axes = [start + STEP_MM * np.arange(self.count) for start in self.origin_mm]
        return np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)


def fused_spheres(centres_mm: Points, radii_mm: Points, bend_mm: float, rng: np.random.Generator) -> Blob:
    """The union of spheres, opened, and warped by `bend_mm` (standard deviation at the control points of a cubic spline)."""
    reach = float((np.linalg.norm(centres_mm - centres_mm[0], axis=1) + radii_mm).max())
    nodes = Nodes.around(centres_mm[0], reach + bend_mm)
    places = nodes.places()
    spheres = zip(centres_mm, radii_mm, strict=True)
    depth = np.max([radius - _norm(places - centre[:, None, None, None]) for centre, radius in spheres], axis=0)
    opening = min(OPENING_MM, 0.5 * float(radii_mm.min()))
    return Blob(nodes.origin_mm, warped(opened(depth, opening), bend_mm, rng))


def plate(
    centre_mm: Points, normal: Points, size_mm: tuple[float, float], corner_mm: float, bend_mm: float, rng: np.random.Generator
) -> Blob:
    """A rounded plate `size_mm` wide and long, cut straight along `normal`, a round hole of `corner_mm` at each corner."""
    across = np.cross(normal, rng.standard_normal(3))
    across /= np.linalg.norm(across)
    along = np.cross(normal, across)
    half = np.array(size_mm) / 2
    nodes = Nodes.around(centre_mm, float(np.hypot(*half)) + corner_mm + bend_mm)
    offset = nodes.places() - centre_mm.astype(np.float32)[:, None, None, None]
    u, v = (np.tensordot(axis.astype(np.float32), offset, axes=1) for axis in (across, along))
    depth = _rounded(u, v, half, corner_mm)
    for a in (-1, 1):
        for b in (-1, 1):
            depth = np.maximum(depth, corner_mm - np.hypot(u - a * half[0], v - b * half[1]))
    return Blob(nodes.origin_mm, warped(depth, bend_mm, rng))


def cylinder(centre_mm: Points, normal: Points, radius_mm: float, bend_mm: float, rng: np.random.Generator) -> Blob:
    """A round hole of `radius_mm`, cut straight along `normal`."""
    nodes = Nodes.around(centre_mm, radius_mm + bend_mm)
    offset = nodes.places() - centre_mm.astype(np.float32)[:, None, None, None]
    height = np.tensordot(normal.astype(np.float32), offset, axes=1)
    depth = radius_mm - np.sqrt(np.maximum(np.square(offset).sum(axis=0) - height**2, 0))
    return Blob(nodes.origin_mm, warped(depth, bend_mm, rng))


def ragged(centre_mm: Points, normal: Points, radius_mm: float, bend_mm: float, rng: np.random.Generator) -> Blob:
    """A hole cut straight along `normal`, whose outline lies 0.45 to 1.4 times `radius_mm` from its middle, by waves of 2 to 11 a turn."""
    across = np.cross(normal, rng.standard_normal(3))
    across /= np.linalg.norm(across)
    nodes = Nodes.around(centre_mm, 1.4 * radius_mm + bend_mm)
    offset = nodes.places() - centre_mm.astype(np.float32)[:, None, None, None]
    u, v = (np.tensordot(axis.astype(np.float32), offset, axes=1) for axis in (across, np.cross(normal, across)))
    waves = np.arange(2, 12)
    heights, phases = rng.normal(0, 0.5 / waves), rng.uniform(0, 2 * np.pi, len(waves))
    turns = np.arctan2(v, u)
    outline = 1 + sum(height * np.cos(wave * turns + phase) for wave, height, phase in zip(waves, heights, phases, strict=True))
    return Blob(nodes.origin_mm, warped(radius_mm * np.clip(outline, 0.45, 1.4) - np.hypot(u, v), bend_mm, rng))


def opened(depth_mm: Distances, radius_mm: float) -> Distances:
    """A shape's signed distance after a morphological opening with a ball, as far as its lattice resolves it."""
    core = depth_mm > radius_mm
    if not core.any():
        return depth_mm
    outside = edt.edt(~core, anisotropy=(STEP_MM,) * 3)
    # Only necks are taken: elsewhere the given distance, exact between nodes, is the smaller of the two.
    return np.asarray(np.minimum(depth_mm, radius_mm + STEP_MM / 2 - outside), dtype=np.float32)


def warped(depth_mm: Distances, bend_mm: float, rng: np.random.Generator) -> Distances:
    """A shape seen through a smooth random displacement: a cubic spline over control points CONTROL_MM apart."""
    count = int(np.ceil(depth_mm.shape[0] * STEP_MM / CONTROL_MM)) + 3
    nodes = np.indices(depth_mm.shape, dtype=np.float32)
    at = nodes[:, ::4, ::4, ::4] * (STEP_MM / CONTROL_MM) + 1
    places = nodes.copy()
    for axis in range(3):
        controls = rng.normal(0, bend_mm / STEP_MM, (count, count, count))
        coarse = ndimage.map_coordinates(controls, at, order=3, mode="nearest")
        places[axis] += ndimage.map_coordinates(coarse, nodes / 4, order=1, mode="nearest")
    bent: Distances = ndimage.map_coordinates(depth_mm, places, order=1, mode="constant", cval=-1.0)
    return bent


def _rounded(u: Distances, v: Distances, half: Points, radius: float) -> Distances:
    """Depth inside a rectangle of half sides `half` with rounded corners."""
    a, b = np.abs(u) - (half[0] - radius), np.abs(v) - (half[1] - radius)
    outside = np.hypot(np.maximum(a, 0), np.maximum(b, 0))
    return np.asarray(radius - outside - np.minimum(np.maximum(a, b), 0), dtype=np.float32)


def _norm(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.sqrt(np.square(vectors).sum(axis=0)))
