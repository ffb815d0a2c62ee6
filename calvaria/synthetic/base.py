"""The floor of the cranial cavity in its three steps: front, middle and back fossa, as a height over the base plane."""

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from calvaria.synthetic.lattice import Field
from calvaria.synthetic.shape import HeadShape

REACH_MM = 100
"""The table spans plus and minus this along x and y, a sample per mm of the average head."""


def _step(t: Field, width: float) -> Field:
    return 1 / (1 + np.exp(-np.clip(t / width, -30, 30)))


def floor_tables(head_seed: int) -> tuple[Field, Field]:
    """Height of the floor and thickness of its bone over (x, y), mm of the average head, float32 [201, 201] each."""
    rng = np.random.default_rng([head_seed, 1])
    axis = np.arange(-REACH_MM, REACH_MM + 1, dtype=np.float32)
    aside, y = np.abs(axis)[:, None], axis[None, :]

    def vary(mean: float, spread: float) -> float:
        return float(mean + rng.uniform(-spread, spread))

    front = vary(-31, 2) + vary(5, 2) * np.exp(-(((aside - 27) / 14) ** 2) - ((y + 55) / 20) ** 2)
    front -= vary(5, 2.5) * np.exp(-((aside / 6) ** 2))
    front += vary(8, 5) * np.exp(-((aside / 1.3) ** 2) - ((y + 66) / 9) ** 2)  # crista galli
    middle = vary(-51, 3) + 12 * np.exp(-((aside / 17) ** 2)) + 0.006 * np.maximum(aside - 42, 0) ** 2 + 0 * y
    back = np.full_like(front, -95)

    wing = vary(-27, 2) - vary(0.38, 0.1) * (aside - 12)
    ridge = vary(-9, 2) + vary(0.66, 0.07) * (aside - 10)
    floor = middle + (front - middle) * _step(wing - y, 1.6)
    floor = floor + (back - floor) * _step(y - ridge - 2, 2.2)
    before = np.where(y < ridge, vary(14, 3), 5.0)
    crest = vary(-37, 2) + 0.04 * aside - 0.045 * (y - ridge) ** 2 * (14 / before)
    floor = np.where(aside > 9, np.maximum(floor, np.maximum(crest, -95)), floor)

    saddle = np.interp(axis, [-100, -34, -29, -25, -20, -15, -12, -9, 2, 8, 100], [-36, -36, -34, -39, -44, -41, -34, -37, -63, -92, -95])
    saddle = saddle[None, :] + vary(0, 2)
    floor = floor + (saddle - floor) * np.exp(-((aside / 13) ** 4)) * _step(y + 32, 1.5)
    lumps = gaussian_filter(rng.standard_normal(floor.shape), 4) * 4 * np.sqrt(np.pi) * 2
    floor = gaussian_filter(floor, 1.2) + vary(0.6, 0.4) * lumps

    bone = 2.4 + 0 * floor
    bone += vary(2.6, 1.2) * _step(wing - 3 - y, 2) * np.exp(-(((aside - 27) / 17) ** 4))  # orbital roofs, hollowed from below
    bone += vary(7, 3) * np.exp(-((aside / 17) ** 4) - ((y + 22) / 16) ** 4)  # sphenoid
    bone += vary(4.5, 2) * np.exp(-((aside / 15) ** 4)) * np.exp(-(((y + 2) / 12) ** 2))  # clivus
    bone += vary(9, 2) * np.exp(-(((y - ridge) / 10) ** 2)) * _step(aside - 8, 3)  # petrous
    bone += vary(2.2, 1) * np.exp(-(((y - wing) / 7) ** 2))  # wings of the sphenoid
    bone *= 1 + 0.18 * gaussian_filter(rng.standard_normal(floor.shape), 5) * 5 * np.sqrt(np.pi) * 2
    return floor.astype(np.float32), gaussian_filter(np.maximum(bone, 1.2), 1.0).astype(np.float32)


def floor_fields(head: HeadShape, head_seed: int, x: Field, y: Field, z: Field) -> tuple[Field, Field]:
    """Distance to the floor (positive above it) and thickness of its bone, mm. x, y, z: average head's frame."""
    height, bone = floor_tables(head_seed)
    slope = np.sqrt(1 + np.square(np.gradient(height, axis=0)) + np.square(np.gradient(height, axis=1)))
    places = np.stack([x.ravel(), y.ravel()]) + REACH_MM

    def look_up(table: Field) -> Field:
        values: Field = map_coordinates(table, places, order=1, mode="nearest", output=np.float32).reshape(x.shape)
        return values

    distance = (z - look_up(height)) / look_up(np.minimum(slope, 4))
    return distance.clip(-14, 14), look_up(bone)
