"""Shapes of what is cut away: joined spheres, and flaps sawn along the surface's normal."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calvaria.geometry import Field
from calvaria.synthetic.braincase import Vector

WAVES = 5


@dataclass(frozen=True)
class Region:
    """A piece of space to cut away.

    inside  signed distance in mm, roughly: negative inside. Takes x, y, z in mm LPS, arrays that broadcast against each other.
    """

    middle_mm: Vector
    reach_mm: float
    inside: Callable[[Field, Field, Field], Field]


def spheres(rng: np.random.Generator, surface: Vector, direction: Vector, radius_mm: float, count: int = 0) -> Region:
    """A sphere about a point of the vault's surface and `count` smaller ones on it, warped; no deeper than the vault goes."""
    middle = surface - direction * rng.uniform(-0.1, 0.35) * radius_mm
    around = _directions(rng, count)
    centres = [middle, *(middle + around * radius_mm)]
    radii = [radius_mm, *(radius_mm * rng.uniform(0.35, 0.7, count))]
    depth_mm = 14 + radius_mm**2 / 130 + rng.uniform(0, 6)
    warp = Warp.draw(rng, rng.uniform(0.5, 3.5))

    def inside(x: Field, y: Field, z: Field) -> Field:
        distance = np.float32(1e6)
        for (a, b, c), radius in zip(centres, radii, strict=True):
            to_centre = np.sqrt((x - np.float32(a)) ** 2 + (y - np.float32(b)) ** 2 + (z - np.float32(c)) ** 2) - np.float32(radius)
            distance = np.minimum(distance, to_centre)
        return np.asarray(np.maximum(distance + warp(x, y, z), _depth(x, y, z, surface, direction) - np.float32(depth_mm)))

    return Region(middle, radius_mm * 1.75 + 6, inside)


def flap(rng: np.random.Generator, surface: Vector, direction: Vector, radius_mm: float, corners: int = 0, wobble: float = 0.0) -> Region:
    """A plate of bone sawn out along the vault's normal: a star-shaped outline, walls straight or slightly conical.

    corners  of a rounded polygon; 0: a round outline. wobble  share of the radius by which the outline is irregular.
    """
    across, along = _tangents(direction, rng.uniform(0, np.pi))
    stretch, flare = rng.uniform(0.7, 1.0), rng.uniform(-0.15, 0.3)
    harmonics = np.arange(2, 8)
    sizes = rng.normal(0, wobble / np.sqrt(len(harmonics)), len(harmonics))
    phases = rng.uniform(0, 2 * np.pi, len(harmonics))
    depth_mm = 16 + radius_mm**2 / 130
    warp = Warp.draw(rng, rng.uniform(0.2, 1.5))

    def outline(angle: Field) -> Field:
        wavy = 1 + sum(size * np.cos(n * angle + phase) for n, size, phase in zip(harmonics, sizes, phases, strict=True))
        if corners:
            side = np.pi / corners
            wavy = wavy * np.minimum(np.cos(side) / np.cos((angle + np.pi) % (2 * side) - side) * 1.12, 1.05)
        return np.asarray(radius_mm * wavy, np.float32)

    def inside(x: Field, y: Field, z: Field) -> Field:
        u, v = (_depth(x, y, z, surface, axis) for axis in (across, along))
        depth = _depth(x, y, z, surface, direction)
        edge = outline(np.arctan2(v, u)) * (1 - np.float32(flare) * depth / 60)
        return np.asarray(np.maximum(np.hypot(u, v / np.float32(stretch)) - edge + warp(x, y, z), depth - np.float32(depth_mm)))

    return Region(surface, radius_mm * 1.6 + 12, inside)


@dataclass(frozen=True)
class Warp:
    """A smooth random displacement: a few plane waves of 25 to 70 mm."""

    vectors: NDArray[np.float32]
    phases: NDArray[np.float32]
    size_mm: np.float32

    @classmethod
    def draw(cls, rng: np.random.Generator, size_mm: float) -> "Warp":
        lengths = rng.uniform(25, 70, WAVES)
        vectors = _directions(rng, WAVES) * (2 * np.pi / lengths)[:, None]
        return cls(vectors.astype(np.float32), rng.uniform(0, 2 * np.pi, WAVES).astype(np.float32), np.float32(size_mm))

    def __call__(self, x: Field, y: Field, z: Field) -> Field:
        waves = sum(np.sin(a * x + b * y + c * z + phase) for (a, b, c), phase in zip(self.vectors, self.phases, strict=True))
        return np.asarray(self.size_mm * np.float32((2 / WAVES) ** 0.5) * waves, np.float32)


def towards(azimuth_deg: float, elevation_deg: float) -> Vector:
    """A unit vector in the head; azimuth 0 is forward, 90 left, 180 back; elevation 90 is up. LPS."""
    a, e = np.radians([azimuth_deg, elevation_deg])
    return np.array([np.sin(a) * np.cos(e), -np.cos(a) * np.cos(e), np.sin(e)])


def _depth(x: Field, y: Field, z: Field, surface: Vector, direction: Vector) -> Field:
    """How far below a surface point, against `direction`, mm."""
    a, b, c = (np.float32(-value) for value in direction)
    return np.asarray(a * x + b * y + c * z + np.float32(surface @ direction), np.float32)


def _tangents(normal: Vector, turn: float) -> tuple[Vector, Vector]:
    helper = np.eye(3)[int(abs(normal).argmin())]
    first = np.cross(normal, helper)
    first /= np.linalg.norm(first)
    second = np.cross(normal, first)
    return np.cos(turn) * first + np.sin(turn) * second, -np.sin(turn) * first + np.cos(turn) * second


def _directions(rng: np.random.Generator, count: int) -> Vector:
    """Random unit vectors [count, 3]."""
    vectors = rng.standard_normal((count, 3))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
