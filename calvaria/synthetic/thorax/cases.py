"""Cases to learn refinement from: an organ, or any body, on a scan's grid, and its mask with mistakes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calvaria.synthetic.chance import Part, generator
from calvaria.synthetic.lattice import Axis, Field, interpolate
from calvaria.synthetic.thorax.anatomy import ORGANS
from calvaria.synthetic.thorax.bodies import EDGE_MM, make_body
from calvaria.synthetic.thorax.mistakes import Spacing, mistaken
from calvaria.synthetic.thorax.organs import make_thorax
from calvaria.volume import BinaryVolume, Mask

BODY = "body"
BODIES_SHARE = 0.5
"""Share of the cases that show no organ."""

RIGHT_SHARE = 0.15
"""Share of the cases that have no mistake."""

DICE = 0.6, 1.0

PIXEL_MM, SLICE_MM = (0.7, 2.0), (0.7, 2.5)
MARGIN_MM = 8.0, 16.0
MOST_VOXELS = 104
"""Along an axis: of a larger organ a part is seen."""


@dataclass(frozen=True, eq=False)
class RefinementCase:
    """A mask with mistakes, and the right one, on one grid; `organ` is one of ORGANS or "body".

    image  float32 [X, Y, Z] of the same grid, HU; None: none was asked for
    """

    organ: str
    given: BinaryVolume
    truth: BinaryVolume
    image: Field | None = None


def make_case(seed: int, organ: str | None = None, dice: tuple[float, float] = DICE, right_share: float = RIGHT_SHARE) -> RefinementCase:
    """The case of a seed.

    organ        which one; by default one by chance, or, as often, a body of no organ
    dice         the range in which the Dice of the mask with mistakes lies, if mistakes can be as large or as small
    right_share  how often there is no mistake at all
    """
    rng = generator(seed, Part.CASE)
    drawn = BODY if rng.random() < BODIES_SHARE else str(rng.choice(ORGANS))
    organ = organ or drawn
    spacing = draw_spacing(rng)
    axes, truth, others = _body(seed, spacing, rng) if organ == BODY else _organ(seed, organ, spacing, rng)
    wanted = 1.0 if rng.random() < right_share else float(rng.uniform(*dice))
    given = mistaken(truth, spacing, generator(seed, Part.MISTAKES), wanted, others)
    volume = BinaryVolume.on_grid(truth, spacing, (float(axes[0][0]), float(axes[1][0]), float(axes[2][0])))
    return RefinementCase(organ, volume.like(given), volume)


def draw_spacing(rng: np.random.Generator) -> Spacing:
    """Square pixels; slices as far apart or not."""
    pixel = float(np.exp(rng.uniform(*np.log(PIXEL_MM))))
    slices = pixel if rng.random() < 0.3 else float(np.exp(rng.uniform(*np.log(SLICE_MM))))
    return pixel, pixel, slices


def _organ(seed: int, organ: str, spacing: Spacing, rng: np.random.Generator) -> tuple[list[Axis], Mask, Mask]:
    """The grid around an organ, its mask there, and what its neighbours occupy."""
    thorax = make_thorax(seed)
    low, high = thorax.extent_mm(organ)
    axes = _grid(np.array(low), np.array(high), spacing, rng)
    neighbours = [thorax.mask(other, axes) for other in ORGANS if other != organ]
    return axes, thorax.mask(organ, axes), np.logical_or.reduce(neighbours)


def _body(seed: int, spacing: Spacing, rng: np.random.Generator) -> tuple[list[Axis], Mask, None]:
    lattice, distance = make_body(seed)
    inside = np.argwhere(distance < 0)
    if not len(inside):
        return _body(seed + 1, spacing, rng)
    low, high = ((corner + np.array(lattice.first)) * lattice.step_mm for corner in (inside.min(0), inside.max(0)))
    axes = _grid(low.clip(-EDGE_MM / 2, None), high.clip(None, EDGE_MM / 2), spacing, rng, inside=True)
    return axes, np.asarray(interpolate(lattice.matrices(axes), distance) < 0), None


def _grid(
    low: NDArray[np.float64], high: NDArray[np.float64], spacing: Spacing, rng: np.random.Generator, *, inside: bool = False
) -> list[Axis]:
    """Axes over a box, patient mm, and a margin; with `inside` none, so that what fills the box reaches beyond the field of view."""
    axes = []
    for start, stop, mm in zip(low, high, spacing, strict=True):
        start, stop = start - rng.uniform(*MARGIN_MM), stop + rng.uniform(*MARGIN_MM)
        count = min(int((stop - start) / mm) + 1, MOST_VOXELS)
        start = rng.uniform(start, max(start, stop - count * mm))
        axes.append((start + mm * np.arange(count)).astype(np.float32))
    return axes
