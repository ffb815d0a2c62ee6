"""Bodies of no particular organ, so that what is learned of masks holds for any: round ones, lumps, branching tubes, sheets and others."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from calvaria.geometry import Field
from calvaria.synthetic.chance import Part, generator
from calvaria.synthetic.lattice import Lattice, Noise
from calvaria.synthetic.sculpture import Point, Sculpture, Space

EDGE_MM = 110.0
LATTICE_MM = 2.0
"""Step of the lattice of bodies, which lie around the origin in a cube of EDGE_MM; some fill it."""

SIZES = 0.5, 2.2
"""Range of the factor by which a body is then scaled: a round may be as large as a head's inside."""


def make_body(seed: int) -> tuple[Lattice, Field]:
    """The body of a seed: its signed distance on a lattice, negative inside, about mm. It is never empty."""
    rng = generator(seed, Part.BODY)
    space = _space(rng)
    kind = list(KINDS)[int(rng.choice(len(KINDS), p=list(SHARES.values())))]
    distance = KINDS[kind](space, rng)
    relief = Noise(rng, rng.uniform(4, 14)).on(space.lattice.axes_mm())
    distance = distance + np.float32(rng.uniform(0, 0.8)) * relief
    size = float(rng.uniform(*SIZES))
    lattice = replace(space.lattice, step_mm=space.lattice.step_mm * size)
    return lattice, np.float32(size) * (distance if distance.min() < -1 else _ball(space))


def _ball(space: Space) -> Field:
    """A ball, in place of a body that openings took whole."""
    return np.asarray(np.sqrt(space.x**2 + space.y**2 + space.z**2) - 20)


def _space(rng: np.random.Generator) -> Space:
    """A turned and gently bent frame, so that no body lies along the axes."""
    half = EDGE_MM / 2
    lattice = Lattice.over([-half] * 3, [half] * 3, LATTICE_MM)
    axes = lattice.axes_mm()
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    grids = np.ix_(*axes)
    bend = np.float32(rng.uniform(0, 4))
    x, y, z = (sum(np.float32(c) * grid for c, grid in zip(row, grids, strict=True)) + bend * Noise(rng, 35.0).on(axes) for row in turn)
    return Space(lattice, x, y, z, np.column_stack([turn.T, np.zeros(3)]))


def _round(space: Space, rng: np.random.Generator) -> Field:
    """Nearly convex and smooth, with a shallow bulge or hollow: what sticks out of it, or is bitten off, does not belong there."""
    radii = (EDGE_MM / 2 * rng.uniform(0.55, 0.95) * rng.uniform(0.65, 1.0, 3)).astype(np.float32)
    power = np.float32(rng.uniform(1.8, 3.2))
    along = [np.abs(each) / radius for each, radius in zip((space.x, space.y, space.z), radii, strict=True)]
    distance = (sum(each**power for each in along) ** (1 / power) - 1) * radii.min()
    for _ in range(int(rng.integers(0, 4))):
        way = rng.standard_normal(3)
        centre = _point(radii * way / np.linalg.norm(way))
        x, y, z = space.offsets((slice(None), slice(None), slice(None)), centre)
        bump = np.exp(-(x * x + y * y + z * z) / np.float32(2 * rng.uniform(10, 25) ** 2))
        distance += np.float32(rng.uniform(-7, 7)) * bump
    return np.asarray(distance)


def _lump(space: Space, rng: np.random.Generator) -> Field:
    """Fused ellipsoids."""
    body = Sculpture(space, mirrored=False)
    size = rng.uniform(12, 40)
    for _ in range(int(rng.integers(1, 7))):
        radii = size * rng.uniform(0.3, 1.0, 3)
        body.ellipsoid(_point(rng.normal(0, 0.6 * size, 3)), _point(radii), blend=float(rng.uniform(1, 10)))
    return body.distance


def _cloud(space: Space, rng: np.random.Generator) -> Field:
    """What exceeds a threshold of noise: lumps with bays, tunnels and hollows, reaching beyond the grid."""
    grain = rng.uniform(9, 28)
    noise = Noise(rng, grain).on(space.lattice.axes_mm()) - np.float32(rng.uniform(-0.3, 0.6))
    return np.asarray(-noise * np.float32(grain * 0.6))


def _tree(space: Space, rng: np.random.Generator) -> Field:
    """Tubes that divide, thinner with every branch."""
    body = Sculpture(space, mirrored=False)
    tips = [(rng.normal((0, 0, -45), 10), np.array([0.0, 0.0, 1.0]), rng.uniform(4, 12))]
    for _ in range(int(rng.integers(4, 14))):
        start, heading, radius = tips.pop(0)
        for _ in range(int(rng.integers(1, 3))):
            turned = heading + rng.normal(0, 0.55, 3)
            turned /= np.linalg.norm(turned)
            end = start + turned * rng.uniform(14, 34)
            thinner = max(radius * rng.uniform(0.65, 1.0), 1.5)
            body.capsule(_point(start), _point(end), float(radius), float(thinner), blend=1.5)
            tips.append((end, turned, thinner))
    return body.distance


def _sheet(space: Space, rng: np.random.Generator) -> Field:
    """A bent plate, here and there with a hole."""
    axes = space.lattice.axes_mm()
    grain = rng.uniform(22, 45)
    bent = space.z + Noise(rng, grain).on(axes) * np.float32(rng.uniform(3, 12))
    thick = rng.uniform(1.2, 5) * (1 + np.float32(rng.uniform(0, 0.4)) * Noise(rng, 14.0).on(axes))
    outline = np.sqrt(space.x**2 + space.y**2) - np.float32(rng.uniform(20, 60))
    return np.asarray(np.maximum(np.abs(bent) - thick, outline))


def _shell(space: Space, rng: np.random.Generator) -> Field:
    """The wall of a lump, with openings where noise is high."""
    outer = _lump(space, rng)
    wall = rng.uniform(2.0, 7.0)
    shell = np.maximum(outer, -outer - np.float32(wall))
    openings = (Noise(rng, rng.uniform(8, 25)).on(space.lattice.axes_mm()) - np.float32(rng.uniform(1.0, 2.5))) * 8
    return np.asarray(np.maximum(shell, openings))


def _box(space: Space, rng: np.random.Generator) -> Field:
    """A block with rounded edges: flat faces and corners stay as they are."""
    half = rng.uniform(6, 35, 3).astype(np.float32)
    edge = np.float32(rng.uniform(0.5, 5))
    over = [np.abs(along) - h + edge for along, h in zip((space.x, space.y, space.z), half, strict=True)]
    outside = np.sqrt(sum(np.square(each.clip(0, None)) for each in over))
    return np.asarray(outside + np.maximum.reduce(over).clip(None, 0) - edge)


def _point(values: np.ndarray) -> Point:
    x, y, z = values.tolist()
    return x, y, z


KINDS: Mapping[str, Callable[[Space, np.random.Generator], Field]] = {
    "round": _round,
    "lump": _lump,
    "cloud": _cloud,
    "tree": _tree,
    "sheet": _sheet,
    "shell": _shell,
    "box": _box,
}
SHARES = {"round": 0.65, "lump": 0.1, "cloud": 0.08, "tree": 0.06, "sheet": 0.03, "shell": 0.05, "box": 0.03}
