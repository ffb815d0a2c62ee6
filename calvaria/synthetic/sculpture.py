"""Rounded solids summed into one signed-distance field on a lattice, each evaluated only near where it lies."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from calvaria.geometry import Box, Field
from calvaria.synthetic.lattice import Lattice

Point = tuple[float, float, float]
FAR_MM = 12.0
"""Distances are exact near a surface and no more than this elsewhere."""


@dataclass(frozen=True)
class Space:
    """Every lattice node's place in the average head's frame: x left, y posterior, z superior, mm of the average head."""

    lattice: Lattice
    x: Field
    y: Field
    z: Field
    to_patient: NDArray[np.float64]  # [3, 4] average head to patient mm, before the smooth deformation

    def around(self, centre: Point, reach: float) -> Box:
        """The nodes within about `reach` mm of a point."""
        place = self.to_patient[:, :3] @ np.asarray(centre) + self.to_patient[:, 3]
        nodes = place / self.lattice.step_mm - self.lattice.first
        half = (1.1 * reach + 4) / self.lattice.step_mm
        low, high = np.floor(nodes - half).astype(int), np.ceil(nodes + half).astype(int) + 1
        box = [slice(max(int(a), 0), max(int(b), 0)) for a, b in zip(low, high, strict=True)]
        return box[0], box[1], box[2]

    def offsets(self, box: Box, point: Point) -> tuple[Field, Field, Field]:
        """Vectors from a point to the nodes in a box, along x, y, z, mm."""
        x, y, z = (np.float32(v) for v in point)
        return self.x[box] - x, self.y[box] - y, self.z[box] - z


class Sculpture:
    """A union of solids: negative inside, mm. In a mirrored one every solid comes on both sides unless it lies on the midline."""

    def __init__(self, space: Space, *, mirrored: bool = True):
        self.space, self.mirrored = space, mirrored
        self.distance: Field = np.full(space.x.shape, FAR_MM, dtype=np.float32)

    def capsule(self, a: Point, b: Point, radius_a: float, radius_b: float | None = None, blend: float = 2.0) -> None:
        """A rod from `a` to `b` whose radius runs from `radius_a` to `radius_b`."""
        radius_b = radius_a if radius_b is None else radius_b
        middle = (np.add(a, b) / 2).tolist()
        reach = float(np.linalg.norm(np.subtract(b, a))) / 2 + max(radius_a, radius_b) + 7
        for side in self._sides(a, b):
            along = np.multiply(np.subtract(b, a), side)
            square = np.float32(max(float(along @ along), 1e-6))
            box = self.space.around(_times(middle, side), reach)
            px, py, pz = self.space.offsets(box, _times(a, side))
            dx, dy, dz = along.astype(np.float32)
            share = ((px * dx + py * dy + pz * dz) / square).clip(0, 1)
            distance = np.sqrt((px - share * dx) ** 2 + (py - share * dy) ** 2 + (pz - share * dz) ** 2)
            self._unite(box, distance - (np.float32(radius_a) + np.float32(radius_b - radius_a) * share), blend)

    def chain(self, points: Sequence[tuple[Point, float]], blend: float = 2.0) -> None:
        """Rods through points, each with its radius."""
        for (a, radius_a), (b, radius_b) in pairwise(points):
            self.capsule(a, b, radius_a, radius_b, blend)

    def ellipsoid(self, centre: Point, radii: Point, blend: float = 2.0, *, one_side: bool = False) -> None:
        """An ellipsoid along the head's axes."""
        for side in [(1, 1, 1)] if one_side else self._sides(centre, centre):
            box = self.space.around(_times(centre, side), max(radii) + 7)
            offsets = self.space.offsets(box, _times(centre, side))
            inner = sum(np.square(o / np.float32(r)) for o, r in zip(offsets, radii, strict=True))
            slope = sum(np.square(o / np.float32(r * r)) for o, r in zip(offsets, radii, strict=True))
            # first-order distance to the level set inner = 1, exact along the axes
            self._unite(box, np.asarray((inner - np.sqrt(inner)) / np.sqrt(slope + np.float32(1e-6)), dtype=np.float32), blend)

    def add(self, distance: Field, blend: float = 0.0) -> None:
        """Any solid, given on the whole lattice."""
        self._unite((slice(None), slice(None), slice(None)), distance, blend)

    def _unite(self, box: Box, distance: Field, blend: float) -> None:
        here = self.distance[box]
        if blend:  # a fillet where two solids meet
            near = (np.float32(blend) - np.abs(here - distance)).clip(0, None)
            self.distance[box] = np.minimum(here, distance) - near * near * np.float32(0.25 / blend)
        else:
            self.distance[box] = np.minimum(here, distance)

    def _sides(self, a: Point, b: Point) -> list[tuple[int, int, int]]:
        return [(1, 1, 1), (-1, 1, 1)] if self.mirrored and (a[0] != 0 or b[0] != 0) else [(1, 1, 1)]


def _times(point: Sequence[float], side: tuple[int, int, int]) -> Point:
    return point[0] * side[0], point[1] * side[1], point[2] * side[2]
