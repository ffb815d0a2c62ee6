"""The brain case: its outer surface as a signed distance, and the thickness of its bone, on a lattice in the head's frame."""

import numpy as np

from calvaria.geometry import Field
from calvaria.synthetic.chance import Part, generator
from calvaria.synthetic.lattice import Reals
from calvaria.synthetic.shape import HeadShape

WAVES = 4


def _bump(t: Reals, width: float) -> Field:
    """1 where t is 0, falling to 1/e at `width`."""
    return np.asarray(np.exp(-np.square(t / np.float32(width))), dtype=np.float32)


def outer_surface(head: HeadShape, x: Field, y: Field, z: Field) -> Field:
    """Distance to the outer surface of the brain case, mm, negative inside. x, y, z: head's frame, mm."""
    half_length, half_width = head.length / 2, head.width / 2
    aside = np.abs(x)
    y = y + np.float32(head.skew) * x
    from_widest = (y - np.float32(head.widest_y)) / np.float32(half_length)
    taper = np.where(from_widest < 0, np.float32(head.frontal_taper), np.float32(head.occipital_taper)) * from_widest**2
    across = x / (np.float32(half_width) * (1 - 0.75 * taper))
    along = y / np.float32(half_length)
    top = np.float32(head.height) * (1 + np.float32(head.vertex_shift) * along.clip(-1, 1))
    up = np.where(z > 0, z / top, z / np.float32(head.depth))
    along = along + np.float32(head.forehead_slope) * up.clip(0, 1) ** 2 * along.clip(-1, 0)

    seen_above, seen_in_front = (np.float32(e) for e in head.exponents)
    to_the_side, to_the_ends = np.abs(across) ** seen_above, np.abs(along) ** seen_above
    ring = to_the_side + to_the_ends
    below = (-z / np.float32(30)).clip(0, 1)
    walls = seen_in_front + (np.float32(head.side_walls) - seen_in_front) * below * to_the_side / np.maximum(ring, np.float32(1e-3))
    level = (ring ** (walls / seen_above) + np.abs(up) ** walls) ** (1 / walls)
    radius = np.sqrt(x * x + y * y + z * z)
    distance = radius * (1 - 1 / np.maximum(level, np.float32(0.05)))

    frontal, parietal = head.bosses
    bulge = np.float32(frontal) * _bump(aside - 30, 18) * _bump(y + half_length - 12, 25) * _bump(z - 22, 20)
    bulge += np.float32(parietal) * _bump(aside - half_width + 12, 22) * _bump(y - 28, 26) * _bump(z - 32, 22)
    bump, wide = head.occiput
    bulge += np.float32(bump) * _bump(aside, wide) * _bump(y - half_length + 5, 22) * _bump(z + 12, 0.65 * wide)
    side = np.copysign(0.6 * half_width, head.flat_side)
    bulge -= np.float32(abs(head.flat_side)) * _bump(x - side, 34) * _bump(y - half_length + 22, 36) * _bump(z - 12, 44)
    bulge += np.float32(head.keel) * _bump(aside, 14) * _bump(z - head.height, 30)
    bulge -= np.float32(head.temple_pinch) * _bump(aside - half_width + 12, 24) * _bump(y + 46, 22) * _bump(z + 26, 26)
    bulge += np.float32(2.5) * _bump(aside - 14, 16) * _bump(y + half_length, 18) * _bump(z + 24, 9)
    return np.asarray(distance - bulge, dtype=np.float32)


def thickness(head: HeadShape, x: Field, y: Field, z: Field) -> Field:
    """Thickness of the brain case's bone near its surface, mm. x, y, z: head's frame, mm."""
    half_length, half_width = head.length / 2, head.width / 2
    aside = np.abs(x)
    factor = 1 + np.float32(0.12) * _bump(z - head.height, 40) + np.float32(0.3) * _bump(y + half_length, 32)
    ends = np.square(y / np.float32(half_length)) - np.square(x / np.float32(half_width))
    factor += np.float32(head.thick_ends) * ends.clip(-1.2, 1.2)
    factor -= np.float32(head.thin_temples) * _bump(aside - half_width, 24) * _bump(y + 18, 46) * _bump(z + 30, 30)
    factor -= np.float32(0.45) * _bump(aside - 28, 18) * _bump(y - 55, 22) * _bump(z + 60, 18)
    factor += np.float32(head.thick_sides) * x / np.float32(half_width)
    bone = np.float32(head.thickness) * factor
    bone += np.float32(5.0 * head.sinus) * _bump(aside - 11, 17) * _bump(y + half_length, 26) * _bump(z + 20, 13)
    frontal, occipital = head.crest
    bone += np.float32(frontal) * _bump(aside, 3.2) * (y < 0) * _bump(z + 2, 26)
    bone += np.float32(occipital) * _bump(aside, 9) * (y > 0) * _bump(z + 28, 30)
    bone += np.float32(3.5) * _bump(aside, 13) * (y > 0) * _bump(z + 22, 14)
    bone += np.float32(2.0) * (y > 30) * _bump(z + 26, 7) * _bump(aside, 60)
    return bone


def relief(seed: int, x: Field, y: Field, z: Field) -> Field:
    """Irregularities that both sides share, of unit amplitude and 60 to 160 mm long. x, y, z: head's frame, mm."""
    rng = generator(seed, Part.RELIEF)
    total = np.zeros_like(x)
    for _ in range(WAVES):
        length, way, phases = rng.uniform(60, 160), rng.standard_normal(3), rng.uniform(0, 2 * np.pi, 2)
        kx, ky, kz = (2 * np.pi / length * way / np.linalg.norm(way)).astype(np.float32)
        total += np.cos(kx * np.abs(x) + np.float32(phases[0])) * np.cos(ky * y + kz * z + np.float32(phases[1]))
    return np.asarray(total, dtype=np.float32)
