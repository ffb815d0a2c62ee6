"""Heart, aorta, airways and oesophagus of a chest from a seed, side by side without overlaps, on any axis-aligned grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calvaria.geometry import Field
from calvaria.synthetic.chance import Part, generator
from calvaria.synthetic.lattice import Axis, Lattice, Noise, interpolate
from calvaria.synthetic.sculpture import Sculpture, Space
from calvaria.synthetic.thorax.anatomy import HIGH_MM, LOW_MM, ORGANS, Anatomy, draw_anatomy
from calvaria.volume import Mask

LATTICE_MM = 3.0
WALL_MM = 0.8
"""Wall between two organs that touch."""
FIRM = "trachea", "aorta", "oesophagus", "heart"
"""Where two organs meet, the earlier one keeps its shape."""


@dataclass(frozen=True)
class Thorax:
    """A chest: each organ's signed distance on a lattice, negative inside, mm, and the places of the lattice's nodes in its own frame."""

    space: Space
    distances: Mapping[str, Field]

    def distance(self, organ: str, axes_mm: Sequence[Axis]) -> Field:
        """An organ's signed distance on the grid with these coordinates (patient mm), float32 [X, Y, Z], negative inside."""
        return interpolate(self.space.lattice.matrices(axes_mm), self.distances[organ])

    def mask(self, organ: str, axes_mm: Sequence[Axis]) -> Mask:
        """An organ's mask on the grid with these coordinates (patient mm), bool [X, Y, Z]."""
        return np.asarray(self.distance(organ, axes_mm) < 0)

    def extent_mm(self, organ: str) -> tuple[list[float], list[float]]:
        """The corners of the box of an organ, patient mm."""
        inside = np.argwhere(self.distances[organ] < 0)
        first = np.array(self.space.lattice.first)
        low, high = ((corner + first) * self.space.lattice.step_mm for corner in (inside.min(0), inside.max(0)))
        return low.tolist(), high.tolist()


def make_thorax(seed: int) -> Thorax:
    """The chest of a seed. A function of patient space: the same seed is the same chest on every grid."""
    anatomy = draw_anatomy(seed)
    rng = generator(seed, Part.ORGAN_RELIEF)
    space = _space(anatomy, rng)
    relief = Noise(rng, 11.0).on(space.lattice.axes_mm())
    solids = {organ: _solid(anatomy, organ, space) + np.float32(anatomy.relief_mm[organ]) * relief for organ in ORGANS}
    return Thorax(space, _apart(solids))


def _space(anatomy: Anatomy, rng: np.random.Generator) -> Space:
    lattice = Lattice.over(LOW_MM, HIGH_MM, LATTICE_MM)
    axes = lattice.axes_mm()
    bends = [Noise(rng, 45.0).on(axes) * np.float32(anatomy.bend_mm) for _ in range(3)]
    scales = anatomy.scale.astype(np.float32)
    x, y, z = (np.asarray((along + bend) / scale) for along, bend, scale in zip(np.ix_(*axes), bends, scales, strict=True))
    return Space(lattice, x, y, z, np.column_stack([np.diag(anatomy.scale), np.zeros(3)]))


def _solid(anatomy: Anatomy, organ: str, space: Space) -> Field:
    sculpture = Sculpture(space, mirrored=False)
    for rods in anatomy.curves[organ]:
        sculpture.chain(rods, anatomy.blend_mm[organ])
    return sculpture.distance


def _apart(solids: Mapping[str, Field]) -> dict[str, Field]:
    """Each organ without what a firmer one and a thin wall around it take."""
    apart: dict[str, Field] = {}
    for organ in FIRM:
        kept = solids[organ]
        for firmer in apart.values():
            kept = np.maximum(kept, np.float32(WALL_MM) - firmer)
        apart[organ] = kept
    return apart
