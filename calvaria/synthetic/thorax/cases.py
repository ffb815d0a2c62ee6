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
from calvaria.synthetic.thorax.scan import scan, scan_body
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


def make_case(
    seed: int,
    organ: str | None = None,
    dice: tuple[float, float] = DICE,
    right_share: float = RIGHT_SHARE,
    *,
    imaged: bool = False,
) -> RefinementCase:
    """The case of a seed.

    organ        which one; by default one by chance, or, as often, a body of no organ
    dice         the range in which the Dice of the mask with mistakes lies, if mistakes can be as large or as small
    right_share  how often there is no mistake at all
    imaged       whether the image is made too, which takes longer
    """
    rng = generator(seed, Part.CASE)
    drawn = BODY if rng.random() < BODIES_SHARE else str(rng.choice(ORGANS))
    organ = organ or drawn
    spacing = draw_spacing(rng)
    scene = _body(seed, spacing, rng, imaged) if organ == BODY else _organ(seed, organ, spacing, rng, imaged)
    wanted = 1.0 if rng.random() < right_share else float(rng.uniform(*dice))
    given = mistaken(scene.truth, spacing, generator(seed, Part.MISTAKES), wanted, scene.others)
    x, y, z = (float(axis[0]) for axis in scene.axes)
    volume = BinaryVolume.on_grid(scene.truth, spacing, (x, y, z))
    return RefinementCase(organ, volume.like(given), volume, scene.image)


def draw_spacing(rng: np.random.Generator) -> Spacing:
    """Square pixels; slices as far apart or not."""
    pixel = float(np.exp(rng.uniform(*np.log(PIXEL_MM))))
    slices = pixel if rng.random() < 0.3 else float(np.exp(rng.uniform(*np.log(SLICE_MM))))
    return pixel, pixel, slices


@dataclass(frozen=True, eq=False)
class _Scene:
    """What lies on a grid: the body asked about, what its neighbours occupy, and the image."""

    axes: list[Axis]
    truth: Mask
    others: Mask | None
    image: Field | None


def _organ(seed: int, organ: str, spacing: Spacing, rng: np.random.Generator, imaged: bool) -> _Scene:
    thorax = make_thorax(seed)
    low, high = thorax.extent_mm(organ)
    axes = _grid(np.array(low), np.array(high), spacing, rng)
    neighbours = [thorax.mask(other, axes) for other in ORGANS if other != organ]
    image = scan(thorax, axes, seed) if imaged else None
    return _Scene(axes, thorax.mask(organ, axes), np.logical_or.reduce(neighbours), image)


def _body(seed: int, spacing: Spacing, rng: np.random.Generator, imaged: bool) -> _Scene:
    lattice, distance = make_body(seed)
    inside = np.argwhere(distance < 0)
    low, high = ((corner + np.array(lattice.first)) * lattice.step_mm for corner in (inside.min(0), inside.max(0)))
    axes = _grid(low.clip(-EDGE_MM / 2, None), high.clip(None, EDGE_MM / 2), spacing, rng)
    depth = interpolate(lattice.matrices(axes), distance)
    return _Scene(axes, np.asarray(depth < 0), None, scan_body(depth, axes, seed) if imaged else None)


def _grid(low: NDArray[np.float64], high: NDArray[np.float64], spacing: Spacing, rng: np.random.Generator) -> list[Axis]:
    """Axes over a box, patient mm, and a margin, or over a part of both."""
    axes = []
    for start, stop, mm in zip(low, high, spacing, strict=True):
        start, stop = start - rng.uniform(*MARGIN_MM), stop + rng.uniform(*MARGIN_MM)
        count = min(int((stop - start) / mm) + 1, MOST_VOXELS)
        start = rng.uniform(start, max(start, stop - count * mm))
        axes.append((start + mm * np.arange(count)).astype(np.float32))
    return axes
