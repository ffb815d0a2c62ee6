"""Cases to learn refinement from: an organ, or any body, on a scan's grid, and its mask with mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from calvaria.cores import one_blas_thread
from calvaria.geometry import Field
from calvaria.synthetic.chance import Part, generator
from calvaria.synthetic.lattice import Axis, interpolate
from calvaria.synthetic.thorax.anatomy import ORGANS
from calvaria.synthetic.thorax.bodies import LATTICE_MM, make_body
from calvaria.synthetic.thorax.mistakes import Spacing, mistaken
from calvaria.synthetic.thorax.organs import make_thorax
from calvaria.synthetic.thorax.scan import scan, scan_body
from calvaria.volume import BinaryVolume, Mask

BODY = "body"
BODIES_SHARE = 0.25
"""Share of the cases that show no organ, where nothing else is said."""

RIGHT_SHARE = 0.2
"""Share of the cases that have no mistake."""

DICE = 0.6, 1.0

PIXEL_MM, SLICE_MM = (0.7, 2.0), (0.7, 2.5)
MARGIN_MM = 4.0, 32.0
"""Range of the margin on each side of a body: how far it is to the border should not tell where it ends."""

MOST_VOXELS = 112
"""Most voxels along an axis; of a larger organ a part is seen."""


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
    bodies_share: float = BODIES_SHARE,
    imaged: bool = False,
) -> RefinementCase:
    """The case of a seed.

    organ        which one; by default one by chance, or a body of no organ
    dice         the range in which the Dice of the mask with mistakes lies, if mistakes can be as large or as small
    right_share  how often there is no mistake at all
    bodies_share  how often it is a body of no organ
    imaged       whether the image is made too, which takes longer
    """
    rng = generator(seed, Part.CASE)
    drawn = BODY if rng.random() < bodies_share else str(rng.choice(ORGANS))
    wanted = draw_dice(rng, right_share, dice)
    scene = draw_scene(seed, organ or drawn, imaged=imaged)
    truth = scene.truth
    with one_blas_thread():
        given = mistaken(truth.mask, truth.spacing_mm, generator(seed, Part.MISTAKES), wanted, scene.others)
    return RefinementCase(organ or drawn, truth.like(given), truth, scene.image)


def draw_dice(rng: np.random.Generator, right_share: float = RIGHT_SHARE, dice: tuple[float, float] = DICE) -> float:
    """How right a mask shall be."""
    return 1.0 if rng.random() < right_share else float(rng.uniform(*dice))


@dataclass(frozen=True, eq=False)
class Scene:
    """A body on a scan's grid, what its neighbours occupy there, bool [X, Y, Z], and the image, float32 [X, Y, Z], HU."""

    truth: BinaryVolume
    others: Mask | None
    image: Field | None


def draw_scene(seed: int, organ: str, most_voxels: int = MOST_VOXELS, *, imaged: bool = False) -> Scene:
    """What a seed shows of an organ, or of a "body", on voxels by chance; `most_voxels` along an axis."""
    rng = generator(seed, Part.GRID)
    with one_blas_thread():
        return (_body if organ == BODY else partial(_organ, organ=organ))(seed, draw_spacing(rng), rng, most_voxels, imaged=imaged)


def draw_spacing(rng: np.random.Generator) -> Spacing:
    """Square pixels; slices as far apart or not."""
    pixel = float(np.exp(rng.uniform(*np.log(PIXEL_MM))))
    slices = pixel if rng.random() < 0.3 else float(np.exp(rng.uniform(*np.log(SLICE_MM))))
    return pixel, pixel, slices


def _organ(seed: int, spacing: Spacing, rng: np.random.Generator, most_voxels: int, *, organ: str, imaged: bool) -> Scene:
    thorax = make_thorax(seed)
    low, high = thorax.extent_mm(organ)
    axes = _grid(np.array(low), np.array(high), spacing, rng, most_voxels)
    others = np.logical_or.reduce([thorax.mask(other, axes) for other in ORGANS if other != organ])
    return Scene(_volume(thorax.mask(organ, axes), axes, spacing), others, scan(thorax, axes, seed) if imaged else None)


def _body(seed: int, spacing: Spacing, rng: np.random.Generator, most_voxels: int, *, imaged: bool) -> Scene:
    lattice, distance = make_body(seed)
    inside = np.argwhere(distance < 0)
    low, high = ((corner + np.array(lattice.first)) * lattice.step_mm for corner in (inside.min(0), inside.max(0)))
    first, last = (np.array(node) * lattice.step_mm for node in (lattice.first, np.add(lattice.first, lattice.shape) - 1))
    size = max(1.0, lattice.step_mm / LATTICE_MM)  # large bodies are seen whole, not only in part
    x, y, z = spacing
    spacing = x * size, y * size, z * size
    axes = _grid(low.clip(first + lattice.step_mm, None), high.clip(None, last - lattice.step_mm), spacing, rng, most_voxels)
    depth = interpolate(lattice.matrices(axes), distance)
    return Scene(_volume(np.asarray(depth < 0), axes, spacing), None, scan_body(depth, axes, seed) if imaged else None)


def _volume(mask: Mask, axes: Sequence[Axis], spacing: Spacing) -> BinaryVolume:
    x, y, z = (float(axis[0]) for axis in axes)
    return BinaryVolume.on_grid(mask, spacing, (x, y, z))


def _grid(low: NDArray[np.float64], high: NDArray[np.float64], spacing: Spacing, rng: np.random.Generator, most_voxels: int) -> list[Axis]:
    """Axes over a box, patient mm, and a margin, or over a part of both."""
    axes = []
    for start, stop, mm in zip(low, high, spacing, strict=True):
        start, stop = start - rng.uniform(*MARGIN_MM), stop + rng.uniform(*MARGIN_MM)
        count = min(int((stop - start) / mm) + 1, most_voxels)
        start = rng.uniform(start, max(start, stop - count * mm))
        axes.append((start + mm * np.arange(count)).astype(np.float32))
    return axes
