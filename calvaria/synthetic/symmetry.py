"""Heads with two sides alike: one side of any skull is replaced by the other's mirror image, and all of it bent smoothly.

Most real heads differ less than generated ones from their mirror image, once it is bent to lie on them. Networks that learn from generated
heads trust the other side too little. By `calvaria.datasets.likeness` the outer tables of seventeen real heads lie 0.24 to 0.40 mm from
that image (the middle four fifths of them) and the inner ones 0.41 to 0.65 mm; those of generated heads 0.44 and 0.72 mm (medians), made
alike and then moulded 0.35 and 0.44 mm. What is drawn here, and in `moulding` of what the sides do not share, was set by these figures.
"""

import numpy as np
from scipy import ndimage

from calvaria.geometry import Field, to_canonical
from calvaria.grid import WorkingGrid
from calvaria.sampling import nearest, placed, sampled, transformed
from calvaria.synthetic.chance import Part, generator
from calvaria.vault.mirrored import fit_mirror, in_patient, normal_of
from calvaria.volume import Affine, BinaryVolume, Mask

CELL_MM = 3.0
"""Cells, mm, of the grid on which the plane between the sides is found, and bending computed."""

POINTS = 8_000

BENT_MM = 0.3, 2.2
"""Range of the deviation, mm, of movements along each axis: differences that a smooth bending undoes."""

WAVES = 6
WAVELENGTH_MM = 110.0, 300.0

NEAR_CELLS = 2
"""Farthest, in cells, that bone may come to lie from where it was, on either side."""


def symmetrise(skull: BinaryVolume, seed: int) -> BinaryVolume:
    """A whole skull of at least one voxel, its left or its right, after a seed, replaced by the other's mirror image, then gently bent."""
    rng = generator(seed, Part.SYMMETRY)
    canonical = to_canonical(skull)
    volume = canonical.volume
    grid = WorkingGrid.filling(volume, CELL_MM)
    share = grid.coarsen(volume.mask)
    mirror = in_patient(fit_mirror(share, CELL_MM, POINTS), grid.affine)
    outwards = normal_of(mirror[:3, :3]) * rng.choice([-1, 1])  # from the side that stays to the other
    shift = [sampled(along, grid, volume) for along in _bending(grid, rng)]
    to_voxels = np.asarray(np.linalg.inv(volume.affine), np.float64)
    bone, made = volume.mask.astype(np.float32), np.zeros_like(volume.mask)
    for index, places in placed(nearest(_near(share, grid, mirror), grid, volume), volume.affine):
        places += [along[index] for along in shift]
        opposite = transformed(mirror[:3, :3], mirror[:3, 3], places)
        source = np.where(outwards @ (places - opposite) > 0, opposite, places)
        voxels = transformed(to_voxels[:3, :3], to_voxels[:3, 3], source)
        made[index] = ndimage.map_coordinates(bone, voxels, order=1, prefilter=False) > 0.5
    return skull.like(canonical.from_canonical(made))


def _bending(grid: WorkingGrid, rng: np.random.Generator) -> Field:
    """How far to look from every cell of a grid, patient mm [3, x, y, z]: sums of waves."""
    at = transformed(grid.affine[:3, :3], grid.affine[:3, 3], np.indices(grid.shape, np.float64).reshape(3, -1))
    size = rng.uniform(*BENT_MM) * np.sqrt(2 / WAVES)
    shift = np.zeros((3, at.shape[1]))
    for along in shift:
        for _ in range(WAVES):
            way = rng.standard_normal(3)
            way *= 2 * np.pi / rng.uniform(*WAVELENGTH_MM) / np.linalg.norm(way)
            along += size * np.cos(way @ at + rng.uniform(0, 2 * np.pi))
    return shift.reshape(3, *grid.shape).astype(np.float32)


def _near(share: Field, grid: WorkingGrid, mirror: Affine) -> Mask:
    """Cells with bone, those around, and those opposite."""
    near: Mask = ndimage.maximum_filter(share > 0, 2 * NEAR_CELLS + 1)
    opposite = np.linalg.inv(grid.affine) @ mirror @ grid.affine
    return np.asarray(near | ndimage.affine_transform(near, opposite[:3, :3], opposite[:3, 3], order=0))
