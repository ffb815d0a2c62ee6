"""Heads formed otherwise: the vault of any skull dented and made thicker and thinner, smoothly, above all thinner at the temples.

The generator's vaults follow formulas that a network may learn by heart; a real head's bone is as thick as it is.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calvaria.geometry import Field, to_canonical
from calvaria.grid import WorkingGrid
from calvaria.sampling import sampled
from calvaria.synthetic.chance import Part, generator
from calvaria.synthetic.vault_map import Points, VaultMap, angles, to_patient
from calvaria.vault.cavity import direction
from calvaria.volume import BinaryVolume, Mask

STEP_DEG = 3.0
WAVES = 8
WAVELENGTH_RAD = 0.9, 2.0
PATCHES_RAD = 0.33, 1.0
DENT_MM = 1.0, 0.3
"""Deviations of the outer surface, mm: of what both sides share and of what they do not."""

THICKNESS = 0.12, 0.05
"""Deviations, shared and not, of the logarithm of the bone's thickness."""

OVERALL = -0.5, 0.04
"""Range of the logarithm of a factor on all thickness: generated bone is thicker than real heads' nearly everywhere
(`calvaria.datasets.likeness`).
"""

PATCHES = 0.06, 0.08
"""Deviations, shared and not, of smaller patches of thicker and thinner bone."""

APART = 0.25, 1.6
"""Range of the factor, head by head, on what the sides do not share (the second of DENT_MM, THICKNESS, PATCHES)."""

TEMPLES = 0.8
"""How much less, at most, the logarithm of thickness is at the temples."""

OCCIPUT = 0.6
"""The same at the back of the head, where generated bone is thickest and real bone is as thick as elsewhere."""

FACTORS = 0.35, 1.35
"""Range of the factor on thickness."""

BONE_MM = 14.0
"""Depth, mm, from which the inside of the head goes back to where it was, over `BACK_MM`."""

BACK_MM = 40.0

INWARDS_MM = 8.0
"""Farthest, mm, that bone may come to lie from where there was some."""

CELL_MM = 3.0
"""How far apart movements are computed; they are smooth."""


@dataclass(frozen=True, eq=False)
class _Moulding:
    """A moulding by direction, every 3 degrees of azimuth [121, from 0] and elevation [61, from -90]; see `VaultMap`.

    dent_mm  how far the outer surface moves inwards
    factor   how many times as thick the bone is
    """

    dent_mm: Field
    factor: Field

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "_Moulding":
        azimuth, elevation = np.meshgrid(np.arange(0, 361, STEP_DEG), np.arange(-90, 91, STEP_DEG), indexing="ij")
        ways = direction(azimuth, elevation)
        from_front = np.minimum(azimuth, 360 - azimuth)
        lowest = -30 + 25 * np.exp(-np.square(from_front / 45))  # the orbits reach higher than the base does elsewhere
        kept = ((elevation - lowest) / 15).clip(0, 1)
        apart = rng.uniform(*APART)
        dent, thickness, patches = (
            _waves(rng, ways, lengths_rad, shared, True) + _waves(rng, ways, lengths_rad, apart * own, False)
            for lengths_rad, (shared, own) in ((WAVELENGTH_RAD, DENT_MM), (WAVELENGTH_RAD, THICKNESS), (PATCHES_RAD, PATCHES))
        )
        thickness += rng.uniform(*OVERALL) + patches
        middle, height, width = rng.uniform(65, 105), rng.uniform(-8, 10), rng.uniform(18, 40)
        temples = np.exp(-np.square((from_front - middle) / width) - np.square((elevation - height) / (0.6 * width)))
        thickness -= rng.uniform(0, TEMPLES) * temples
        width = rng.uniform(30, 55)
        occiput = np.exp(-np.square((180 - from_front) / width) - np.square((elevation - rng.uniform(5, 25)) / width))
        thickness -= rng.uniform(0, OCCIPUT) * occiput
        return cls((kept * (dent.max() - dent)).astype(np.float32), np.exp(kept * thickness).clip(*FACTORS).astype(np.float32))


def _waves(
    rng: np.random.Generator, ways: NDArray[np.float64], lengths_rad: tuple[float, float], size: float, shared: bool
) -> NDArray[np.float64]:
    """A smooth function of direction, of deviation `size`, the same on both sides if `shared`."""
    total = np.zeros(ways.shape[:-1])
    for _ in range(WAVES):
        vector = rng.standard_normal(3)
        vector *= 2 * np.pi / rng.uniform(*lengths_rad) / np.linalg.norm(vector)
        across, phases = vector[0] * ways[..., 0], rng.uniform(0, 2 * np.pi, 2)
        total += np.cos(across + (0 if shared else phases[0])) * np.cos(ways[..., 1:] @ vector[1:] + phases[1])
    return np.asarray(total * size * 2 / np.sqrt(WAVES))


def mould(skull: BinaryVolume, seed: int) -> BinaryVolume:
    """A whole skull of at least one voxel, its vault moulded after a seed; base and face stay as they are."""
    canonical = to_canonical(skull)
    volume = canonical.volume
    vault, moulding = VaultMap.of(volume), _Moulding.draw(generator(seed, Part.MOULDING))
    grid = WorkingGrid.filling(volume, CELL_MM)
    cells = to_patient(grid.affine, np.indices(grid.shape).reshape(3, -1).T)
    outwards = sampled(_outwards(cells, vault, moulding).reshape(grid.shape), grid, volume)
    sizes = [2 * ceil(INWARDS_MM / mm) + 1 for mm in volume.spacing_mm]
    near = np.nonzero(ndimage.maximum_filter(volume.mask, sizes))
    centre = np.linalg.inv(volume.affine) @ [*vault.centre_mm, 1]
    before = [voxel + outwards[near] * (voxel - middle) for voxel, middle in zip(near, centre[:3].tolist(), strict=True)]
    moulded: Mask = np.zeros_like(volume.mask)
    moulded[near] = ndimage.map_coordinates(volume.mask.astype(np.float32), np.stack(before), order=1, prefilter=False) > 0.5
    return skull.like(canonical.from_canonical(moulded))


def _outwards(places: Points, vault: VaultMap, moulding: _Moulding) -> Points:
    """How much further from the centre to look for what comes to points [n, 3] (patient mm), as a share of their distance from it [n]."""
    offsets = places - vault.centre_mm
    away = np.maximum(np.linalg.norm(offsets, axis=1), 1e-3)
    turns, rise = angles(offsets)
    at = np.stack([turns * 360, rise * 180]) / np.float32(STEP_DEG)
    dent, factor = (
        ndimage.map_coordinates(table, at, order=1, mode="nearest", prefilter=False) for table in (moulding.dent_mm, moulding.factor)
    )
    depth = vault.surface_mm(offsets) - dent - away
    thinned = (1 / factor - 1) * depth.clip(0, BONE_MM)
    moved = (dent - thinned) * (1 - (depth - BONE_MM) / BACK_MM).clip(0, 1)
    return np.asarray(moved / away, np.float32)
