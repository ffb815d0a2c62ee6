"""Plain heads whose vault is known: shells with openings and holes."""

import numpy as np

from calvaria.volume import BinaryVolume, Mask

STEP_MM = 2.0
HALF_MM = np.array([70.0, 88.0, 82.0])
INNER = 0.925
"""Outer surface from the middle along each axis, and the inner one as a share of it: about 6 mm of bone."""


def head(bottom_mm: float = -45.0, orbits: bool = False) -> BinaryVolume:
    """An egg-shaped shell 6 mm thick, open below; `orbits` adds a round opening low in front on either side."""
    axis = (np.arange(100) + 0.5) * STEP_MM - 100
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    size = np.sqrt((x / HALF_MM[0]) ** 2 + (y / HALF_MM[1]) ** 2 + (z / HALF_MM[2]) ** 2)
    mask = (size < 1) & (size > INNER) & (z > bottom_mm)
    if orbits:
        mask &= ~((np.hypot(np.abs(x) - 30, z + 15) < 17) & (y < 0))
    return BinaryVolume.on_grid(mask, (STEP_MM,) * 3, (float(axis[0]),) * 3)


def lopsided(bulge_mm: float) -> BinaryVolume:
    """A head whose left side is pushed out, most of all over the hole."""
    axis = (np.arange(120) + 0.5) * STEP_MM - 120
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    pushed = bulge_mm * np.exp(-(np.square((y - 10) / 60) + np.square((z - 35) / 60))) * (x > 0)
    size = np.sqrt(((x - pushed) / HALF_MM[0]) ** 2 + (y / HALF_MM[1]) ** 2 + (z / HALF_MM[2]) ** 2)
    return BinaryVolume.on_grid((size < 1) & (size > INNER) & (z > -45), (STEP_MM,) * 3, (float(axis[0]),) * 3)


def cut(skull: BinaryVolume, centre_mm: tuple[float, float, float], radius_mm: float) -> Mask:
    """The bone within a sphere."""
    places = np.indices(skull.shape).T * STEP_MM + skull.origin_mm
    distance = np.linalg.norm(places - centre_mm, axis=-1).T
    return skull.mask & (distance < radius_mm)
