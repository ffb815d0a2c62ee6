"""Examples for super-resolution: part of a skull, scanned coarsely in one of many ways, and how full its finer cells really are."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from calvaria.geometry import to_canonical
from calvaria.synthetic.coarse import METHODS, scan
from calvaria.tasks import Extras, Settings
from calvaria.tasks.super_resolution import COARSE_MM, prepare
from calvaria.training.config import TrainConfig
from calvaria.training.data import Draw, Example
from calvaria.training.skulls import Skulls
from calvaria.volume import BinaryVolume

CELLS = 56
"""Cells of an example along each axis, about: 60,000 sites."""

SLICED = 0.5
"""Share of the examples whose slices lie further apart than their pixels; the others have cubes as voxels."""

BY_MEAN = 0.7
"""Share of the examples whose voxels are occupied where most of them is, rather than where their centres are."""

FACTORS = 2, 2, 3, 4, 4
"""Cells along a coarse voxel's longest edge; one of these by chance."""

PIXELS = 0.7
"""Share of the examples with slices whose cells are as wide as the pixels."""

EDGE_MM = COARSE_MM
PIXEL_SHARE = 0.12, 0.7
SMALLEST_MM = 0.45
"""Least edge of a slice's pixels. EDGE_MM: range of longest edges; PIXEL_SHARE: of pixels, as a share of the distance of slices."""

SLICES = 6
"""Least slices that fit into an example, even where its cells are small."""


class CoarseSkulls:
    """Parts of skulls, coarse."""

    def __init__(self, skulls: Skulls, settings: Settings):
        self.skulls, self.settings = skulls, settings

    def __call__(self, rng: np.random.Generator) -> Example:
        skull = self.skulls(rng).whole
        coarse_mm = coarse_voxels(rng)
        cell_mm = float(max(coarse_mm) / rng.choice(FACTORS))
        if min(coarse_mm) < max(coarse_mm) and rng.random() < PIXELS:
            cell_mm = min(coarse_mm)
        part = around_bone(skull, max(CELLS * cell_mm, SLICES * max(coarse_mm)), rng)
        shift = rng.random(3) * (np.array(part.shape) * part.spacing_mm > 3 * np.array(coarse_mm))
        coarse = scan(part, coarse_mm, METHODS[int(rng.random() > BY_MEAN)], shift)
        prepared = prepare(coarse, replace(self.settings, spacing_mm=cell_mm), Extras(spacing_mm=cell_mm))  # no parts of voxels
        truth = to_canonical(part)
        wanted = prepared.grid.above(truth.volume).coarsen(truth.mask)
        wanted[~prepared.sites] = 0
        return Example(prepared.sites, prepared.sites & (prepared.shares > 0.5), prepared.features, wanted)


def coarse_voxels(rng: np.random.Generator) -> Sequence[float]:
    """Edges of a coarse scan's voxels, mm: cubes, or slices along one axis, mostly the third."""
    edge = float(np.exp(rng.uniform(*np.log(EDGE_MM))))
    if rng.random() > SLICED:
        return [edge] * 3
    pixel = max(edge * rng.uniform(*PIXEL_SHARE), SMALLEST_MM)
    along = rng.choice([0, 1, 2, 2, 2, 2])
    return [edge if axis == along else pixel for axis in range(3)]


def around_bone(skull: BinaryVolume, edge_mm: float, rng: np.random.Generator) -> BinaryVolume:
    """A cube of a skull, as far as it reaches, with bone in its middle."""
    occupied = np.flatnonzero(skull.mask)
    centre = np.unravel_index(int(rng.choice(occupied)), skull.shape)
    half = np.maximum(np.ceil(edge_mm / 2 / np.array(skull.spacing_mm)).astype(int), 1)
    starts = np.clip(np.array(centre) - half, 0, None)
    x, y, z = (slice(int(start), int(middle + size)) for start, middle, size in zip(starts, centre, half, strict=True))
    return skull.cropped((x, y, z))


def draw_super_resolution(config: TrainConfig, skulls: Skulls, first: Path | None) -> Draw:
    return CoarseSkulls(skulls, config.settings)
