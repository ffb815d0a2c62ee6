"""Mistakes in masks to test refinement on, drawn by other means than those that a network learns from.

There, fields move the surface; here voxels are taken one mistake after another: growths that creep from voxel to voxel (leaks, missing
pieces, stray islands; Eden, 1961), Voronoi cells at the border decided as a whole, runs of slices drawn too large or too small, blocks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from calvaria.evaluation.metrics import dice
from calvaria.geometry import Box, bared, to_canonical
from calvaria.volume import BinaryVolume, Mask

Places = NDArray[np.intp]

DICE = 0.75, 0.90
"""The range in which masks with mistakes lie."""

MOST_MISTAKES = 400
RAGGED_MM, VORONOI_MM = 14.0, 4.0
"""Radii of a ragged piece of the border, and of a Voronoi cell at most."""

ISLANDS_SHARE = 0.08
"""Largest share of islands in what is wrong: the rest must not be mended by keeping the largest component."""

FLAT = ndimage.generate_binary_structure(3, 1) & (np.arange(3) == 1)  # within a slice


@dataclass(frozen=True, eq=False)
class _Work:
    """What mistakes are made of.

    touched  what organs beside it occupy near the truth
    size     voxels of a growth, about
    """

    truth: Mask
    touched: Mask
    others: Mask
    spacing_mm: tuple[float, float, float]
    rng: np.random.Generator
    size: int

    def pick(self, places: Places) -> Places:
        chosen: Places = places[int(self.rng.integers(len(places)))]
        return chosen


def corrupted(truth: BinaryVolume, seed: int, others: Mask | None = None) -> BinaryVolume:
    """A mask with mistakes; its Dice against the truth is drawn from DICE. They are the same however its file orders or flips the axes.

    truth   must not be empty; what is in it matters little: any organ, a brain, a skull
    others  bool [X, Y, Z]: what organs beside it occupy; where it touches any, leaks go there half the time
    """
    rng = np.random.default_rng([seed, 6])
    wanted = float(rng.uniform(*DICE))
    canonical = to_canonical(truth)
    mask, spacing_mm = canonical.mask, canonical.volume.spacing_mm
    others = np.zeros_like(mask) if others is None else canonical.seen(others) & ~mask
    touched = others & (edt.edt(~mask, anisotropy=spacing_mm) <= 2 * max(spacing_mm))
    work = _Work(mask, touched, others, spacing_mm, rng, max(8, int((1 - wanted) * truth.occupied) // 6))
    kinds = list(KINDS)
    shares = rng.dirichlet(np.full(len(kinds), 1.5))  # each case has its own habits
    changed = _blocks(work, mask) if rng.random() < 0.5 else mask.copy()
    for _ in range(MOST_MISTAKES):
        if dice(changed, mask) <= wanted or not changed.any():
            break
        changed = KINDS[kinds[int(rng.choice(len(kinds), p=shares))]](work, changed)
    return truth.like(canonical.from_canonical(_with_islands(work, changed)))


def border(mask: Mask) -> Places:
    """The voxels [N, 3] of a mask that touch its outside, within the grid; where it fills that, those at its end."""
    within = np.argwhere(bared(mask))
    return within if len(within) else np.argwhere(bared(np.pad(mask, 1))) - 1


def _before(axis: int) -> tuple[slice, ...]:
    return tuple(slice(None, -1) if along == axis else slice(None) for along in range(3))


def _after(axis: int) -> tuple[slice, ...]:
    return tuple(slice(1, None) if along == axis else slice(None) for along in range(3))


def _leak(work: _Work, mask: Mask) -> Mask:
    """A growth into a neighbour that touches, or into what is around."""
    touched = np.argwhere(work.touched & ~mask)
    if len(touched) and work.rng.random() < 0.5:
        return mask | _growth(work, work.pick(touched), work.others & ~mask)
    return mask | _growth(work, work.pick(border(mask)), ~work.truth & ~mask)


def _missing(work: _Work, mask: Mask) -> Mask:
    return mask & ~_growth(work, work.pick(border(mask)), mask)


def _ragged(work: _Work, mask: Mask) -> Mask:
    """Voronoi cells around places at the border, some wholly inside, some wholly outside."""
    surface = border(mask)
    apart_mm = (surface - work.pick(surface)) * work.spacing_mm
    near = surface[np.linalg.norm(apart_mm, axis=1) < RAGGED_MM]
    count = max(4, len(near) // 25)
    places = near[work.rng.integers(0, len(near), count)] + work.rng.normal(0, 1.2, (count, 3))
    box = _box(near.min(0) - 2, near.max(0) + 3, mask.shape)
    voxels = np.stack(np.meshgrid(*(np.arange(axis.start, axis.stop) for axis in box), indexing="ij"), axis=-1)
    distance, cell = cKDTree(places * work.spacing_mm).query(voxels * np.array(work.spacing_mm), distance_upper_bound=VORONOI_MM)
    verdict = work.rng.random(len(places) + 1) < 0.5
    changed = mask.copy()
    changed[box] = np.where(np.isfinite(distance), verdict[cell], mask[box])
    return changed


def _slices(work: _Work, mask: Mask) -> Mask:
    """A run of slices drawn too large, or too small."""
    held = np.flatnonzero(mask.any(axis=(0, 1)))
    first, count = int(work.rng.choice(held)), int(work.rng.integers(1, max(2, len(held) // 8) + 1))
    run = slice(first, first + count)
    wider = ndimage.binary_dilation if work.rng.random() < 0.5 else ndimage.binary_erosion
    changed = mask.copy()
    changed[..., run] = wider(mask[..., run], FLAT)
    return changed


KINDS: Mapping[str, Callable[[_Work, Mask], Mask]] = {"leak": _leak, "missing": _missing, "ragged": _ragged, "slices": _slices}


def _blocks(work: _Work, mask: Mask) -> Mask:
    """A mask in blocks, or thick slices, each inside where at least half of it was."""
    edge = work.rng.uniform(2.0, 4.5)
    across = 1 if work.rng.random() < 0.5 else max(1, round(edge / work.spacing_mm[0]))
    steps = across, across, max(1, round(edge / work.spacing_mm[2]))
    margins = [(int(work.rng.integers(step)), -count % step + step) for count, step in zip(mask.shape, steps, strict=True)]
    padded = np.pad(mask, margins)
    counts = [size // step for size, step in zip(padded.shape, steps, strict=True)]
    trimmed = padded[tuple(slice(count * step) for count, step in zip(counts, steps, strict=True))]
    split = trimmed.reshape([each for pair in zip(counts, steps, strict=True) for each in pair])
    solid = split.mean(axis=(1, 3, 5)) >= 0.5
    for axis, step in enumerate(steps):
        solid = solid.repeat(step, axis)
    return np.ascontiguousarray(solid[tuple(slice(low, low + count) for (low, _), count in zip(margins, mask.shape, strict=True))])


def _with_islands(work: _Work, mask: Mask) -> Mask:
    """A mask with up to two stray pieces, small in comparison with what else is wrong. Crumbs that came off by chance are dropped."""
    room = int(ISLANDS_SHARE / 2 * np.count_nonzero(mask ^ work.truth))
    mask = cc3d.dust(mask, threshold=max(2, room // 8), connectivity=26).astype(np.bool_)
    free = edt.edt(~(mask | work.truth), anisotropy=work.spacing_mm) > 3 * max(work.spacing_mm)
    for _ in range(int(work.rng.integers(0, 3))):
        if room >= 4 and free.any():
            mask = mask | _growth(work, work.pick(np.argwhere(free)), free, room)
    return mask


def _growth(work: _Work, start: Places, into: Mask, size: int | None = None) -> Mask:
    """Voxels reached by creeping from one to the next within `into`, as fast along each mm, until there are enough."""
    size = size or int(work.size * work.rng.uniform(0.3, 2.0))
    reach = int(2 * (size / 4) ** (1 / 3)) + 6
    box = _box(start - reach, start + reach + 1, into.shape)
    allowed = into[box]
    grown = np.zeros_like(allowed)
    grown[tuple(start - [axis.start for axis in box])] = True
    pace = 0.7 * min(work.spacing_mm) / np.array(work.spacing_mm)
    for _ in range(4 * reach):
        for axis, chance in enumerate(pace):
            beside = np.zeros_like(grown)
            beside[_before(axis)] |= grown[_after(axis)]
            beside[_after(axis)] |= grown[_before(axis)]
            reached = np.flatnonzero(beside & allowed & ~grown)
            grown.flat[reached[work.rng.random(len(reached)) < chance]] = True
        if np.count_nonzero(grown) >= size:
            break
    whole = np.zeros_like(into)
    whole[box] = grown & allowed
    return whole


def _box(low: Places, high: Places, shape: tuple[int, ...]) -> Box:
    x, y, z = (slice(max(int(a), 0), min(int(b), count)) for a, b, count in zip(low, high, shape, strict=True))
    return x, y, z
