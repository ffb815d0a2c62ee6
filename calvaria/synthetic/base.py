"""The floor of the cranial cavity in its three steps: front, middle and back fossa, as a height over the base plane."""

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from calvaria.geometry import Field
from calvaria.synthetic.chance import Part, generator
from calvaria.synthetic.lattice import Reals

REACH_MM = 100
"""The tables span plus and minus this along x and y, a sample per mm of the average head."""

SADDLE = ((-100, -36), (-34, -36), (-29, -34), (-25, -39), (-20, -44), (-15, -41), (-12, -34), (-9, -37), (2, -63), (8, -92), (100, -95))
"""The floor in the midline as (y, z), mm: roof of the nose, the pit of the pituitary with its two walls, the clivus, the foramen magnum."""


def floor_fields(seed: int, x: Field, y: Field, z: Field) -> tuple[Field, Field]:
    """Distance to the floor (positive above it) and thickness of its bone, mm. x, y, z: average head's frame, mm."""
    height, bone = _tables(seed)
    slope = np.sqrt(1 + np.square(np.gradient(height, axis=0)) + np.square(np.gradient(height, axis=1)))
    places = np.stack([x.ravel(), y.ravel()]) + REACH_MM

    def look_up(table: Field) -> Field:
        values: Field = map_coordinates(table, places, order=1, mode="nearest", output=np.float32).reshape(x.shape)
        return values

    distance = (z - look_up(height)) / look_up(np.minimum(slope, 4))
    return distance.clip(-14, 14), look_up(bone)


class _Chance:
    """Draws of one base, in a fixed order."""

    def __init__(self, seed: int):
        self.rng = generator(seed, Part.BASE)

    def vary(self, mean: float, spread: float) -> float:
        return float(mean + self.rng.uniform(-spread, spread))

    def lumps(self, shape: tuple[int, ...], size_mm: float) -> Reals:
        """Smooth unit-variance noise."""
        return np.asarray(gaussian_filter(self.rng.standard_normal(shape), size_mm) * size_mm * np.sqrt(np.pi) * 2)


def _tables(seed: int) -> tuple[Field, Field]:
    """Height of the floor and thickness of its bone over (x, y), mm of the average head, float32 [201, 201] each."""
    draw = _Chance(seed)
    axis = np.arange(-REACH_MM, REACH_MM + 1, dtype=np.float32)
    aside, y = np.abs(axis)[:, None], axis[None, :]
    front, middle = _front_fossa(draw, aside, y), _middle_fossa(draw, aside)

    wing = draw.vary(-27, 2) - draw.vary(0.38, 0.1) * (aside - 12)  # y of the edge between front and middle fossa
    ridge = draw.vary(-9, 2) + draw.vary(0.66, 0.07) * (aside - 10)  # y of the petrous ridge, between middle and back fossa
    floor = middle + (front - middle) * _step(wing - y, 1.6)
    floor = floor + (-95 - floor) * _step(y - ridge - 2, 2.2)  # deeper than the brain case, which is then the floor itself
    width = np.where(y < ridge, draw.vary(14, 3), 5.0)
    crest = draw.vary(-37, 2) + 0.04 * aside - 0.045 * (y - ridge) ** 2 * (14 / width)
    floor = np.where(aside > 9, np.maximum(floor, np.maximum(crest, -95)), floor)

    saddle = np.interp(axis, [place for place, _ in SADDLE], [level for _, level in SADDLE])[None, :] + draw.vary(0, 2)
    floor = floor + (saddle - floor) * _near(aside, 13, 4) * _step(y + 32, 1.5)
    lumps = draw.lumps(floor.shape, 4)
    floor = gaussian_filter(floor, 1.2) + draw.vary(0.6, 0.4) * lumps
    return floor.astype(np.float32), _bone(draw, aside, y, wing, ridge)


def _front_fossa(draw: _Chance, aside: Reals, y: Reals) -> Reals:
    """Arched over the orbits, sunk over the nose, where a crest rises in the midline."""
    height = draw.vary(-31, 2) + draw.vary(5, 2) * np.exp(-(((aside - 27) / 14) ** 2) - ((y + 55) / 20) ** 2)
    height -= draw.vary(5, 2.5) * _near(aside, 6, 2)
    height += draw.vary(8, 5) * np.exp(-((aside / 1.3) ** 2) - ((y + 66) / 9) ** 2)
    return np.asarray(height)


def _middle_fossa(draw: _Chance, aside: Reals) -> Reals:
    return np.asarray(draw.vary(-51, 3) + 12 * _near(aside, 17, 2) + 0.006 * np.maximum(aside - 42, 0) ** 2)


def _bone(draw: _Chance, aside: Reals, y: Reals, wing: Reals, ridge: Reals) -> Field:
    """Thickness of the floor's bone."""
    bone = np.full((aside.shape[0], y.shape[1]), 2.4)
    bone += draw.vary(2.6, 1.2) * _step(wing - 3 - y, 2) * _near(aside - 27, 17, 4)  # orbital roofs, hollowed from below
    bone += draw.vary(7, 3) * np.exp(-((aside / 17) ** 4) - ((y + 22) / 16) ** 4)  # sphenoid
    bone += draw.vary(4.5, 2) * _near(aside, 15, 4) * _near(y + 2, 12, 2)  # clivus
    bone += draw.vary(9, 2) * _near(y - ridge, 10, 2) * _step(aside - 8, 3)  # petrous bone
    bone += draw.vary(2.2, 1) * _near(y - wing, 7, 2)  # wings of the sphenoid
    bone *= 1 + 0.18 * draw.lumps(bone.shape, 5)
    return np.asarray(gaussian_filter(np.maximum(bone, 1.2), 1.0), dtype=np.float32)


def _step(t: Reals, width: float) -> Reals:
    """From 0 to 1 where t crosses 0."""
    return np.asarray(1 / (1 + np.exp(-np.clip(t / width, -30, 30))))


def _near(t: Reals, width: float, power: int) -> Reals:
    """1 where t is 0, falling to 1/e at `width`."""
    return np.asarray(np.exp(-((t / width) ** power)))
