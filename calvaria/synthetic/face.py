"""Solids and hollows of skull base and face as signed distances on a lattice. Numbers are mm of the average head."""

from dataclasses import dataclass

import numpy as np

from calvaria.geometry import Field
from calvaria.synthetic.chance import Part, generator
from calvaria.synthetic.sculpture import Point, Sculpture, Space
from calvaria.synthetic.shape import HeadShape

DENTAL_ARCH = ((0.0, -83.0), (12.0, -80.0), (21.0, -70.0), (26.0, -56.0), (28.0, -44.0))
"""The left half of the row of teeth as (x, y), front to back."""

MISSING_TEETH = 0.06


@dataclass(frozen=True)
class Face:
    """Distances in mm, negative inside. Walls between two hollows stay sharp because each hollow is a field of its own."""

    solid: Field
    orbits: Field
    sinuses: Field
    nose: Field
    holes: Field
    frontal: Field  # air within the bone of the forehead
    cells: Field  # where bone is a foam of air cells


class _Sculptor:
    """The solids and hollows in the making, and the chance that shifts their landmarks."""

    def __init__(self, seed: int, space: Space):
        self.space, self.rng = space, generator(seed, Part.FACE)
        self.solid, self.orbits, self.sinuses, self.nose, self.holes, self.frontal, self.cells = (Sculpture(space) for _ in range(7))

    def near(self, x: float, y: float, z: float, spread: float = 1.5) -> Point:
        """A landmark, up to `spread` mm off along each axis; one in the midline stays there."""
        dx, dy, dz = self.rng.uniform(-spread, spread, 3)
        return (x + dx if x else 0.0), y + dy, z + dz


def sculpt_face(head: HeadShape, seed: int, space: Space) -> Face:
    """Base and face of a head."""
    hands = _Sculptor(seed, space)
    _orbits(hands)
    _sinuses(hands)
    _nose(hands)
    _forehead(hands, head.sinus)
    _cheeks(hands)
    _base(hands)
    _jaws(hands, lower=head.jaw)
    orbits, sinuses = hands.orbits.distance, hands.sinuses.distance
    sinuses = np.maximum(sinuses, np.float32(1.1) - orbits)  # a wall between any two hollows
    nose = np.maximum(hands.nose.distance, np.float32(1.0) - np.minimum(orbits, sinuses))
    return Face(hands.solid.distance, orbits, sinuses, nose, hands.holes.distance, hands.frontal.distance, hands.cells.distance)


def _orbits(hands: _Sculptor) -> None:
    apex, opening = hands.near(11, -33, -41), hands.near(32, -68, -46)
    hands.orbits.capsule(apex, opening, 4, 17.2, blend=0)
    front = (-(hands.space.y + 58) - (48 - np.abs(hands.space.x)) * np.float32(0.6)) * np.float32(0.85)
    wall = np.float32(1.2) + np.float32(2.0) * ((np.abs(hands.space.x) - 34) / 10).clip(0, 1)
    hands.solid.add(np.maximum(hands.orbits.distance - wall, front))
    hands.orbits.capsule(opening, (opening[0] + 6, opening[1] - 22, opening[2] - 2), 17.2, 22, blend=0)


def _sinuses(hands: _Sculptor) -> None:
    size = hands.rng.uniform(0.75, 1.05)
    centre = hands.near(27, -60, -76)
    radii = (13 * size, 16 * size, 16 * size)
    hands.sinuses.ellipsoid(centre, radii, blend=0)
    hands.solid.ellipsoid(centre, (radii[0] + 1.8, radii[1] + 1.8, radii[2] + 1.8))
    hands.sinuses.ellipsoid(hands.near(6.5, -22, -50), (6.2, hands.rng.uniform(7, 13), hands.rng.uniform(5, 8.5)), blend=0)


def _nose(hands: _Sculptor) -> None:
    hands.solid.ellipsoid((0, -57, -50), (15.5, 27, 20))
    hands.solid.ellipsoid((0, -54, -76), (17, 30, 18))
    bridge = hands.near(0, -96, -50, 3.0)
    hands.solid.chain([((0, -85, -29), 4.5), (bridge, 2.6)])
    hands.solid.chain([((5, -83, -31), 3.5), ((7, bridge[1] + 8, bridge[2]), 2.2)])
    hands.nose.ellipsoid((0, -54, -76), (13.5, 40, 13))
    hands.nose.capsule((0, -80, -78), (0, -92, -62), 12, 7)
    hands.nose.capsule((0, -30, -74), (0, -18, -82), 12, 13)


def _forehead(hands: _Sculptor, size: float) -> None:
    if size < 0.15:
        return
    for side in (-1, 1):
        share = size * hands.rng.uniform(0.5, 1.25)
        for aside in (6.5, 6.5 + 9 * share, 6.5 + 17 * share):
            centre = hands.near(side * aside, -86, -25, 1.0)
            hands.frontal.ellipsoid(centre, (6.0, 12.0, hands.rng.uniform(4, 16) * share + 2), blend=1, one_side=True)


def _cheeks(hands: _Sculptor) -> None:
    root, bow, front = hands.near(60, -3, -55), hands.near(63.5, -22, -57), hands.near(57, -42, -58)
    cheek, corner = hands.near(48, -58, -60), hands.near(47, -64, -29)
    hands.solid.chain([(root, 4.0), (bow, 2.7), (front, 3.2), (cheek, 6.5)])
    hands.solid.ellipsoid(cheek, (10, 7, 9))
    hands.solid.chain([(cheek, 6.0), ((37, -64, -74), 6.0)])
    hands.solid.chain([(cheek, 5.0), (hands.near(49, -59, -42), 4.2), (corner, 5.5)])
    brow = hands.rng.uniform(0.8, 1.35)
    hands.solid.chain(
        [(corner, 5.5), (hands.near(33, -76, -26), 5.0 * brow), (hands.near(14, -81, -26), 5.5 * brow), ((0, -82, -25), 6 * brow)], 5
    )
    hands.solid.chain([(corner, 5.0), (hands.near(45, -52, -20), 3.5), ((43, -45, -8), 2.0)], 4)  # line of the temple
    hands.solid.ellipsoid(hands.near(37, -45, -40), (7, 9, 13), 4)  # greater wing of the sphenoid
    hands.solid.chain([((9, -82, -30), 3.4), (hands.near(14, -78, -50), 3.0), (hands.near(18, -75, -66), 4.0)])
    hands.solid.chain([((18, -75, -64), 3.0), (hands.near(33, -72, -66), 3.2), (cheek, 4.0)])


def _base(hands: _Sculptor) -> None:
    _temporal_bones(hands)
    solid, near = hands.solid, hands.near
    solid.ellipsoid((0, -20, -49), (14, 17, 10))  # body of the sphenoid
    solid.ellipsoid(near(17, 5, -71), (6, 11, 6))  # condyles
    solid.capsule((0, -8, -48), (0, 0, -65), 8, 6)  # clivus
    solid.chain([((14, -30, -52), 3.5), (near(16, -32, -86), 2.4)])  # pterygoid plates, inner and outer
    solid.chain([((22, -24, -52), 3.0), (near(23, -30, -82), 2.0)])
    hands.cells.ellipsoid((0, -56, -49), (14.6, 26.0, 18.8))  # ethmoid
    _openings(hands)


def _temporal_bones(hands: _Sculptor) -> None:
    """Mastoids and petrous pyramids with their air cells, and the inner ear."""
    solid, cells, near = hands.solid, hands.cells, hands.near
    x, y, z = near(49, 16, -64, 2.5)
    solid.ellipsoid((x, y, z), (10.5, 14, 15), blend=5)
    cells.ellipsoid((x, y, z + 4), (8, 10.5, 12))
    solid.capsule(near(57, 19, -52), near(15, -5, -48), 11, 7.5)
    cells.capsule((50, 14, -52), (32, 4, -52), 6.5, 4.0)
    cells.capsule((60, 14, -54), (55, 24, -42), 6, 4)
    for part in range(3):
        hands.holes.ellipsoid(near(34 - 6 * part, 8 - 4 * part, -46, 2.0), (3.4, 2.2, 2.8), blend=0)


def _openings(hands: _Sculptor) -> None:
    holes, near = hands.holes, hands.near
    holes.capsule(near(0, 18, -90), (0, 18, -50), 15.5, 14.5)  # foramen magnum
    vessels_and_nerves = [near(24, 9, -56), near(19, -5, -60), near(25, -16, -52), near(20, -32, -50)]
    for x, y, z in vessels_and_nerves:
        holes.capsule((x, y, z + 9), (x + 1, y, z - 14), 3.2)
    holes.capsule((74, 1, -55), (42, 4, -54), 4.2)  # ear canals, outer and inner
    holes.capsule((26, 7, -46), (20, 15, -45), 3.0)
    holes.capsule((14, -34, -42), (9, -24, -40), 2.6)  # optic canals


def _jaws(hands: _Sculptor, *, lower: bool) -> None:
    solid, rng = hands.solid, hands.rng
    level = rng.uniform(-98, -93)
    for drop, radius in ((0, 5.5), (-7, 5.0)):
        solid.chain([((x, y, level + drop), radius) for x, y in DENTAL_ARCH])
    solid.ellipsoid((0, -60, level + 3), (24, 23, 3.2))  # palate
    solid.ellipsoid((25, -56, level + 5), (10, 16, 8))
    bite = level - 19
    for share in np.linspace(0.06, 0.98, 8):
        if rng.random() < MISSING_TEETH:
            continue
        x, y = (float(np.interp(share * 4, range(5), along)) for along in zip(*DENTAL_ARCH, strict=True))
        solid.capsule((x, y, level - 7), (x, y - 1, bite), 3.0, 3.4, blend=1)
        if lower:
            solid.capsule((x, y - 1, bite), (x, y, bite - 12), 3.4, 2.6, blend=1)
    if lower:
        _lower_jaw(hands, chin=bite - 20)


def _lower_jaw(hands: _Sculptor, chin: float) -> None:
    solid, near = hands.solid, hands.near
    ramus = [((50, -9, -62), 5.5), (near(48, -6, -82), 4.5), (near(46, -10, chin + 10), 6.0), (near(38, -44, chin), 6.5)]
    solid.chain(ramus)
    solid.chain([((38, -44, chin), 6.5), (near(19, -76, chin - 3), 6.5), ((0, -86, chin - 4), 7.5)])
    solid.chain([((47, -34, -68), 2.5), (near(46, -26, -88), 4.0), ((46, -12, -100), 5.0)])  # coronoid process
    for rise in (6, 12):
        solid.chain([((x * 1.05, y + 1, chin + rise), 5.0) for x, y in DENTAL_ARCH])
