"""Cutting defects into skulls: where surgeons, tumours and accidents open the vault, from a seed.

Everything is decided in patient space on the canonical axes, so that a head loses the same piece however its file is laid out.
The random kind follows the recipe published for the AutoImplant challenge's data: a sphere of radius N(70, 20) voxels of 0.4 mm
near bone in the vault, with up to seven spheres of about half its size on its surface, then an elastic warp.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray

from calvaria.geometry import Box, Canonical, Field, to_canonical
from calvaria.synthetic.braincase import BrainCase, Vector
from calvaria.synthetic.regions import Region, flap, spheres, towards
from calvaria.volume import BinaryVolume, Mask

Shape = Callable[[np.random.Generator, Vector, Vector], Region]
"""(random, point on the outer surface in mm, unit vector outward) -> what is cut away there"""

Draw = Callable[[BrainCase, np.random.Generator], list[Region]]
SMALLEST_CM3 = {"small": 0.3}
USUAL_SMALLEST_CM3 = 1.5
LARGEST_SHARE = 0.35
ATTEMPTS = 40


@dataclass(frozen=True, eq=False)
class Defect:
    """A skull with a piece missing, and the piece: both on the skull's grid, disjoint, together the skull."""

    defective: BinaryVolume
    implant: BinaryVolume
    kind: str


def _at(azimuth_deg: tuple[float, float], elevation_deg: tuple[float, float], shape: Shape, mirrored: bool = True) -> Draw:
    """One region where a ray from the brain case's centre leaves bone, its direction drawn from ranges and on either side."""

    def draw(case: BrainCase, rng: np.random.Generator) -> list[Region]:
        side = rng.choice([-1.0, 1.0]) if mirrored else 1.0
        direction = towards(side * rng.uniform(*azimuth_deg), rng.uniform(*elevation_deg))
        surface = case.surface(direction)
        return [] if surface is None else [shape(rng, surface, direction)]

    return draw


def _round(low_mm: float, high_mm: float, most: int = 3) -> Shape:
    return lambda rng, surface, direction: spheres(rng, surface, direction, rng.uniform(low_mm, high_mm), int(rng.integers(most + 1)))


def _sawn(low_mm: float, high_mm: float, corners: tuple[int, ...], wobble: float) -> Shape:
    def shape(rng: np.random.Generator, surface: Vector, direction: Vector) -> Region:
        return flap(rng, surface, direction, rng.uniform(low_mm, high_mm), int(rng.choice(corners)), wobble)

    return shape


def _either(first: Shape, second: Shape) -> Shape:
    return lambda rng, surface, direction: (first if rng.random() < 0.5 else second)(rng, surface, direction)


def _published(rng: np.random.Generator, surface: Vector, direction: Vector) -> Region:
    return spheres(rng, surface, direction, float(np.clip(rng.normal(28, 8), 14, 46)), int(rng.integers(8)))


def _two(case: BrainCase, rng: np.random.Generator) -> list[Region]:
    each = _at((0, 180), (10, 80), _either(_round(14, 26), _sawn(16, 28, (0, 4, 5), 0.1)))
    return [*each(case, rng), *each(case, rng)]


def _at_cut_edge(case: BrainCase, rng: np.random.Generator) -> list[Region]:
    """Reaching the lowest slices of a scan of the upper head; in a taller scan, low on the side or back of the head."""
    lowest = max(case.low_mm, case.centre_mm[2] - 45)
    origin = np.array([*case.centre_mm[:2], lowest + rng.uniform(0, 20)])
    direction = towards(rng.choice([-1, 1]) * rng.uniform(60, 180), 0)
    surface = case.surface(direction, origin)
    return [] if surface is None else [spheres(rng, surface, direction, rng.uniform(18, 36), int(rng.integers(3)))]


EVERYWHERE = (0, 180), (5, 85)
DEFECT_KINDS: dict[str, Draw] = {
    "bilateral": _at((0, 30), (55, 90), _either(_round(28, 46), _sawn(32, 52, (0, 4, 5, 6), 0.1))),
    "frontoorbital": _at((8, 48), (2, 32), _either(_round(22, 38), _sawn(24, 40, (0, 3, 4, 5), 0.1))),
    "parietotemporal": _at((65, 125), (5, 45), _either(_round(24, 42), _sawn(26, 46, (0, 4, 5, 6), 0.1))),
    "random": _at(*EVERYWHERE, _published),
    "irregular": _at(*EVERYWHERE, _sawn(22, 42, (0,), 0.28)),
    "two": _two,
    "small": _at(*EVERYWHERE, _either(_round(7, 13, most=0), _sawn(7, 14, (0, 4), 0.1))),
    "large": _at(*EVERYWHERE, _either(_round(42, 56), _sawn(45, 60, (0, 4, 5), 0.12))),
    "craniotomy": _at((30, 150), (8, 60), _sawn(24, 48, (3, 4, 5, 6), 0.04)),
    "edge": _at_cut_edge,
}
"""Kinds of defects: the AutoImplant challenge's classes (bilateral, frontoorbital, parietotemporal, random) and harder ones."""


def cut_defect(skull: BinaryVolume, seed: int, kind: str | None = None) -> Defect:
    """Remove a piece of the vault; `kind` is one of `DEFECT_KINDS`, drawn from the seed if None.

    ValueError for an unknown kind, or where no piece of sensible size can be cut (a mask that is no skull).
    """
    if kind is not None and kind not in DEFECT_KINDS:
        raise ValueError(f"no kind of defect is called {kind!r}; there are {', '.join(DEFECT_KINDS)}")
    rng = np.random.default_rng([seed, 1])
    kind = kind or str(rng.choice(list(DEFECT_KINDS)))
    canonical = to_canonical(skull.mask, skull.affine)
    case = BrainCase.of(canonical)
    smallest = SMALLEST_CM3.get(kind, USUAL_SMALLEST_CM3) * 1000 / skull.voxel_mm3
    for _ in range(ATTEMPTS):
        pieces = [_cut(canonical, region, smallest) for region in DEFECT_KINDS[kind](case, rng)]
        if pieces and all(size for _, _, size in pieces) and sum(size for _, _, size in pieces) < LARGEST_SHARE * skull.occupied:
            implant = np.zeros_like(canonical.mask)
            for piece, box, _ in pieces:
                implant[box] |= piece
            removed = canonical.from_canonical(implant)
            return Defect(skull.like(skull.mask & ~removed), skull.like(np.ascontiguousarray(removed)), kind)
    raise ValueError(f"no defect of kind {kind} could be cut: is this the mask of a skull, in millimetres?")


def _cut(canonical: Canonical, region: Region, smallest: float) -> tuple[Mask, Box, int]:
    """The bone inside a region: a mask, its box on the canonical grid, and its size; size 0 where it is smaller than `smallest`."""
    spacing = np.array(canonical.volume.spacing_mm)
    middle = np.linalg.solve(canonical.affine[:3, :3], region.middle_mm - canonical.affine[:3, 3])
    low = np.maximum(np.floor(middle - region.reach_mm / spacing).astype(int), 0)
    high = np.minimum(np.ceil(middle + region.reach_mm / spacing).astype(int) + 1, canonical.mask.shape)
    if (high <= low).any():
        return np.zeros((0, 0, 0), np.bool_), (slice(0, 0),) * 3, 0
    box = slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])
    x, y, z = _places(canonical.affine, box)
    piece = canonical.mask[box] & (region.inside(x, y, z) < 0)
    labels = cc3d.connected_components(piece, connectivity=26)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    whole = sizes >= max(1, 0.1 * sizes.max())
    kept = whole[labels]
    size = int(sizes[whole].sum())
    return kept, box, size if size >= smallest else 0


def _places(affine: NDArray[np.float64], box: Box) -> list[Field]:
    """Patient coordinates x, y, z (mm) of the voxels of a box, each only as large as it needs to be to broadcast."""
    i, j, k = (np.arange(span.start, span.stop, dtype=np.float32) for span in box)
    index = i[:, None, None], j[:, None], k

    def along(row: NDArray[np.float64]) -> Field:
        place: Field = np.float32(row[3]).reshape(1, 1, 1)
        for step, number in zip(row[:3], index, strict=True):
            place = place + np.float32(step) * number if step else place
        return place

    return [along(row) for row in affine[:3]]
