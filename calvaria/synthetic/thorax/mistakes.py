"""What dense networks get wrong about an organ, drawn: as a field by which the organ's surface is moved, and a coarse grid it is seen on.

Leaks and missing pieces are bumps and dents, smooth or irregular, ragged borders and uneven ones are noise, a missing end is a plane,
slices too large or too small are steps, islands are bumps far out. All of it grows with one strength, which is chosen such that the mask
is as wrong as wanted; or whole pieces are added and bitten off one after another, until it is.
"""

from dataclasses import dataclass

import edt
import numpy as np
from numpy.typing import NDArray

from calvaria.geometry import Box, Field
from calvaria.synthetic.lattice import Axis, Noise
from calvaria.volume import Mask

Spacing = tuple[float, float, float]

STRONGEST = 4.0
BISECTIONS = 9
FIRM = 0.7
"""Share of masks whose surface is mostly in its place: pieces are wrong, not borders all over, which nothing in a mask tells."""

PIECES_SHARE = 0.6
"""Share of the masks that are wrong in whole pieces, and right elsewhere."""

PIECES = 2, 14
"""Range of the number of wrong pieces, about."""

LARGE_MM, LARGE_SHARE = 25.0, 0.7
"""Largest mistakes: LARGE_MM or, in larger bodies, this share of their depth."""

FAR_MM = 1e3
"""Moved out or in this far, a place is inside, or outside, whatever it was."""


@dataclass(frozen=True)
class Mistakes:
    """How a mask goes wrong.

    shift  float32 [X, Y, Z]: by how many mm the surface is moved out, at strength 1
    steps  over how many voxels along each axis one value is repeated: the staircase of a coarse grid
    """

    shift: Field
    steps: tuple[int, int, int]

    def moved(self, depth: Field, strength: float) -> Field:
        """A signed distance [X, Y, Z], positive inside, mm, once the mistakes are made."""
        field = depth + np.float32(strength) * self.shift
        for axis, step in enumerate(self.steps):
            if step > 1:
                index = (np.arange(field.shape[axis]) // step * step + step // 2).clip(max=field.shape[axis] - 1)
                field = field.take(index, axis)
        return field


def mistaken(truth: Mask, spacing_mm: Spacing, rng: np.random.Generator, dice: float, others: Mask | None = None) -> Mask:
    """A mask [X, Y, Z] with mistakes, of about this Dice against the truth; a mask that is empty, or of Dice 1, stays as it is.

    others  what organs beside it occupy: leaks prefer to go there
    """
    if dice >= 1 or not truth.any():
        return truth.copy()
    depth = depth_mm(truth, spacing_mm)
    if rng.random() < PIECES_SHARE:
        return _in_pieces(truth, depth, spacing_mm, rng, dice, others)
    mistakes = draw_mistakes(depth, spacing_mm, rng, others)
    return np.asarray(mistakes.moved(depth, _strength(mistakes, depth, truth, dice)) > 0)


def _in_pieces(truth: Mask, depth: Field, spacing_mm: Spacing, rng: np.random.Generator, dice: float, others: Mask | None) -> Mask:
    """Frayed ellipsoids on the surface, each all inside or all outside, until the Dice is as wanted; then steps, mostly none."""
    axes = _axes_mm(depth, spacing_mm)
    count = float(np.exp(rng.uniform(*np.log(PIECES))))
    mm3 = 2 * (1 - dice) * np.count_nonzero(truth) * np.prod(spacing_mm) / count  # half of an ellipsoid counts
    radius, leaks = (3 * mm3 / (2 * np.pi)) ** (1 / 3), float(rng.random())
    mistakes = Mistakes(np.zeros_like(depth), _steps(spacing_mm, rng, max(float(depth.max()), 2.0)) if rng.random() < 0.3 else (1, 1, 1))
    surface = _surface(depth, spacing_mm)
    wrong = mistakes.moved(depth, 1) > 0
    for _ in range(4 * PIECES[1]):
        if not len(surface) or dice_of(wrong, truth) <= dice:
            break
        _piece(mistakes.shift, axes, surface[rng.integers(len(surface))], rng, radius * (1 if rng.random() < leaks else -1), others)
        wrong = mistakes.moved(depth, 1) > 0
    return np.asarray(wrong)


def _axes_mm(depth: Field, spacing_mm: Spacing) -> list[Axis]:
    return [(np.arange(count) * mm).astype(np.float32) for count, mm in zip(depth.shape, spacing_mm, strict=True)]


def _surface(depth: Field, spacing_mm: Spacing) -> NDArray[np.intp]:
    """The voxels [N, 3] on both sides of the surface; their centres lie up to a voxel's edge from the other side's."""
    return np.argwhere(np.abs(depth) < 1.01 * max(spacing_mm))


def depth_mm(mask: Mask, spacing_mm: Spacing) -> Field:
    """float32 [X, Y, Z]: each voxel's distance to the mask's surface, half-way between voxel centres, positive inside, mm."""
    solid = np.asfortranarray(mask)
    return np.ascontiguousarray(edt.edt(solid, anisotropy=spacing_mm) - edt.edt(~solid, anisotropy=spacing_mm), dtype=np.float32)


def dice_of(a: Mask, b: Mask) -> float:
    """Dice coefficient; 1 where both are empty."""
    return 2 * int(np.count_nonzero(a & b)) / max(1, int(np.count_nonzero(a) + np.count_nonzero(b))) if a.any() or b.any() else 1.0


def draw_mistakes(depth: Field, spacing_mm: Spacing, rng: np.random.Generator, others: Mask | None = None) -> Mistakes:
    """The mistakes of a network that sees a body of this signed distance [X, Y, Z], mm."""
    axes = _axes_mm(depth, spacing_mm)
    thick = max(float(depth.max()), 2.0)
    size = min(thick, max(LARGE_MM, LARGE_SHARE * thick))  # as a body is thick, up to a size that networks still get wrong
    firm = rng.random() < FIRM
    shift = np.float32(0.15 if firm else 1.0) * _unevenness(axes, rng, size, max(spacing_mm))
    surface = _surface(depth, spacing_mm)
    if len(surface):
        for centre in _some(surface, rng, rng.integers(0, 4)):
            _bump(shift, axes, centre, rng, size, others if rng.random() < 0.6 else None)
        for centre in _some(surface, rng, rng.integers(0, 4)):
            _bump(shift, axes, centre, rng, -size, None)
        for centre in _some(surface, rng, rng.integers(2, 9) if firm else rng.integers(0, 4)):
            _clump(shift, axes, centre, rng, size)
        for centre in _some(surface, rng, rng.integers(0, 3)):
            _ragged(shift, axes, centre, rng)
        for _ in range(int(rng.integers(0, 4))):
            _slices(shift, surface, rng)
        if rng.random() < 0.25:
            _cut(shift, axes, surface, rng)
        for _ in range(int(rng.integers(0, 3))):
            _island(shift, depth, axes, rng, size)
    return Mistakes(shift, _steps(spacing_mm, rng, thick))


def _unevenness(axes: list[Axis], rng: np.random.Generator, size: float, voxel_mm: float) -> Field:
    """Ragged borders, and whole parts seen too large or too small."""
    fine = Noise(rng, max(rng.uniform(1.5, 5.0), voxel_mm)).on(axes) * np.float32(0.12 * size * rng.uniform(0, 1))
    wide = Noise(rng, rng.uniform(8.0, 30.0)).on(axes) * np.float32(0.15 * size * rng.uniform(0, 1))
    bias = rng.normal(0, 0.05 * size)
    return np.asarray(fine + wide + np.float32(bias))


def _some(places: NDArray[np.intp], rng: np.random.Generator, count: np.integer | int) -> NDArray[np.intp]:
    return places[rng.integers(0, len(places), int(count))]


def _bump(shift: Field, axes: list[Axis], centre: NDArray[np.intp], rng: np.random.Generator, height_mm: float, only: Mask | None) -> None:
    """An ellipsoidal region in which the surface is moved out (or in), most in its middle; with `only`, within that alone."""
    radii = abs(height_mm) * rng.uniform(0.5, 1.5) * np.exp(rng.normal(0, 0.35, 3)) + 1.5
    box, share = _ellipsoid(axes, centre, radii)
    move = np.float32(height_mm * rng.uniform(0.6, 1.6)) * share
    shift[box] += move if only is None else move * only[box]


def _clump(shift: Field, axes: list[Axis], centre: NDArray[np.intp], rng: np.random.Generator, size: float) -> None:
    """An irregular piece with a steep edge that is added, or is missing."""
    radii = size * rng.uniform(0.3, 1.5) * np.exp(rng.normal(0, 0.35, 3)) + 1.5
    box, share = _ellipsoid(axes, centre, 1.4 * radii)
    frayed = _frayed(axes, box, rng.uniform(1.5, 5.0), rng)
    inside = ((share - np.float32(0.5)) * 4 + np.float32(rng.uniform(0.2, 0.9)) * frayed * (share > 0)).clip(0, 1)
    height = rng.choice([-1, 1]) * radii.max() * rng.uniform(0.7, 1.5)
    shift[box] += np.float32(height) * inside


def _piece(shift: Field, axes: list[Axis], centre: NDArray[np.intp], rng: np.random.Generator, radius: float, others: Mask | None) -> None:
    """All of a frayed ellipsoid is inside, or with a negative radius outside; half of what is added lies in a neighbour, where one is."""
    radii = abs(radius) * np.exp(rng.normal(0, 0.3, 3)) + 0.5
    box, share = _ellipsoid(axes, centre, 1.3 * radii, float(rng.uniform(2, 6)))
    frayed = _frayed(axes, box, rng.uniform(1.5, 6.0), rng)
    inside = share + np.float32(rng.uniform(0, 0.25)) * frayed > 0.4
    if radius > 0 and others is not None and others[box].any() and rng.random() < 0.5:
        inside &= others[box]
    np.copyto(shift[box], np.float32(np.copysign(FAR_MM, radius)), where=inside & (share > 0))


def _ragged(shift: Field, axes: list[Axis], centre: NDArray[np.intp], rng: np.random.Generator) -> None:
    """A part of the border with teeth."""
    radii = np.full(3, rng.uniform(6, 20))
    box, share = _ellipsoid(axes, centre, radii)
    teeth = np.sign(_frayed(axes, box, rng.uniform(2.0, 5.0), rng))
    shift[box] += np.float32(rng.uniform(1.0, 4.0)) * teeth * (share > 0)


def _slices(shift: Field, surface: NDArray[np.intp], rng: np.random.Generator) -> None:
    """A run of slices drawn too large or too small."""
    low, high = int(surface[:, 2].min()), int(surface[:, 2].max()) + 1
    first = int(rng.integers(low, high))
    run = slice(first, first + int(rng.integers(1, max(2, (high - low) // 6) + 1)))
    shift[..., run] += np.float32(rng.choice([-1, 1]) * rng.uniform(0.7, 3.0))


def _ellipsoid(axes: list[Axis], centre: NDArray[np.intp], radii_mm: NDArray[np.float64], power: float = 2.0) -> tuple[Box, Field]:
    """The box of an ellipsoid about a voxel, and 1 - r² in it, 0 outside: its value where it is cut short by the grid's border is kept.

    With a greater `power` than 2 its sides are flatter.
    """
    centre_mm = [float(axis[i]) for axis, i in zip(axes, centre, strict=True)]
    reached = [slice(*np.searchsorted(axis, (c - r, c + r))) for axis, c, r in zip(axes, centre_mm, radii_mm, strict=True)]
    squares = [abs((axis[s] - c) / r) ** power for axis, s, c, r in zip(axes, reached, centre_mm, radii_mm, strict=True)]
    inner = squares[0][:, None, None] + squares[1][:, None] + squares[2]
    return (reached[0], reached[1], reached[2]), (1 - inner).clip(0, None).astype(np.float32)


def _frayed(axes: list[Axis], box: Box, grain_mm: float, rng: np.random.Generator) -> Field:
    """Noise in a box."""
    return Noise(rng, grain_mm).on([axis[along] for axis, along in zip(axes, box, strict=True)])


def _cut(shift: Field, axes: list[Axis], surface: NDArray[np.intp], rng: np.random.Generator) -> None:
    """An end of the body is missed: what lies beyond a plane, mostly across the slices; the further, the surer."""
    axis = int(rng.choice([0, 1, 2, 2, 2]))
    places = surface[:, axis]
    low, high = axes[axis][places.min()], axes[axis][places.max()]
    beyond = (axes[axis] - low) if rng.random() < 0.5 else (high - axes[axis])
    reach = np.float32(rng.uniform(0.05, 0.25) * (high - low))
    lost = ((reach - beyond) * np.float32(4.0)).clip(0, FAR_MM)
    shift -= lost.reshape([-1 if along == axis else 1 for along in range(3)])


def _island(shift: Field, depth: Field, axes: list[Axis], rng: np.random.Generator, size: float) -> None:
    """A stray piece, at some distance from the body."""
    centre = np.array([rng.integers(0, count) for count in depth.shape])
    away = -float(depth[tuple(centre)])
    if away <= 2:
        return
    radii = size * rng.uniform(0.15, 0.45) * np.exp(rng.normal(0, 0.3, 3)) + 1.0
    box, share = _ellipsoid(axes, centre, radii)
    np.maximum(shift[box], (share > 0) * (np.float32(away) + radii.max().astype(np.float32)), out=shift[box])


def _steps(spacing_mm: Spacing, rng: np.random.Generator, thick_mm: float) -> tuple[int, int, int]:
    """A coarse grid in two cases of three: thick slices, or large cells."""
    kind = rng.choice(3)
    coarse = rng.uniform(0.15, 0.5) * min(thick_mm, 14.0)
    slices = max(1, round(coarse * rng.uniform(1, 1.5) / spacing_mm[2])) if kind == 1 else 1
    if kind != 2:
        return 1, 1, slices
    x, y, z = (max(1, round(coarse / mm)) for mm in spacing_mm)
    return x, y, z


def _strength(mistakes: Mistakes, depth: Field, truth: Mask, dice: float) -> float:
    """How strong mistakes must be for a Dice, as far as they can be."""
    low, high = 0.0, STRONGEST
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if dice_of(mistakes.moved(depth, middle) > 0, truth) > dice:
            low = middle
        else:
            high = middle
    return low
