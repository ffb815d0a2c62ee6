"""Super-resolution: a coarse mask in, a fine one out, on a grid of the client's choice over the same field of view.

A network judges the cells near the coarse surface; all others are as full as the coarse mask says. What it sees of a cell is what
plain interpolations of the coarse mask say, and how coarse that is, so it learns where the truth differs from them.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from math import ceil, floor, prod

import numpy as np

from calvaria.distance import signed_distance
from calvaria.errors import CalvariaError, ErrorCode, bad_option
from calvaria.geometry import Box, Canonical, Field, bounding_box, grown, laid, to_canonical
from calvaria.grid import HALF, WorkingGrid
from calvaria.sampling import nearest, sampled
from calvaria.tasks.blocks import CHUNK_VOXELS, settle
from calvaria.tasks.task import Extras, Inferred, Prepared, Settings, Task, check_mask, too_large
from calvaria.volume import SPACING_MM, BinaryVolume, Mask

SKULL = "a skull"

DEFAULT_FACTOR = 2.0

FINEST_SHARES = 4.0, 8.0
"""Most cells along a coarse voxel's shortest edge, and along its longest: finer detail is not in the mask, and of thicker slices the
network knows nothing that fine. Chosen on validation heads: from slices of 0.4 x 0.4 x 4.8 mm cells of 0.8 mm have a DSC of 0.927, those of
0.4 mm 0.910; from 0.5 x 0.5 x 4 mm, cells of 0.5 mm 0.937, of 1 mm 0.931.
"""

REACHES = 1.25, 1.0
"""Distances from the coarse surface within which cells are judged, in coarse voxels along each axis (pixels within slices, slices between
them). The second is for where the first has more cells than `MOST_SITES`: a DSC lower by 0.004 on validation heads in slices, where larger
cells cost more.
"""

MARGIN = 3
"""Coarse voxels around the occupied ones that have cells."""

FAR = 2.0
"""Distances from the surface are clipped to this many coarse voxels."""

ODDS = 6.0
MANY_VOXELS = 48.0
"""Answer's voxels in a coarse voxel from which odds are not raised. With fewer, the odds of cells in an occupied one are multiplied by the
ratio, by ODDS at the most. The network learned from scans of two kinds, and is asked about one: by the mean, an occupied coarse voxel holds
more than it thinks. Chosen on validation heads; see the model card.
"""

MOST_SPLIT_CELLS = 2**23
"""Most cells of a grid whose cells are smaller than the wanted voxels: a head whose coarse voxels have some 3.3 mm or more. An answer then
takes as long as one for a factor of four.
"""

MOST_VOXELS = 2**28
"""Most voxels of an answer: 512 × 512 × 1024."""

MOST_PARTS = CHUNK_VOXELS
"""Most voxels of an answer in a coarse voxel: a hundred times finer along each axis."""

MOST_CELLS = 2**26
MOST_SITES = 6_000_000
"""Most judged cells of a working grid: what two cores judge in some ten seconds, in 2 GB. A head at 1 mm has about 9 million cells, of
which 2 million are judged where the coarse voxels are of 4 mm.
"""

COARSER = 1.5
"""By how much cells grow where there are too many: few grids are tried, whatever was sent."""

ROUNDING = 1e-3
"""Relative tolerance for edges in a header."""


class Given(IntEnum):
    """The numbers that come with a cell, by column: whether the coarse voxel at its centre is occupied, the coarse mask's linear
    interpolation, the signed distance to its surface in longest edges of a coarse voxel, the coarse voxels' three edges in four cells, and
    the cell's edge in mm.
    """

    NEAREST, LINEAR, DISTANCE, X, Y, Z, CELL = range(7)


INPUTS = len(Given)


def prepare(volume: BinaryVolume, settings: Settings, extras: Extras = Extras()) -> Prepared:
    """Lay a working grid over the coarse surface. CalvariaError EMPTY_MASK, FULL_MASK, TOO_LARGE, or BAD_OPTION as `answer_grid`."""
    check_mask(volume, SKULL)
    answer = answer_grid(volume, extras)
    canonical, target = (to_canonical(each) for each in (volume, answer))
    coarse_mm, bone = np.array(canonical.volume.spacing_mm), canonical.volume.cropped(_occupied(canonical.mask))
    distance_mm = signed_distance(bone.mask, coarse_mm)
    grid, sites = _judged(bone, distance_mm, working_grids(canonical, target, settings.spacing_mm))
    features = np.empty((np.count_nonzero(sites), INPUTS), np.float32)
    features[:, Given.NEAREST] = nearest(canonical.mask, canonical.volume, grid)[sites]
    features[:, Given.DISTANCE] = (sampled(distance_mm, bone, grid)[sites] / coarse_mm.max()).clip(-FAR, FAR)
    features[:, Given.X : Given.CELL], features[:, Given.CELL] = coarse_mm / grid.spacing_mm / 4, grid.spacing_mm
    shares = sampled(canonical.mask.astype(np.float32), canonical.volume, grid)
    features[:, Given.LINEAR] = shares[sites]
    return Prepared(grid, shares, sites, features, volume, canonical, answer)


def _judged(bone: BinaryVolume, distance_mm: Field, grids: Iterable[WorkingGrid]) -> tuple[WorkingGrid, Mask]:
    """The first of the grids on which not too many cells lie near the coarse surface, and these."""
    for grid in grids:
        away = abs(sampled(_in_voxels(bone, distance_mm, grid), bone, grid))
        for reach in REACHES:
            sites = np.asarray(away < reach)
            if np.count_nonzero(sites) <= MOST_SITES:
                return grid, sites
    raise too_large(f"The answer's surface spans more than {MOST_SITES:,} cells of {grid.spacing_mm:.2g} mm", SKULL)


def _in_voxels(bone: BinaryVolume, distance_mm: Field, grid: WorkingGrid) -> Field:
    """Signed distance in voxels along each axis, or in cells where these are wider. For cubes only the unit changes."""
    coarse_mm = np.array(bone.spacing_mm)
    unit_mm = np.maximum(coarse_mm, grid.spacing_mm)
    if np.ptp(coarse_mm) < 1e-6 * coarse_mm.max():
        return np.asarray(distance_mm / np.float32(unit_mm.max()))
    return signed_distance(bone.mask, coarse_mm / unit_mm)


def _occupied(mask: Mask) -> Box:
    """What is occupied and a margin, beyond which nothing is judged: distances in this box are those in the whole mask."""
    return grown(bounding_box(mask), (MARGIN,) * 3, mask.shape)


def answer_grid(volume: BinaryVolume, extras: Extras) -> BinaryVolume:
    """The grid that is wanted over the field of view of a volume, along the same axes; its mask is empty and takes no memory.

    With a factor each axis has `factor` times as many voxels; with a spacing, as many as fill the field of view best, on its centre.
    """
    if extras.factor and extras.spacing_mm:
        raise bad_option("A factor and a spacing cannot both be met. Give one of factor and spacing_mm.")
    coarse_mm = np.array(volume.spacing_mm)
    wanted_mm = np.full(3, extras.spacing_mm) if extras.spacing_mm else coarse_mm / (extras.factor or DEFAULT_FACTOR)
    if wanted_mm.min() < SPACING_MM[0]:
        raise bad_option(f"The answer's voxels would have {wanted_mm.min():.2g} mm. Check the unit of the volume's spacing.")
    if wanted_mm.max() >= coarse_mm.max() * (1 - 1e-6):
        edge = " x ".join(f"{each:.3g}" for each in coarse_mm)
        raise bad_option(f"The answer would be no finer: the volume's voxels have {edge} mm. Ask for smaller ones.")
    counts = np.maximum(np.round(np.array(volume.shape) * coarse_mm / wanted_mm), 1).astype(int)
    if prod(counts.tolist()) > MOST_VOXELS:
        asked = " x ".join(map(str, counts))
        message = f"The answer would have {asked} voxels, more than the {MOST_VOXELS:,} that are answered."
        raise CalvariaError(ErrorCode.TOO_LARGE, f"{message} Ask for a smaller factor, or for larger voxels.")
    if prod(coarse_mm / wanted_mm) > MOST_PARTS:
        raise bad_option(f"Each voxel would become more than {MOST_PARTS:,}. Ask for a smaller factor, or for larger voxels.")
    if not extras.spacing_mm:
        wanted_mm = coarse_mm * volume.shape / counts  # a factor that is no whole number: the field of view is filled exactly
    start_mm = (volume.shape * coarse_mm - counts * wanted_mm) / 2
    return BinaryVolume.empty(tuple(counts.tolist()), laid(volume, wanted_mm, start_mm))


def spans(volume: BinaryVolume, extras: Extras) -> int:
    """The coarse voxels and, at most, the cells of the working grid; see there. CalvariaError as `answer_grid`."""
    answer, finest_mm = answer_grid(volume, extras), _supported_mm(volume.spacing_mm)
    split, whole = (
        prod(ceil(count * mm / cell_mm) + 1 for count, mm in zip(answer.shape, answer.spacing_mm, strict=True))
        for cell_mm in (finest_mm, max(finest_mm, min(answer.spacing_mm)))
    )
    return volume.mask.size + max(min(split, MOST_SPLIT_CELLS), min(whole, MOST_CELLS))


def working_grids(coarse: Canonical, target: Canonical, smallest_mm: float) -> Iterator[WorkingGrid]:
    """Cells as small as the answer's voxels, as far as the coarse mask supports them, over its occupied box and what lies near.

    A cell is a whole number of the answer's voxels wide where these are cubes, so that cells end where voxels do; or it is a whole part
    of one, where the coarse mask supports that and a small grid remains. The first is the finest; coarser ones, for masks of a large
    surface, follow as long as two cells lie along a coarse voxel's longest edge.
    """
    longest_mm, voxel_mm, occupied = max(coarse.volume.spacing_mm), min(target.volume.spacing_mm), _occupied(coarse.mask)
    whole, parts_of = (max(of(coarse.volume.spacing_mm), smallest_mm) for of in (_supported_mm, _supported_parts_mm))
    for parts in range(floor(voxel_mm / parts_of + 1e-6), 1, -1):
        grid = _laid(occupied, coarse, target, 1, voxel_mm / parts)
        if prod(grid.shape) <= MOST_SPLIT_CELLS:
            yield grid
            break
    step = max(ceil(whole / voxel_mm - 1e-6), 1)
    while True:
        grid = _laid(occupied, coarse, target, step, step * voxel_mm)
        larger = ceil(COARSER * step)
        if prod(grid.shape) <= MOST_CELLS:
            yield grid
            if 2 * larger * voxel_mm > longest_mm:
                return
        step = larger


def _laid(occupied: Box, coarse: Canonical, target: Canonical, step: int, cell_mm: float) -> WorkingGrid:
    """Cells over whole steps of the target's voxels, in a box of the coarse ones."""
    coarse_mm, fine_mm = np.array(coarse.volume.spacing_mm), np.array(target.volume.spacing_mm)
    low, high = (np.array(ends) * coarse_mm / fine_mm for ends in zip(*((at.start, at.stop) for at in occupied), strict=True))
    x, y, z = (_whole_steps(*side, step) for side in zip(low.tolist(), high.tolist(), target.mask.shape, strict=True))
    return WorkingGrid.within(target.volume, (x, y, z), cell_mm)


def _supported_mm(coarse_mm: Sequence[float]) -> float:
    """The smallest cells that a coarse mask supports, where they are whole voxels of the answer."""
    along_shortest, along_longest = FINEST_SHARES
    return max(min(coarse_mm) / along_shortest, max(coarse_mm) / along_longest)


def _supported_parts_mm(coarse_mm: Sequence[float]) -> float:
    """The smallest supported cells that are parts of the answer's voxels: within slices not finer than pixels."""
    return max(_supported_mm(coarse_mm), min(max(coarse_mm) / FINEST_SHARES[0], min(coarse_mm)))


def _whole_steps(low: float, high: float, count: int, step: int) -> slice:
    """The voxels of an axis from `low` to `high`, and those that fill whole steps, as far as there are any; rounding adds none."""
    return slice(floor(low / step + 1e-6) * step, min(ceil(high / step - 1e-6) * step, count))


def finish(prepared: Prepared, inferred: Inferred, settings: Settings) -> dict[str, Mask]:
    """The fine mask: in coarse voxels near the surface as much of each as the network expects, where it is surest; others stay as they are.

    See `calvaria.tasks.blocks`. The threshold is the probability beyond which a place that is alone in its coarse voxel would be occupied.
    """
    field = prepared.shares.copy()
    field[prepared.sites] = _raised(inferred.field[prepared.sites], prepared, settings.threshold)
    solid, box = prepared.grid.refine(field, HALF)
    fine = _placed(solid, box, prepared.grid.source_shape)
    target = to_canonical(prepared.answer).volume
    settle(fine, prepared.canonical.mask, prepared.canonical.volume, target, field, prepared.grid)
    return {"fine": fine}


MOST_ODDS = 1e30
"""Largest factor for odds, so that single precision holds them."""


def _raised(probability: Field, prepared: Prepared, threshold: float) -> Field:
    """The sites' probabilities [N], their odds raised so that the threshold becomes a half, and as MANY_VOXELS says."""
    voxels = prepared.volume.voxel_mm3 / prepared.answer.voxel_mm3
    odds = np.where(prepared.features[:, Given.NEAREST] > HALF, np.float32(np.clip(MANY_VOXELS / voxels, 1, ODDS)), np.float32(1))
    raised = probability * odds * np.float32(min((1 - threshold) / threshold, MOST_ODDS))
    return np.asarray(raised / (raised + (1 - probability)))


def _placed(mask: Mask, box: Box, shape: tuple[int, int, int]) -> Mask:
    """A mask in its box of a grid of a shape, in Fortran order as most files have it."""
    if mask.shape == shape:
        return mask
    whole = np.zeros(shape, np.bool_, order="F")
    whole[box] = mask
    return whole


COARSE_MM = 1.6, 5.0
"""Longest edge of the coarse voxels that the network learned from (`calvaria.training.super_resolution`)."""


def unlike_scans(prepared: Prepared) -> str | None:
    """Whether the mask's voxels are larger or smaller than what the network learned from."""
    coarse_mm = max(prepared.volume.spacing_mm)
    if COARSE_MM[0] * (1 - ROUNDING) <= coarse_mm <= COARSE_MM[1] * (1 + ROUNDING):
        return None
    return (
        f"The mask's voxels have up to {coarse_mm:.3g} mm; the network learned from {COARSE_MM[0]:g}-{COARSE_MM[1]:g} mm. Check the answer."
    )


SUPER_RESOLUTION = Task(
    "super-resolution", ("fine",), prepare, finish, spans=spans, options=("threshold", "spacing_mm", "factor"), unlike=unlike_scans
)
