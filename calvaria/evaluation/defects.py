"""Defects to test on, cut by another construction than those that networks are trained on.

The five classes of SkullBreak, as its published generator makes them: a sphere of radius N(28, 8) mm about a point near the bone of
the vault, with up to seven of N(16, 4) mm on its surface; their union is opened, warped, and taken out of the bone. And harder ones.
Everything happens in patient space, so that one seed gives the same defect at any spacing and orientation of the grid.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from calvaria.errors import CalvariaError, ErrorCode, bad_option
from calvaria.evaluation.blobs import Blob, cylinder, fused_spheres, plate, ragged
from calvaria.geometry import Box, to_canonical
from calvaria.tasks.components import components, connected, largest_component
from calvaria.vault.cavity import Cavity, Points, box_around, direction
from calvaria.volume import BinaryVolume, Mask

SMALLEST_MM3 = 1000.0
SMALLEST_SMALL_MM3 = 400.0  # of kind "small", and of each of two pieces
FLOATING_MM3 = 2000.0  # an island of bone that a cut leaves is taken with it up to this size
TRIES = 16
ORBIT_DEG = 20, 24, 28  # azimuths through an orbit
BROWS_DEG = np.arange(30, -27, -3)  # elevations at which its upper rim is looked for
STEPS = 4  # of these; within as many the outermost bone lies deeper below a rim, by
ORBIT_DEPTH_MM = 12.0
USUAL_BROW_DEG = -8.0
BELOW_BROW_MM = 12.0
STREAM = 20_230_825  # keeps these random numbers apart from every other use of a seed

Draw = Callable[[Cavity, np.random.Generator], list["Cut"]]


@dataclass(frozen=True, eq=False)
class Cut:
    """A shape to take out, from `depth_mm` below the surface it is aimed at, outwards, and at most `below_mm` under the cavity."""

    blob: Blob
    aimed_at_mm: Points
    depth_mm: float = 26.0
    below_mm: float = 25.0

    def takes(self, cavity: Cavity, places_mm: Points) -> Mask:
        """Which points [n, 3] are taken: never the skull base, never the face below the orbits."""
        offsets = places_mm - cavity.centre_mm
        deepest = np.linalg.norm(self.aimed_at_mm - cavity.centre_mm) - self.depth_mm
        allowed = (np.square(offsets).sum(axis=1) > deepest**2) & (offsets[:, 2] > -self.below_mm)
        return np.asarray(allowed & self.blob.holds(places_mm))


def removed(skull: BinaryVolume, seed: int, kind: str) -> Mask:
    """The bone, bool on the skull's grid [X, Y, Z], that the defect of a seed takes: one piece, or two of kind "two".

    Raises CalvariaError BAD_OPTION for another kind than KINDS, BAD_GEOMETRY where no such piece can be taken out.
    """
    if kind not in KINDS:
        raise bad_option(f'There is no kind of defect "{kind}". Choose one of: {", ".join(KINDS)}.')
    canonical = to_canonical(skull)
    cavity = Cavity.of(canonical.volume)
    rng = np.random.default_rng([STREAM, seed, KINDS.index(kind)])
    for _ in range(TRIES):
        cuts = _DRAW[kind](cavity, rng)
        pieces = [_piece(canonical.volume, cavity, cut) for cut in cuts]
        if all(_sensible(piece, skull.voxel_mm3, kind) for piece in pieces) and _apart(pieces):
            return canonical.from_canonical(np.logical_or.reduce(pieces))
    raise CalvariaError(ErrorCode.BAD_GEOMETRY, f'No defect of kind "{kind}" fits this volume. Check that it is a skull, in millimetres.')


def _sensible(piece: Mask, voxel_mm3: float, kind: str) -> bool:
    smallest = SMALLEST_SMALL_MM3 if kind in ("small", "two") else SMALLEST_MM3
    return bool(np.count_nonzero(piece) * voxel_mm3 >= smallest)


def _apart(pieces: list[Mask]) -> bool:
    """Whether pieces do not touch each other."""
    if len(pieces) == 1:
        return True
    return int(connected(np.logical_or.reduce(pieces)).max()) == len(pieces)


def _piece(skull: BinaryVolume, cavity: Cavity, cut: Cut) -> Mask:
    """The largest 26-connected piece of bone that a cut takes, with the islands it leaves; bool [X, Y, Z]."""
    taken = np.zeros(skull.shape, dtype=np.bool_)
    box = box_around(cut.blob.corners_mm, skull.affine, skull.shape)
    bone = skull.mask[box]
    voxels = np.argwhere(bone)
    places = (voxels + [span.start for span in box]) @ skull.affine[:3, :3].T + skull.affine[:3, 3]
    inside = np.zeros_like(bone)
    inside[tuple(voxels[cut.takes(cavity, places)].T)] = True
    if inside.any():
        piece = largest_component(inside)
        taken[box] = piece | _islands(bone & ~piece, piece, box, skull)
    return taken


def _islands(rest: Mask, piece: Mask, box: Box, skull: BinaryVolume) -> Mask:
    """Small parts of the remaining bone that hang on nothing but the piece."""
    labels, counts = components(rest)
    islands = counts * skull.voxel_mm3 < FLOATING_MM3
    islands[0] = False
    for axis, (span, count) in enumerate(zip(box, skull.shape, strict=True)):  # what leaves the box may hang on more
        if span.start > 0:
            islands[np.unique(labels.take(0, axis))] = False
        if span.stop < count:
            islands[np.unique(labels.take(-1, axis))] = False
    loose = np.asarray(islands[labels])
    joined = connected(loose | piece)
    at = np.unravel_index(int(np.argmax(piece)), piece.shape)
    return np.asarray(loose & (joined == joined[at]))


def _spheres(cavity: Cavity, rng: np.random.Generator, aim: Points, radius: tuple[float, float, float, float], **limits: float) -> Cut:
    """The published generator, aimed in a direction; `radius` is the primary sphere's mean, deviation, least and most, mm."""
    mean, deviation, least, most = radius
    on_bone = cavity.surface_mm(aim)
    primary = float(np.clip(rng.normal(mean, deviation), least, most))
    centre = on_bone + rng.uniform(-6, 4) * aim
    ways = rng.standard_normal((int(rng.integers(0, 8)), 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    size = mean / 28  # the published proportion of primary and secondary spheres
    secondary = rng.normal(16 * size, 4 * size, len(ways)).clip(0.3 * primary, 0.9 * primary)
    centres = np.vstack([centre, centre + primary * ways])
    radii = np.concatenate([[primary], secondary])
    blob = fused_spheres(centres, radii, float(rng.uniform(1.5, 4.0)) * min(size, 1.0), rng)
    return Cut(blob, on_bone, **limits)


def _side(rng: np.random.Generator) -> float:
    return float(rng.choice([-1.0, 1.0]))


def _anywhere(rng: np.random.Generator, lowest_deg: float = 0.0) -> Points:
    """A direction drawn evenly over the vault, above an elevation."""
    height = rng.uniform(np.sin(np.radians(lowest_deg)), 1)
    return direction(float(rng.uniform(-180, 180)), float(np.degrees(np.arcsin(height))))


PUBLISHED = 28.0, 8.0, 14.0, 46.0


def _random(cavity: Cavity, rng: np.random.Generator) -> list[Cut]:
    return [_spheres(cavity, rng, _anywhere(rng, 5), PUBLISHED)]


def _bilateral(cavity: Cavity, rng: np.random.Generator) -> list[Cut]:
    """Across the midline, from the forehead over the vertex to the back."""
    aim = direction(rng.uniform(-10, 10), rng.uniform(25, 110))
    return [_spheres(cavity, rng, aim, (34.0, 6.0, 24.0, 46.0))]


def _frontoorbital(cavity: Cavity, rng: np.random.Generator) -> list[Cut]:
    """Forehead and upper rim of an orbit on one side."""
    side, azimuth, elevation = _side(rng), rng.uniform(14, 42), rng.uniform(-6, 16)
    aim = direction(side * azimuth, max(elevation, _brow_deg(cavity, side)))
    return [_spheres(cavity, rng, aim, (27.0, 5.0, 19.0, 38.0), depth_mm=32.0, below_mm=22.0)]


def _parietotemporal(cavity: Cavity, rng: np.random.Generator) -> list[Cut]:
    aim = direction(_side(rng) * rng.uniform(65, 125), rng.uniform(5, 40))
    return [_spheres(cavity, rng, aim, (30.0, 6.0, 20.0, 44.0))]


def _two(cavity: Cavity, rng: np.random.Generator) -> list[Cut]:
    first = _anywhere(rng, 5)
    second = first
    while first @ second > np.cos(np.radians(60)):
        second = _anywhere(rng, 5)
    return [_spheres(cavity, rng, aim, (20.0, 5.0, 12.0, 30.0)) for aim in (first, second)]


def _edge(cavity: Cavity, rng: np.random.Generator) -> list[Cut]:
    """Low on the side or the back; where the scan ends within reach, through its cut edge."""
    azimuth = _side(rng) * rng.uniform(75, 180)
    bottom = float(cavity.bone_mm[:, 2].min() - cavity.centre_mm[2])
    level = max(bottom + rng.uniform(0, 14), -42.0)
    aim = direction(azimuth, float(np.degrees(np.arcsin(np.clip(level / cavity.radius_mm, -1, 1)))))
    return [_spheres(cavity, rng, aim, PUBLISHED, below_mm=np.inf)]


def _small(cavity: Cavity, rng: np.random.Generator) -> list[Cut]:
    return [_spheres(cavity, rng, _anywhere(rng, 5), (9.0, 2.0, 6.5, 13.0))]


def _large(cavity: Cavity, rng: np.random.Generator) -> list[Cut]:
    return [_spheres(cavity, rng, _anywhere(rng, 15), (50.0, 5.0, 42.0, 60.0))]


def _cylinder(cavity: Cavity, rng: np.random.Generator) -> list[Cut]:
    """As in SkullFix: a round hole, or a plate with round holes at its corners, cut straight through."""
    aim = _anywhere(rng, 10)
    on_bone = cavity.surface_mm(aim)
    bend = float(rng.uniform(0, 0.8))
    if rng.random() < 0.5:
        return [Cut(cylinder(on_bone, aim, float(rng.uniform(15, 38)), bend, rng), on_bone)]
    size = float(rng.uniform(30, 70)), float(rng.uniform(30, 70))
    return [Cut(plate(on_bone, aim, size, float(rng.uniform(5, 9)), bend, rng), on_bone)]


def _irregular(cavity: Cavity, rng: np.random.Generator) -> list[Cut]:
    """Where splinters were taken out: an outline that goes in and out, cut straight through."""
    aim = _anywhere(rng, 10)
    on_bone = cavity.surface_mm(aim)
    return [Cut(ragged(on_bone, aim, float(rng.uniform(18, 36)), float(rng.uniform(0.5, 2)), rng), on_bone)]


def _orbit(cavity: Cavity, rng: np.random.Generator) -> list[Cut]:
    """An orbit's upper rim with much of its roof."""
    side = _side(rng)
    aim = direction(side * rng.uniform(18, 40), _brow_deg(cavity, side) + rng.uniform(0, 4))
    rim = cavity.surface_mm(aim) - cavity.centre_mm
    return [_spheres(cavity, rng, aim, (24.0, 5.0, 17.0, 34.0), depth_mm=34.0, below_mm=BELOW_BROW_MM - float(rim[2]))]


def _brow_deg(cavity: Cavity, side: float) -> float:
    """Elevation of an orbit's upper rim on one side: below it the outermost bone lies deep inside. USUAL_BROW_DEG where none is found.

    How high it is depends on the head: its middle is that of a sphere through the vault.
    """
    brows = []
    for azimuth in ORBIT_DEG:
        aims = (direction(side * azimuth, each) for each in BROWS_DEG)
        distances = np.array([np.linalg.norm(cavity.surface_mm(aim) - cavity.centre_mm) for aim in aims])
        falls = np.flatnonzero(distances[STEPS:] < distances[:-STEPS] - ORBIT_DEPTH_MM)
        brows += list(BROWS_DEG[falls[:1] + STEPS - 1])
    return float(np.median(brows)) if len(brows) > 1 else USUAL_BROW_DEG


_DRAW: dict[str, Draw] = {
    "bilateral": _bilateral,
    "frontoorbital": _frontoorbital,
    "parietotemporal": _parietotemporal,
    "random_1": _random,
    "random_2": _random,
    "two": _two,
    "edge": _edge,
    "small": _small,
    "large": _large,
    "cylinder": _cylinder,
    "irregular": _irregular,
    "orbit": _orbit,
}
KINDS = tuple(_DRAW)
AUTOIMPLANT_KINDS = "bilateral", "frontoorbital", "parietotemporal", "random_1", "random_2"
TEST_KINDS = KINDS[:10]
"""The five classes of the AutoImplant challenge's SkullBreak, and harder kinds: they take turns, unless kinds are named."""
