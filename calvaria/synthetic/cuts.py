"""Shapes of cuts in patient space, as tests on points: what lies inside is taken."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calvaria.synthetic.vault_map import Points, VaultMap, to_patient
from calvaria.volume import BinaryVolume, Mask

VAULT_DEPTH_MM = 20.0
"""Greatest depth, mm, below the outermost bone: thicker than any vault, not as deep as the skull base."""


@dataclass(frozen=True, eq=False)
class Cut:
    """Points [n, 3] (patient mm) for which `takes` is true, less than `reach_mm` from `centre_mm` and `depth_mm` below the surface."""

    centre_mm: Points
    reach_mm: float
    takes: Callable[[Points], NDArray[np.bool_]]
    depth_mm: float = VAULT_DEPTH_MM


class _Waves:
    """A smooth random displacement of points: a sum of plane waves about `length_mm` long, each component of deviation `size_mm`."""

    def __init__(self, rng: np.random.Generator, length_mm: float, size_mm: float, count: int = 5):
        self.vectors = (rng.standard_normal((3, count)) * 2.2 / length_mm).astype(np.float32)
        self.phases = rng.uniform(0, 2 * np.pi, count).astype(np.float32)
        self.shifts = (rng.standard_normal((count, 3)) * size_mm * np.sqrt(2 / count)).astype(np.float32)

    def __call__(self, places: Points) -> Points:
        return np.asarray(np.sin(places @ self.vectors + self.phases) @ self.shifts)


def spheres(on_bone: Points, rng: np.random.Generator, size: float) -> Cut:
    """A sphere of radius N(28, 8) mm about a point near the bone, with up to seven of N(16, 4) mm on its surface, fused and bent."""
    radius = size * float(np.clip(rng.normal(28, 8), 12, 48))
    main = on_bone + rng.normal(0, 4, 3).astype(np.float32)
    count = int(rng.integers(0, 8))
    ways = rng.standard_normal((count, 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    centres = np.concatenate([main[None], main + radius * ways]).astype(np.float32)
    radii = np.concatenate([[radius], size * rng.normal(16, 4, count).clip(6, 26)]).astype(np.float32)
    bend = _Waves(rng, float(rng.uniform(25, 50)), float(rng.uniform(1, 4)))
    fillet = np.float32(4.0)

    def takes(places: Points) -> NDArray[np.bool_]:
        bent = places + bend(places - main)
        total = np.zeros(len(places), dtype=np.float32)
        for centre, r in zip(centres, radii, strict=True):
            total += np.exp(((r - np.linalg.norm(bent - centre, axis=1)) / fillet).clip(-30, 30))
        return total > 1

    return Cut(main, float((np.linalg.norm(centres - main, axis=1) + radii).max()) + 16, takes)


def outline(
    on_bone: Points,
    inside: Points,
    rng: np.random.Generator,
    radius: float,
    *,
    waves: float = 0.1,
    stretch: float = 1.0,
    corners: float = 0.0,
    star: float = 0.0,
    ragged: float = 0.0,
    bevel: float = 0.0,
    lean: float = 0.0,
    depth: float = VAULT_DEPTH_MM,
) -> Cut:
    """An opening about `radius` mm wide from its middle `on_bone`, drawn on the surface and carried inwards.

    Its walls point at a place beneath, between the surface's own centre (walls perpendicular to the bone) and far away (straight walls).
    waves: how much the radius varies around, relative; stretch: aspect ratio; corners: of a rounded polygon, 0 for none;
    star: how far its points reach out, relative; ragged: deviation of the fine edge, mm; bevel: by how many mm the opening widens
    per mm outwards; lean: of the walls to one side, radians.
    """
    normal = on_bone - inside
    curvature = float(np.linalg.norm(normal))
    normal = normal + np.float32(curvature * np.tan(lean)) * _across(normal, rng)
    normal = normal / np.linalg.norm(normal)
    focus_mm = curvature * float(0.75 + rng.exponential(0.5))
    focus = on_bone - np.float32(focus_mm) * normal
    first = _across(normal, rng)
    plane = np.stack([first, np.cross(normal, first)], axis=1).astype(np.float32)
    orders = np.arange(2, 8)
    shape = (waves * rng.standard_normal((2, len(orders))) / (orders / 2) ** 1.6).astype(np.float32)
    turn, points = float(rng.uniform(0, 2 * np.pi)), float(rng.integers(3, 8))
    rough = _Waves(rng, float(rng.uniform(4, 9)), ragged, count=8)

    def takes(places: Points) -> NDArray[np.bool_]:
        if ragged:
            places = places + rough(places - on_bone)
        ray = places - focus
        height = ray @ normal
        across = ray @ plane * np.array([np.sqrt(stretch), 1 / np.sqrt(stretch)], dtype=np.float32)
        angle = np.arctan2(across[:, 1], across[:, 0])
        away = np.float32(focus_mm) * np.arctan2(np.hypot(across[:, 0], across[:, 1]), height)
        around = angle[:, None] * orders.astype(np.float32)
        limit = 1 + np.cos(around) @ shape[0] + np.sin(around) @ shape[1]
        if corners:
            limit = limit * _polygon(angle + turn, corners)
        if star:
            limit = limit * (1 + np.float32(star) * (2 * np.abs(np.cos(points / 2 * angle + turn)) ** 3 - 0.8))
        edge = np.float32(radius) * limit.clip(0.35, 1.8)
        if bevel:
            edge = edge + np.float32(bevel) * (np.linalg.norm(places - inside, axis=1) - np.float32(curvature)).clip(-8, 8)
        return np.asarray(away < edge)

    reach = (radius * 1.8 + 8 * abs(bevel)) * max(stretch, 1 / stretch) ** 0.5
    return Cut(on_bone, reach, takes, depth)


def solid(on_bone: Points, inside: Points, rng: np.random.Generator, size: float) -> Cut:
    """An ellipsoid, a block or a cylinder of any orientation, about 16 to 42 mm from its middle to its faces, at or above the bone."""
    half = size * rng.uniform(16, 42, 3)
    powers = np.array([(2, 2), (8, 8), (2, 8)][int(rng.integers(3))], dtype=np.float32)
    axes, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    outwards = (on_bone - inside) / np.linalg.norm(on_bone - inside)
    middle = (on_bone + rng.uniform(-0.2, 0.45) * half.min() * outwards + rng.normal(0, 4, 3)).astype(np.float32)
    scaled = (axes / half).astype(np.float32)
    bend = _Waves(rng, float(rng.uniform(20, 50)), float(rng.uniform(0, 2)))

    def takes(places: Points) -> NDArray[np.bool_]:
        across = np.abs((places + bend(places - middle) - middle) @ scaled)
        flat = (across[:, :2] ** powers[0]).sum(axis=1) ** (powers[1] / powers[0])
        return np.asarray(flat + across[:, 2] ** powers[1] < 1)

    return Cut(middle, float(np.linalg.norm(half)) + 6, takes, depth_mm=float(rng.uniform(16, 30)))


def cleft(on_bone: Points, inside: Points, rng: np.random.Generator, length: float, width: float, bend: float, burr_mm: float) -> Cut:
    """A gap through the bone about `width` mm wide and `length` mm long on the surface, along a circle of radius `bend` mm.

    burr_mm  radius of round holes on it, of which there are up to three, the gap leading on from both sides of each; 0 for none
    """
    normal = on_bone - inside
    curvature = float(np.linalg.norm(normal))
    normal = normal / curvature
    first = _across(normal, rng)
    plane = np.stack([first, np.cross(normal, first)], axis=1).astype(np.float32)
    wave, phase, swing = rng.uniform(15, 60), rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.0 if burr_mm else 0.5)
    ends = max(length / 2 - burr_mm - 5, 0)
    burrs = rng.uniform(-ends, ends, rng.integers(1, 4) if burr_mm else 0)
    bevel = rng.uniform(0, 0.3)

    def takes(places: Points) -> NDArray[np.bool_]:
        ray = places - inside
        across = ray @ plane
        sideways = np.hypot(across[:, 0], across[:, 1])
        on_surface = across * (curvature * np.arctan2(sideways, ray @ normal) / np.maximum(sideways, 1e-3))[:, None]
        away = np.abs(np.hypot(on_surface[:, 0], on_surface[:, 1] - bend) - bend)
        along = bend * np.arctan2(on_surface[:, 0], bend - on_surface[:, 1])
        raised = np.linalg.norm(ray, axis=1) - curvature  # above the middle's outermost bone
        half = width / 2 * (1 + swing * np.cos(along / wave + phase)) + bevel * raised.clip(0, 6)
        gone = (away < half) & (np.abs(along) < length / 2)
        for burr in burrs:
            gone |= np.hypot(away, along - burr) < burr_mm
        return np.asarray(gone)

    return Cut(on_bone, length / 2 + width + burr_mm + 8, takes)


def ragged_ball(
    middle: Points, rng: np.random.Generator, radius: float, ragged: float, within: Callable[[Points], NDArray[np.bool_]]
) -> Cut:
    """A ball whose surface wanders by `ragged` mm over some millimetres; of it, the places `within`, however deep."""
    rough = _Waves(rng, float(rng.uniform(3, 7)), ragged, count=8)

    def takes(places: Points) -> NDArray[np.bool_]:
        return np.asarray((np.linalg.norm(places + rough(places - middle) - middle, axis=1) < radius) & within(places))

    return Cut(middle, radius + 4 * ragged, takes, depth_mm=np.inf)


def taken(skull: BinaryVolume, vault: VaultMap, cuts: list[Cut]) -> Mask:
    """The bone that the cuts take, bool [X, Y, Z]; only voxels near them are looked at."""
    lost = np.zeros(skull.shape, dtype=np.bool_)
    per_mm = np.linalg.norm(np.linalg.inv(skull.affine[:3, :3]), axis=1)
    for cut in cuts:
        middle = np.linalg.solve(skull.affine, [*cut.centre_mm.tolist(), 1.0])[:3]
        low = np.floor(middle - cut.reach_mm * per_mm).astype(int).clip(0)
        high = (np.ceil(middle + cut.reach_mm * per_mm).astype(int) + 1).clip(0)
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        voxels = np.argwhere(skull.mask[box])
        places = to_patient(skull.affine, voxels + low)
        inside = voxels[cut.takes(places) & (vault.depth_mm(places) < cut.depth_mm)]
        lost[box][tuple(inside.T)] = True
    return lost


def _across(normal: Points, rng: np.random.Generator) -> Points:
    """A unit vector at right angles to another."""
    vector = np.cross(normal, rng.standard_normal(3))
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def _polygon(angle: Points, corners: float) -> Points:
    """Radius of a regular polygon with rounded corners, about 1, at angles."""
    wedge = 2 * np.pi / corners
    edge = 1 / np.cos((angle % wedge) - wedge / 2)
    return np.asarray(np.minimum(edge, 1 + 0.55 * (1 / np.cos(wedge / 2) - 1)) * np.float32(0.92))
