"""Frontal sinuses as large as real ones: air behind thin walls in the forehead, reaching aside, up, and back over the orbits.

On real heads much of what an implant at the brow has too much, or lacks, lies in these; those that heads are generated with
(`calvaria.synthetic.face`) stay within the forehead's own bone.
"""

from collections.abc import Iterator
from itertools import product

import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calvaria.geometry import to_canonical
from calvaria.synthetic.chance import Part, generator
from calvaria.synthetic.vault_map import Points, VaultMap, bins, to_patient
from calvaria.vault.cavity import box_around, direction
from calvaria.volume import BinaryVolume, Mask

FOREHEAD_MM = (-50.0, 50.0), (-110.0, -40.0), (-50.0, 20.0)
"""Where sinuses may come to lie, from the middle of the brain case: x, y and z in the patient."""

BINS = 120, 60
"""Directions told apart where the wall of the brain's cavity is sought, 3 degrees each."""

NEAREST_MM = 30.0
"""Bone nearer than that to the middle of the brain case is none of that wall."""

FRONT_WALL_MM, BACK_WALL_MM = (1.2, 4.0), (1.1, 2.2)
SEPTUM_MM = 0.8
"""Half the thickness of the wall between left and right."""

ONE_SIDED, ALIKE = 0.15, 0.5
"""Shares of heads with a sinus on one side alone, and of the others with sides that are alike."""

CORNERS_DEG = range(-36, -6, 3)
"""Elevations, from the middle of the brain case, at which forehead and base may meet: where the wall lies furthest."""

BLEND_MM = 1.5
"""Lobes become one over about so much."""

STEP_DEG = 9.0
"""From one lobe of a sinus to the next, aside."""

Lobe = tuple[float, float, float, NDArray[np.float64]]
"""An ellipsoid: degrees aside from the middle plane, and above the corner between forehead and base; how far its middle lies below the
outside of the head, mm; radii [3], mm.
"""


def pneumatise(skull: BinaryVolume, seed: int) -> BinaryVolume:
    """A whole skull of at least one voxel, with frontal sinuses after a seed; as it is where its brain case has no wall in front."""
    rng = generator(seed, Part.SINUSES)
    canonical = to_canonical(skull)
    volume = canonical.volume
    vault = VaultMap.of(volume)
    corners = vault.centre_mm + np.array(list(product(*FOREHEAD_MM)))
    box = box_around(corners, volume.affine, volume.shape)
    bone = volume.mask[box]
    places = to_patient(volume.affine, np.indices(bone.shape).reshape(3, -1).T + [part.start for part in box]) - vault.centre_mm
    wall = _wall(places, bone)
    lobes = list(_placed(_lobes(rng), wall, vault))
    if not lobes:
        return skull
    nearness = sum(np.exp((_beyond(places, *lobe) / -BLEND_MM).clip(-80, 80)) for lobe in lobes)
    beyond = -BLEND_MM * np.log(nearness).reshape(bone.shape)
    outside = _outside(places, bone, wall)
    voxel = 1.01 * max(volume.spacing_mm)  # no wall is thinner
    front, back = max(float(np.exp(rng.uniform(*np.log(FRONT_WALL_MM)))), voxel), max(rng.uniform(*BACK_WALL_MM), voxel)
    air = (beyond < 0) & (edt.edt(~outside, anisotropy=volume.spacing_mm) > front)
    air &= abs(places[:, 0] - rng.uniform(-2, 2)).reshape(bone.shape) > SEPTUM_MM
    made = volume.mask.copy()
    made[box] = (bone | (beyond < back) & ~outside) & ~air
    return skull.like(canonical.from_canonical(made))


def _lobes(rng: np.random.Generator) -> Iterator[Lobe]:
    sides = [int(rng.choice([-1, 1]))] if rng.random() < ONE_SIDED else [-1, 1]
    first = list(_lobes_of_a_side(rng))
    second = [_shifted(lobe, rng) for lobe in first] if rng.random() < ALIKE else list(_lobes_of_a_side(rng))
    for side, lobes in zip(sides, (first, second), strict=False):
        yield from ((side * aside, above, below, radii) for aside, above, below, radii in lobes)


def _lobes_of_a_side(rng: np.random.Generator) -> Iterator[Lobe]:
    """One near the middle, in the corner between forehead and base, smaller ones aside, and perhaps others back over the orbit."""
    size, first, back = rng.uniform(0.7, 1.25), rng.uniform(6, 9), rng.uniform(-0.5, 1)
    yield first, rng.uniform(0, 6), rng.uniform(7, 14), size * rng.uniform([9, 8, 8], [13, 15, 20])
    for aside in np.arange(first + STEP_DEG, rng.uniform(8, 36), STEP_DEG):
        yield aside, rng.uniform(0, 5), rng.uniform(7, 13), size * rng.uniform([9, 7, 5], [12, 12, 12])
        if back > 0:
            yield aside, rng.uniform(-4, 0) * back, rng.uniform(15, 25), size * rng.uniform([8, 9, 5], [12, 14, 8])


def _shifted(lobe: Lobe, rng: np.random.Generator) -> Lobe:
    aside, above, below, radii = lobe
    return aside + rng.normal(0, 1), above + rng.normal(0, 1), below + rng.normal(0, 0.7), radii * rng.uniform(0.9, 1.1, 3)


def _wall(places: Points, bone: Mask) -> Points:
    """How far the wall of the brain's cavity lies from its middle [120, 60], by direction; 0 where there is no bone."""
    away = np.linalg.norm(places, axis=1)
    of_wall = bone.ravel() & (away > NEAREST_MM)
    wall = np.full(BINS, np.inf, np.float32)
    np.minimum.at(wall, bins(places[of_wall], BINS), away[of_wall])
    return np.where(np.isinf(wall), np.float32(0), wall)


def _outside(places: Points, bone: Mask, wall: Points) -> Mask:
    """Air that is neither the brain's cavity nor closed in by bone, as sinuses are that a head has already."""
    cavity = np.linalg.norm(places, axis=1) < wall[bins(places, BINS)]
    parts, count = ndimage.label(~bone & ~cavity.reshape(bone.shape))
    at_border = np.zeros(count + 1, np.bool_)
    for axis in range(3):
        for end in (0, -1):
            at_border[np.take(parts, end, axis)] = True
    at_border[0] = False
    return np.asarray(at_border[parts])


def _placed(lobes: Iterator[Lobe], wall: Points, vault: VaultMap) -> Iterator[tuple[Points, Points]]:
    """Middles and radii [3] of those that have a wall to lie on."""
    for aside, above, below, radii in lobes:
        column = [float(wall[bins(_towards(aside, elevation), BINS)][0]) for elevation in CORNERS_DEG]
        towards = _towards(aside, CORNERS_DEG[int(np.argmax(column))] + above)
        if max(column) > 0:
            yield (vault.surface_mm(towards)[0] - np.float32(below)) * towards[0], radii.astype(np.float32)


def _towards(azimuth_deg: float, elevation_deg: float) -> Points:
    """A unit vector [1, 3]."""
    return direction(azimuth_deg, elevation_deg)[None].astype(np.float32)


def _beyond(places: Points, middle: Points, radii: Points) -> Points:
    """About how far points [n, 3] lie outside of an ellipsoid, mm [n]."""
    return np.asarray((np.linalg.norm((places - middle) / radii, axis=1) - 1) * np.mean(radii), np.float32)
