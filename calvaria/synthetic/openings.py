"""Ragged openings in thin bone away from the vault, nearly alike on both sides, as a scan's threshold leaves them in the roofs of orbits.

Nobody wants them filled. They are cut into any skull that is learned from; generated heads have none by themselves.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calvaria.geometry import to_canonical
from calvaria.synthetic.chance import Part, generator
from calvaria.synthetic.cuts import Cut, ragged_ball, taken
from calvaria.synthetic.vault_map import COARSE_MM, Points, VaultMap, to_patient
from calvaria.volume import BinaryVolume

AWAY_MM = 14.0
"""Depth below the outermost bone down to which nothing is cut."""

RADIUS_MM = 3.5, 12.0
RAGGED_MM = 2.0
BOTH_SIDES = 0.8
"""Share of openings with one like it on the other side, as far as there is thin bone within `LIKE_MM` of the mirrored place."""
LIKE_MM = 8.0

THIN = 14
"""Most of the 27 cells of 3 mm around a place that have bone: a plate, however it lies, fills nine to fourteen."""

LOWEST_MM, ASIDE_MM = -45.0, 10.0
"""Least height, and distance sideways, from the middle of the brain case: further down and in the middle lies the nose."""


def perforate(skull: BinaryVolume, seed: int) -> BinaryVolume:
    """A whole skull of at least one voxel, with one to three pairs of openings of a seed, where it has thin bone away from the vault."""
    rng = generator(seed, Part.OPENINGS)
    canonical = to_canonical(skull)
    vault = VaultMap.of(canonical.volume)
    places = _thin_bone(canonical.volume, vault)
    if not len(places):
        return skull
    cuts = [cut for _ in range(rng.integers(1, 4)) for cut in _pair(places, vault, rng)]
    return skull.like(skull.mask & ~canonical.from_canonical(taken(canonical.volume, vault, cuts)))


def _pair(places: Points, vault: VaultMap, rng: np.random.Generator) -> list[Cut]:
    middle, radius = places[rng.integers(len(places))], float(np.exp(rng.uniform(*np.log(RADIUS_MM))))
    mirrored = np.array([2 * vault.centre_mm[0] - middle[0], *middle[1:]])
    away = np.linalg.norm(places - mirrored, axis=1)
    middles = [middle, places[away.argmin()]] if rng.random() < BOTH_SIDES and away.min() < LIKE_MM else [middle]
    return [
        ragged_ball(each, rng, radius * float(rng.uniform(0.8, 1.2)), RAGGED_MM, lambda at: vault.depth_mm(at) > AWAY_MM)
        for each in middles
    ]


def _thin_bone(skull: BinaryVolume, vault: VaultMap) -> Points:
    """Where in the front half of the base bone is a plate, patient mm [n, 3]."""
    x, y, z = (max(1, round(COARSE_MM / mm)) for mm in skull.spacing_mm)
    coarse: NDArray[np.int16] = skull.mask[::x, ::y, ::z].astype(np.int16)
    around = ndimage.convolve(coarse, np.ones((3, 3, 3), np.int16), mode="constant")
    places = to_patient(skull.affine, np.argwhere((coarse > 0) & (around <= THIN)) * (x, y, z))
    aside, back, up = (places - vault.centre_mm).T
    ahead = (back < 0) & (up > LOWEST_MM) & (abs(aside) > ASIDE_MM)
    return np.asarray(places[(vault.depth_mm(places) > AWAY_MM) & ahead])
