"""Gaps that a head has and that nobody wants filled: wide saw lines around a bone flap, gaping sutures, burr holes on either.

They are cut into any skull that is learned from. Those that generated heads have by themselves (`calvaria.synthetic.surgery`) are narrower.
"""

import numpy as np

from calvaria.geometry import to_canonical
from calvaria.synthetic.chance import Part, generator
from calvaria.synthetic.cuts import Cut, cleft, taken
from calvaria.synthetic.vault_map import VaultMap
from calvaria.volume import BinaryVolume

LENGTH_MM = 25.0, 110.0
WIDTH_MM = 1.5, 6.5
BURRED_WIDTH_MM = 4.0, 6.5  # so that it shows what the holes belong to: one that lies alone may as well be a defect
BEND_MM = 18.0, 200.0
BURR_MM = 3.5, 7.0
BURRED = 0.25
"""Share of clefts with burr holes."""


def cleave(skull: BinaryVolume, seed: int) -> BinaryVolume:
    """A whole skull of at least one voxel, with one to four clefts of a seed."""
    rng = generator(seed, Part.CLEFTS)
    canonical = to_canonical(skull)
    vault = VaultMap.of(canonical.volume)
    cuts = [_cut(vault, rng) for _ in range(rng.integers(1, 5))]
    return skull.like(skull.mask & ~canonical.from_canonical(taken(canonical.volume, vault, cuts)))


def _cut(vault: VaultMap, rng: np.random.Generator) -> Cut:
    """A cleft anywhere on the vault, above the brow."""
    aim = float(rng.uniform(-180, 180)), float(np.degrees(np.arcsin(rng.uniform(0.05, 1))))
    burr = float(rng.uniform(*BURR_MM)) if rng.random() < BURRED else 0.0
    length, width = rng.uniform(*LENGTH_MM), rng.uniform(*(BURRED_WIDTH_MM if burr else WIDTH_MM))
    bend = float(np.exp(rng.uniform(*np.log(BEND_MM))))
    return cleft(vault.outermost(*aim), vault.centre_mm, rng, min(length, 5 * bend), width, bend, burr)
