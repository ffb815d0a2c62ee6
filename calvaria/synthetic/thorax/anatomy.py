"""Where the organs of a chest lie: rods of varying radius along curves, drawn from a seed.

The frame is the average chest's: x left, y posterior, z superior in mm, its origin where the trachea divides. Lengths are those of adults;
nothing is fitted to a data set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from calvaria.synthetic.chance import Part, generator
from calvaria.synthetic.sculpture import Point

ORGANS = "heart", "aorta", "trachea", "oesophagus"
"""Organs in the order of their labels, from 1."""

STEP_MM = 5.0
"""Rods along a curve are about this long."""

LOW_MM, HIGH_MM = (-95.0, -105.0, -160.0), (105.0, 60.0, 90.0)
"""A box that holds the organs of every chest."""

Knot = tuple[float, float, float, float]
"""A point of a curve, and the radius there."""

Rods = Sequence[tuple[Point, float]]


@dataclass(frozen=True)
class Anatomy:
    """One chest: what is laid through each organ, how far its rods blend, and how the chest differs from the average.

    scale    of x, y, z
    bend_mm  standard deviation of a smooth deformation
    relief   amplitude of each organ's surface relief, mm
    """

    curves: Mapping[str, Sequence[Rods]]
    blend_mm: Mapping[str, float]
    scale: NDArray[np.float64]
    bend_mm: float
    relief_mm: Mapping[str, float]


def draw_anatomy(seed: int) -> Anatomy:
    """The chest of a seed."""
    draw = _Draw(generator(seed, Part.THORAX))
    curves = {"heart": _heart(draw), "aorta": _aorta(draw), "trachea": _airways(draw), "oesophagus": _oesophagus(draw)}
    size = draw.rng.uniform(0.85, 1.12)
    return Anatomy(
        {organ: curves[organ] for organ in ORGANS},
        {"heart": 9.0, "aorta": 3.0, "trachea": 2.0, "oesophagus": 1.5},
        size * draw.rng.uniform(0.94, 1.06, 3),
        draw.rng.uniform(1.0, 3.5),
        {"heart": draw.rng.uniform(0.4, 1.6), **{organ: draw.rng.uniform(0.1, 0.7) for organ in ORGANS[1:]}},
    )


@dataclass(frozen=True)
class _Draw:
    rng: np.random.Generator

    def curve(self, *knots: Knot, spread: float = 2.0, width: float = 1.0) -> Rods:
        """A smooth curve through knots, each up to `spread` mm off, its radii `width` times as large and a little uneven."""
        places = np.array(knots, dtype=np.float64)
        places[:, :3] += self.rng.uniform(-spread, spread, (len(knots), 3))
        places[:, 3] *= width * self.rng.uniform(0.93, 1.07, len(knots))
        along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(places[:, :3], axis=0), axis=1))])
        count = max(2, int(np.ceil(along[-1] / STEP_MM)) + 1)
        smooth = CubicSpline(along, places)(np.linspace(0, along[-1], count)) if len(knots) > 2 else places
        return [((x, y, z), max(radius, 1.0)) for x, y, z, radius in smooth.tolist()]

    def width(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))


def _heart(draw: _Draw) -> list[Rods]:
    """Both ventricles to the apex, both atria, and the trunk of the pulmonary artery."""
    width = draw.width(0.85, 1.15)
    apex = draw.rng.uniform(-8, 8)
    return [
        draw.curve((16, -30, -72, 31), (36, -44, -92, 31), (56 + apex, -60, -110, 21), width=width),
        draw.curve((-8, -56, -74, 23), (14, -66, -96, 22), (42 + apex, -72, -112, 17), width=width),
        draw.curve((-27, -38, -60, 20), (-27, -38, -80, 25), (-24, -34, -104, 20), width=width),
        draw.curve((-14, -16, -60, 17), (4, -12, -62, 19), (22, -14, -58, 16), width=width, spread=1.5),
        draw.curve((6, -62, -62, 15), (12, -54, -42, 13.5), width=width),
    ]


def _aorta(draw: _Draw) -> list[Rods]:
    """From the root over the arch and down in front of the spine; the three great vessels' first few cm."""
    width = draw.width(0.82, 1.25)
    height = draw.rng.uniform(-4, 5)
    arch = draw.curve(
        (-2, -38, -46, 16),
        (-13, -43, -28, 16.5),
        (-9, -38, 6 + height, 15),
        (6, -29, 22 + height, 14),
        (21, -9, 25 + height, 13.5),
        (28, 9, 14 + height, 13),
        (28, 19, -8, 12.5),
        (25, 22, -50, 12),
        (20, 25, -100, 11.5),
        (9, 24, -150, 11),
        spread=1.5,
        width=width,
    )
    top = 28 + height
    branches = [
        draw.curve((0, -31, top - 2, 7), (-8, -28, 46, 6.5), (-16, -20, draw.width(54, 72), 6)),
        draw.curve((10, -23, top, 4.5), (13, -19, 46, 4), (14, -14, draw.width(50, 72), 3.8)),
        draw.curve((20, -10, top, 5), (25, -6, 46, 4.8), (29, -4, draw.width(50, 72), 4.5)),
    ]
    return [arch, *branches[: int(draw.rng.integers(1, 4))]]


def _airways(draw: _Draw) -> list[Rods]:
    """The trachea, both main bronchi, and often a lobe's bronchus on each side."""
    width = draw.width(0.8, 1.15)
    wind = draw.curve((0, -14, 78, 9), (-1, -9, 45, 9), (-1, -4, 18, 9.3), (0, 0, 1, 10), width=width, spread=1.2)
    right = draw.curve((-2, 0, 0, 8), (-16, 3, -15, 7.5), (-27, 5, -28, 6.5), (-34, 8, -42, 5.5), width=width, spread=1.2)
    left = draw.curve((2, 0, 0, 7.5), (20, 3, -13, 6.5), (38, 7, -25, 6), (46, 12, -36, 5), width=width, spread=1.2)
    lobes = [draw.curve((-18, 3, -16, 5), (-34, 1, -14, 4)), draw.curve((38, 6, -25, 4.6), (49, -1, -24, 3.8))]
    return [wind, right, left, *lobes[: int(draw.rng.integers(0, 3))]]


def _oesophagus(draw: _Draw) -> list[Rods]:
    """Two rods side by side: wider than deep."""
    width, sway = draw.width(0.75, 1.3), draw.rng.uniform(-3, 3)
    half = draw.width(1.5, 4.0)
    middle = np.array(
        [(3, 7, 75), (6, 9, 40), (6 + sway, 13, 10), (5, 15, -20), (5 + sway, 17, -60), (8, 14, -95), (16, 2, -125), (24, -10, -145)]
    )
    middle = middle + draw.rng.uniform(-1.5, 1.5, middle.shape)
    radii = draw.rng.uniform(5.0, 8.0, len(middle))
    pair = [[(x + side * half, y, z, r) for (x, y, z), r in zip(middle.tolist(), radii.tolist(), strict=True)] for side in (-1, 1)]
    return [draw.curve(*knots, spread=0.4, width=width) for knots in pair]
