"""What surgeons left: a bone flap that does not quite fit any more, and the line it was sawn along.

Burr holes are not among it: a hole of their size may as well be a defect, and nothing in a mask tells which.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calvaria.geometry import Field
from calvaria.synthetic.chance import Part, generator

OPERATED = 0.18
"""Share of heads with a flap."""
SPHERE_MM = 80.0
"""Distances along the vault are measured on a sphere of this radius."""


@dataclass(frozen=True)
class Surgery:
    """Fields on the vault's lattice, mm.

    inside  distance from the line of the saw, positive within the flap
    gap     half the width of the gap there; negative where the bone has grown together
    shift   how much the bone was pushed inwards; negative: stands out
    """

    inside: Field
    gap: Field
    shift: Field


def operate(seed: int, x: Field, y: Field, z: Field) -> Surgery | None:
    """What was done to the head of a seed; None for most. x, y, z: head's frame, mm."""
    rng = generator(seed, Part.SURGERY)
    if rng.random() > OPERATED:
        return None
    flap = _Flap(rng, x, y, z)
    inside = flap.inside()
    return Surgery(inside, flap.gap(), flap.shift(inside))


class _Flap:
    """An outline on the vault, about a direction, and what follows from it."""

    def __init__(self, rng: np.random.Generator, x: Field, y: Field, z: Field):
        self.rng = rng
        azimuth, elevation = rng.uniform(0, 2 * np.pi), np.arcsin(rng.uniform(0.1, 0.98))
        up = _unit(np.array([np.cos(elevation) * np.sin(azimuth), -np.cos(elevation) * np.cos(azimuth), np.sin(elevation)]))
        first = _unit(np.cross(up, rng.standard_normal(3)))
        self.frame = np.stack([first, np.cross(up, first), up])
        a, b, height = (np.float32(v[0]) * x + np.float32(v[1]) * y + np.float32(v[2]) * z for v in self.frame)
        self.angle = np.arctan2(b, a)
        self.away = np.float32(SPHERE_MM) * np.arctan2(np.hypot(a, b), height)
        self.across = a
        self.radius = float(rng.uniform(18, 52))
        self.orders = np.arange(2, 7)
        self.waves = rng.standard_normal((2, 5)) * rng.uniform(0.02, 0.14) / (self.orders / 2)

    def outline(self, angle: NDArray[np.floating]) -> NDArray[np.floating]:
        """Distance of the saw's line from the middle, mm, at angles."""
        total = np.ones_like(angle)
        for order, (c, s) in zip(self.orders, self.waves.T, strict=True):
            total += np.float32(c) * np.cos(order * angle) + np.float32(s) * np.sin(order * angle)
        return np.asarray(self.radius * total.clip(0.4, 1.7))

    def inside(self) -> Field:
        return np.asarray(self.outline(self.angle) - self.away, dtype=np.float32)

    def gap(self) -> Field:
        """Wider here and there; closed where bone or a plate bridges it, so that the flap hangs together with the rest."""
        order, phase = self.rng.integers(1, 4), self.rng.uniform(0, 2 * np.pi)
        mean, swing = self.rng.uniform(0.3, 1.2), self.rng.uniform(0.2, 0.9)
        gap = mean + swing * np.cos(order * self.angle + phase)
        for bridge in self.rng.uniform(-np.pi, np.pi, self.rng.integers(2, 5)):
            off = np.abs((self.angle - bridge + np.pi) % (2 * np.pi) - np.pi) * self.radius
            gap = np.where(off < self.rng.uniform(3.5, 7), -2.0, gap)
        return np.asarray(gap, dtype=np.float32)

    def shift(self, inside: Field) -> Field:
        sunk, tilt = self.rng.uniform(-1.5, 3.0), self.rng.uniform(-1.5, 1.5)
        much = np.float32(sunk) + np.float32(tilt / self.radius) * self.across
        return np.asarray(much / (1 + np.exp((-inside / np.float32(0.8)).clip(-30, 30))), dtype=np.float32)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vector / np.linalg.norm(vector))
