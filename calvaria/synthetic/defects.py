"""Cranial defects from a seed: a piece of the vault or brow is taken out, and what was taken is the implant."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from calvaria.errors import CalvariaError, ErrorCode, bad_option
from calvaria.geometry import to_canonical
from calvaria.synthetic.chance import Part, generator
from calvaria.synthetic.cuts import Cut, outline, solid, spheres, taken
from calvaria.synthetic.vault_map import VaultMap
from calvaria.volume import BinaryVolume

SMALLEST_MM3 = 1500.0
"""No implant is smaller, but those of kind "small"."""
TRIES = 12


@dataclass(frozen=True, eq=False)
class Defect:
    """A skull with a piece missing, and the piece, both on the skull's grid: disjoint, and together the skull."""

    defective: BinaryVolume
    implant: BinaryVolume
    kind: str


Plan = Callable[[VaultMap, np.random.Generator, float], list[Cut]]
"""Makes the cuts of a defect from a vault, chance, and a factor of size."""


def cut_defect(skull: BinaryVolume, seed: int, *kinds: str) -> Defect:
    """Cut a defect of a seed into a skull of any orientation and spacing.

    Among several `kinds` (of DEFECT_KINDS; none named: all) the seed chooses. The same anatomy on a flipped or transposed grid loses the
    same bone.
    Raises CalvariaError BAD_OPTION for another kind, EMPTY_MASK for an empty mask and BAD_GEOMETRY where no bone can be taken out.
    """
    allowed = kinds or DEFECT_KINDS
    for name in allowed:
        if name not in DEFECT_KINDS:
            raise bad_option(f'There is no defect kind "{name}". Choose one of: {", ".join(DEFECT_KINDS)}.')
    if not skull.occupied:
        raise CalvariaError(ErrorCode.EMPTY_MASK, "The volume is empty: there is no skull to cut a defect into.")
    rng = generator(seed, Part.DEFECT)
    chosen = str(rng.choice(allowed))
    plan, smallest = _PLANS[chosen], SMALLEST_MM3 if chosen != "small" else 60.0
    canonical = to_canonical(skull)
    upright = canonical.volume
    vault = VaultMap.of(upright)
    for attempt in range(TRIES):
        lost = taken(upright, vault, plan(vault, rng, 1 + 0.1 * attempt))
        if np.count_nonzero(lost) * skull.voxel_mm3 >= smallest:
            implant = canonical.from_canonical(lost)
            return Defect(skull.like(skull.mask & ~implant), skull.like(implant), chosen)
    raise CalvariaError(ErrorCode.BAD_GEOMETRY, f'No defect of kind "{chosen}" fits this volume. Check that it is a skull, in millimetres.')


def _aim(rng: np.random.Generator, azimuth: tuple[float, float], elevation: tuple[float, float]) -> tuple[float, float]:
    """A direction (azimuth, elevation; degrees) within the ranges, on either side."""
    side = rng.choice([-1, 1])
    return float(side * rng.uniform(*azimuth)), float(rng.uniform(*elevation))


def _outlined(vault: VaultMap, rng: np.random.Generator, aim: tuple[float, float], radius: float, **options: float) -> Cut:
    """An opening whose walls are sawn or broken in any of many ways, but where `options` say."""
    walls = {
        "bevel": rng.uniform(-0.8, 0.8) if rng.random() < 0.5 else 0.0,
        "lean": abs(rng.normal(0, 0.2)),
        "ragged": rng.uniform(0.2, 1.2) if rng.random() < 0.3 else 0.0,
        "corners": float(rng.integers(3, 8)) if rng.random() < 0.2 else 0.0,
    }
    return outline(vault.outermost(*aim), vault.centre_mm, rng, radius, **walls | options)


def _stretch(rng: np.random.Generator, most: float = 1.5) -> float:
    return float(most ** rng.uniform(-1, 1))


def _bilateral(vault: VaultMap, rng: np.random.Generator, size: float) -> list[Cut]:
    if rng.random() < 0.5:  # one opening across the midline
        aim = float(rng.uniform(-12, 12) + 180 * (rng.random() < 0.3)), float(rng.uniform(20, 85))
        return [_outlined(vault, rng, aim, size * rng.uniform(30, 52), waves=0.12, stretch=_stretch(rng))]
    azimuth, elevation = rng.uniform(45, 125), rng.uniform(5, 50)
    radius = size * rng.uniform(18, 36)
    return [_outlined(vault, rng, (side * azimuth, elevation), radius * rng.uniform(0.85, 1.15), waves=0.12) for side in (-1, 1)]


def _frontoorbital(vault: VaultMap, rng: np.random.Generator, size: float) -> list[Cut]:
    radius, stretch = size * rng.uniform(20, 40), _stretch(rng, 1.3)
    return [_outlined(vault, rng, _aim(rng, (8, 55), (-20, 22)), radius, waves=0.12, stretch=stretch, depth=rng.uniform(18, 38))]


def _parietotemporal(vault: VaultMap, rng: np.random.Generator, size: float) -> list[Cut]:
    return [_outlined(vault, rng, _aim(rng, (60, 135), (-5, 48)), size * rng.uniform(26, 50), waves=0.1, stretch=_stretch(rng))]


def _anywhere(rng: np.random.Generator) -> tuple[float, float]:
    """A direction drawn evenly over the upper part of the sphere, from below the brow up."""
    return _aim(rng, (0, 180), (0, 0))[0], float(np.degrees(np.arcsin(rng.uniform(-0.2, 1))))


def _random(vault: VaultMap, rng: np.random.Generator, size: float) -> list[Cut]:
    return [spheres(vault.outermost(*_anywhere(rng)), rng, size)]


def _solid(vault: VaultMap, rng: np.random.Generator, size: float) -> list[Cut]:
    return [solid(vault.outermost(*_anywhere(rng)), vault.centre_mm, rng, size)]


def _irregular(vault: VaultMap, rng: np.random.Generator, size: float) -> list[Cut]:
    waves, stretch = rng.uniform(0.2, 0.35), _stretch(rng, 2.0)
    return [_outlined(vault, rng, _anywhere(rng), size * rng.uniform(16, 42), waves=waves, stretch=stretch, ragged=rng.uniform(0.5, 2.5))]


def _fracture(vault: VaultMap, rng: np.random.Generator, size: float) -> list[Cut]:
    """A star, with splinters gone."""
    star, ragged = rng.uniform(0.15, 0.45), rng.uniform(0.8, 2.5)
    return [_outlined(vault, rng, _anywhere(rng), size * rng.uniform(18, 36), waves=0.15, star=star, ragged=ragged, corners=0.0)]


def _two(vault: VaultMap, rng: np.random.Generator, size: float) -> list[Cut]:
    return [_outlined(vault, rng, _anywhere(rng), size * rng.uniform(12, 30), waves=0.15) for _ in range(2)]


def _small(vault: VaultMap, rng: np.random.Generator, size: float) -> list[Cut]:
    """One hole of 10 to 30 mm, or up to three, as burr holes are."""
    count = int(rng.choice([1, 1, 1, 2, 3]))
    if rng.random() < 0.3:
        return [spheres(vault.outermost(*_anywhere(rng)), rng, size * rng.uniform(0.25, 0.45)) for _ in range(count)]
    return [_outlined(vault, rng, _anywhere(rng), size * rng.uniform(5, 15), waves=0.12) for _ in range(count)]


def _large(vault: VaultMap, rng: np.random.Generator, size: float) -> list[Cut]:
    return [_outlined(vault, rng, _anywhere(rng), size * rng.uniform(45, 64), waves=0.12, stretch=_stretch(rng, 1.3))]


def _craniotomy(vault: VaultMap, rng: np.random.Generator, size: float) -> list[Cut]:
    """A flap sawn out between burr holes."""
    aim, radius = _anywhere(rng), size * rng.uniform(18, 46)
    sawn = _outlined(vault, rng, aim, radius, waves=0.03, corners=float(rng.integers(3, 8)), stretch=_stretch(rng, 1.4), ragged=0.0)
    holes = [
        _outlined(vault, rng, _beside(vault, rng, aim, radius), rng.uniform(5, 8), waves=0.0, ragged=0.0) for _ in range(rng.integers(0, 5))
    ]
    return [sawn, *holes]


def _beside(vault: VaultMap, rng: np.random.Generator, aim: tuple[float, float], away_mm: float) -> tuple[float, float]:
    """The direction of a place about `away_mm` from where another direction meets the bone."""
    turn, apart = rng.uniform(0, 2 * np.pi), np.degrees(0.9 * away_mm / np.linalg.norm(vault.outermost(*aim) - vault.centre_mm))
    elevation = aim[1] + apart * np.sin(turn)
    return float(aim[0] + apart * np.cos(turn) / max(np.cos(np.radians(aim[1])), 0.3)), float(np.clip(elevation, -20, 90))


def _edge(vault: VaultMap, rng: np.random.Generator, size: float) -> list[Cut]:
    """Low on the side or the back, through the edge of the scan where that lies within reach."""
    azimuth = float(rng.choice([-1, 1]) * rng.uniform(60, 180))
    drop = np.degrees(np.arctan2(vault.bottom_mm + 12 - vault.centre_mm[2], 72))
    return [_outlined(vault, rng, (azimuth, float(np.clip(drop, -30, 25))), size * rng.uniform(24, 46), waves=0.12)]


def _orbit(vault: VaultMap, rng: np.random.Generator, size: float) -> list[Cut]:
    """Rim, roof and outer wall of an orbit, with what is above or beside it."""
    return [_outlined(vault, rng, _aim(rng, (15, 62), (-30, -8)), size * rng.uniform(15, 30), waves=0.15, depth=rng.uniform(14, 34))]


_PLANS: dict[str, Plan] = {
    "bilateral": _bilateral,
    "frontoorbital": _frontoorbital,
    "parietotemporal": _parietotemporal,
    "random": _random,
    "solid": _solid,
    "irregular": _irregular,
    "fracture": _fracture,
    "two": _two,
    "small": _small,
    "large": _large,
    "craniotomy": _craniotomy,
    "edge": _edge,
    "orbit": _orbit,
}
DEFECT_KINDS: tuple[str, ...] = tuple(_PLANS)
"""The kinds of defects that can be cut."""
