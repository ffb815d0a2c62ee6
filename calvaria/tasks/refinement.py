"""Refinement: a rough mask of an organ in, a better one out, on the same grid.

A network judges the cells on both sides of the mask's surface, with the scan around it where that came along; deep inside and far away the
mask is left as it is. A voxel changes only where the network's answer differs from how full the cells are. Nothing changes where that is
little in all, or where the mask is unlike any body that the network knows.
"""

from collections.abc import Mapping
from enum import IntEnum
from math import ceil, prod

import numpy as np
from scipy import ndimage

from calvaria.distance import signed_distance
from calvaria.errors import CalvariaError, ErrorCode
from calvaria.geometry import Field, bared, bounding_box, to_canonical
from calvaria.grid import Ends, WorkingGrid
from calvaria.hounsfield import AIR_HU
from calvaria.tasks.components import large_components
from calvaria.tasks.task import Extras, Inferred, Prepared, Settings, Task, check_mask, too_large
from calvaria.volume import BinaryVolume, Mask

REFINED = "refined"
ORGAN = "an organ"

REACH_CELLS = 8
"""How far from the mask's surface cells are judged, on both sides."""

INSIDE = 0.5
"""A cell, or a voxel, is inside where more than this share of it is."""

CHANGED = 0.4
"""Change in the fullness of a cell above which the voxels near it are drawn anew. Chosen on validation shapes (seeds from 900,200), with
LITTLE, so that right masks stay above a Dice of 0.995; a smaller value mends hardly more of what is wrong.
"""

LITTLE = 0.04
"""Largest change (1 − Dice) of a mask without a scan that is not made, but for crumbs: so little is found wrong in right masks. Chosen on
the same shapes: this leaves right masks at 1.000 where they would fall to 0.989, and mistaken ones are mended as before.
"""

MOVED = 0.65
"""Largest change of a mask with its scan that is not made, as a share of its surface's voxels: it would move by some two thirds of a voxel.
In right masks of five validation chests (seeds from 900,200) the network would change up to 0.58, in mistaken ones 0.71 and more, but for
two of a dense network's hearts of DSC 0.94 (0.48 and 0.59), which stay as they are; shares of the volume do not tell them apart.
"""

LEAST_KEPT = 0.5
"""Where less of a mask would stay, the network takes something that it does not know for a mistake, and the mask is left as it is."""

CUT_OFF = 0.25
"""Share of a mask's largest section across an axis. Where the last plane holds as much, the body goes on beyond the field of view."""

CELLS_ALONG = 36.0
"""Cells along the edge of a cube of the mask's volume: mistakes, and what is judged around the surface, grow with the cells."""

LARGEST_CELL_MM = 4.0
"""Largest cells, mm, unless a mask's voxels are larger. What does not fit is refused: a person is no organ."""

LARGEST_VOXEL_MM = 8.0
"""Shortest edge of a mask's voxels, mm, at the most."""

MOST_CELLS = 2**23
MOST_SITES = 2**22
"""Most judged cells of a working grid. To stay within MOST_CELLS, what reaches far has larger ones, up to LARGEST_CELL_MM."""


class Given(IntEnum):
    """The numbers that come with a cell, by column: how full it is, its distance to the mask's surface, its edge, and how coarse the voxels
    are; whether there is a scan, how bright it is there, and how much brighter than in the middle of what the mask holds; how far the cell
    is to the left, to the back and above the mask's centre, since an organ's parts lie in their places.
    """

    SHARE, DISTANCE, CELL, VOXEL, SCANNED, BRIGHTNESS, CONTRAST, LEFT, BACK, UP = range(10)


INPUTS = len(Given)

APART_MM = 100.0
"""Unit, mm, of a cell's place."""


def prepare(volume: BinaryVolume, settings: Settings, extras: Extras = Extras()) -> Prepared:
    """Lay a working grid over the mask's surroundings. CalvariaError EMPTY_MASK, FULL_MASK or TOO_LARGE."""
    check_mask(volume, ORGAN)
    canonical = to_canonical(volume)
    grid = working_grid(canonical.volume, settings.spacing_mm)
    shares = grid.coarsen(canonical.mask)
    if not (shares > INSIDE).any():
        message = (
            f"Nothing in the mask is as large as a cell of the working grid ({grid.spacing_mm:.2g} mm). Check the spacing in the header."
        )
        raise CalvariaError(ErrorCode.EMPTY_MASK, message)
    distance = signed_distance(shares > INSIDE)
    sites = abs(distance) <= REACH_CELLS
    count = int(np.count_nonzero(sites))
    if not count:
        raise CalvariaError(ErrorCode.FULL_MASK, "The mask fills its volume and shows no surface. Send more around it.")
    if count > MOST_SITES:
        raise too_large(f"The mask's surface spans {count:,} cells of {grid.spacing_mm:.2g} mm, more than {MOST_SITES:,}", ORGAN)
    features = np.zeros((count, INPUTS), np.float32)
    features[:, Given.SHARE] = shares[sites]
    features[:, Given.DISTANCE] = distance[sites] / REACH_CELLS
    features[:, Given.CELL] = grid.spacing_mm / 2
    features[:, Given.VOXEL] = max(canonical.volume.spacing_mm) / grid.spacing_mm / 2
    if extras.image is not None:
        features[:, Given.SCANNED] = 1
        features[:, Given.BRIGHTNESS], features[:, Given.CONTRAST] = _brightness(canonical.seen(extras.image), grid, shares, sites)
    features[:, Given.LEFT :] = (np.argwhere(sites) - ndimage.center_of_mass(shares)) * (grid.spacing_mm / APART_MM)
    return Prepared(grid, shares, sites, features, volume, canonical, answer=volume)


def working_grid(volume: BinaryVolume, smallest_mm: float) -> WorkingGrid:
    """Cells by the mask's size, no smaller than its voxels, over its box in a canonical volume and what is judged around it.

    Where the body ends, the grid goes on beyond the field of view: how closely a volume was cropped should say nothing about its mask.
    """
    extents = [(axis.stop - axis.start) * mm for axis, mm in zip(bounding_box(volume.mask), volume.spacing_mm, strict=True)]
    by_size_mm = round((volume.occupied * volume.voxel_mm3) ** (1 / 3) / CELLS_ALONG, 2)  # the same however axes are flipped
    cell_mm = max(smallest_mm, min(volume.spacing_mm), min(by_size_mm, LARGEST_CELL_MM))
    while prod(extent / cell_mm + 2 * REACH_CELLS + 1 for extent in extents) > MOST_CELLS:
        cell_mm *= 1.1
    if min(volume.spacing_mm) > LARGEST_VOXEL_MM:
        raise too_large(
            f"The mask's voxels have at least {min(volume.spacing_mm):g} mm, more than the {LARGEST_VOXEL_MM:g} worked on", ORGAN
        )
    if cell_mm > max(LARGEST_CELL_MM, min(volume.spacing_mm)):
        spanned = " x ".join(f"{extent:,.0f}" for extent in extents)
        raise too_large(f"The mask spans {spanned} mm, more than any organ", ORGAN)
    return WorkingGrid.over(volume, cell_mm, REACH_CELLS * cell_mm, _ends(volume))


def _ends(volume: BinaryVolume) -> list[Ends]:
    """At which ends of each axis the body ends, and is not cut off by the field of view."""
    across = [np.count_nonzero(volume.mask, axis=others) for others in ((1, 2), (0, 2), (0, 1))]
    return [(bool(at[0] < CUT_OFF * at.max()), bool(at[-1] < CUT_OFF * at.max())) for at in across]


def _brightness(scan: Field, grid: WorkingGrid, shares: Field, sites: Mask) -> tuple[Field, Field]:
    """How bright a scan (HU, canonical [X, Y, Z]) is in the sites, and how much brighter than in the middle of the mask."""
    hu = _held(grid.coarsen(np.nan_to_num(scan, nan=AIR_HU)), grid)
    inside = np.median(hu[shares > INSIDE])
    return ((hu[sites] - 50) / 400).clip(-2.5, 1.5), ((hu[sites] - inside) / 100).clip(-3, 3)


def _held(means: Field, grid: WorkingGrid) -> Field:
    """Mean brightness of cells [x, y, z], continued beyond the field of view from its border."""
    for number, axis in enumerate(grid.axes):
        seen = axis.overlaps().sum(axis=1)
        within = np.flatnonzero(seen > seen.max() / 2)
        place = np.arange(axis.count).clip(within[0], within[-1])
        means = np.moveaxis(np.moveaxis(means, number, -1)[..., place] / seen[place], -1, number)
    return means.astype(np.float32)


def finish(prepared: Prepared, inferred: Inferred, settings: Settings) -> dict[str, Mask]:
    """The mask, less crumbs, drawn anew where the network finds cells clearly fuller or emptier than they are."""
    mask = prepared.canonical.mask
    refined = mask if _unknown(prepared) else _redrawn(mask, prepared, inferred, settings)
    if _is_little(refined, prepared) or np.count_nonzero(refined & mask) < LEAST_KEPT * np.count_nonzero(mask):
        refined = mask
    return {REFINED: large_components(refined, settings.smallest_mm3 / prod(prepared.grid.source_mm), largest=True)}


def _is_little(refined: Mask, prepared: Prepared) -> bool:
    """Whether so little would change that the mask is as likely right."""
    mask = prepared.canonical.mask
    changes = np.count_nonzero(refined ^ mask)
    if prepared.features[0, Given.SCANNED]:
        return bool(changes <= MOVED * np.count_nonzero(bared(np.pad(mask[bounding_box(mask)], 1))))
    return bool(changes <= LITTLE * (np.count_nonzero(refined) + np.count_nonzero(mask)))


def _redrawn(mask: Mask, prepared: Prepared, inferred: Inferred, settings: Settings) -> Mask:
    grid = prepared.grid
    field = np.where(prepared.sites, inferred.field, prepared.shares)
    solid, box = grid.refine(field, settings.threshold)
    changed = ndimage.maximum_filter(abs(field - prepared.shares) > CHANGED, 3)
    redrawn, part = grid.refine(changed.astype(np.float32), INSIDE)
    drawn = np.zeros_like(mask)
    drawn[box] = solid
    refined = mask.copy(order="K")
    np.copyto(refined[part], drawn[part], where=redrawn)
    return refined


KNOWN_CM3 = 5.0, 2500.0
DEPTH = 0.055
"""Least mean depth of a mask's cells, as a share of the edge of a cube of its volume; KNOWN_CM3 is the range of that volume. The network
learned from organs of 7 to 943 cm³ in 24 validation chests (seeds from 900,400) and from bodies of no organ up to some 4,000, few of them
more than 2,500. The cells of organs' masks, of mistaken ones too, have a mean depth of at least 0.066; those of skulls, 0.032 to 0.045.
"""


def unlike_any(prepared: Prepared) -> str | None:
    """A warning where a mask is unlike the bodies that the network learned from."""
    how = _unknown(prepared)
    return how and f"The mask is unlike the bodies that the network learned from ({how}): it is left as it is, but for crumbs."


def _unknown(prepared: Prepared) -> str | None:
    """How a mask differs from all that the network learned from: by its volume, or since it is thin all over."""
    mm3 = prepared.volume.occupied * prepared.volume.voxel_mm3
    if not KNOWN_CM3[0] <= mm3 / 1000 <= KNOWN_CM3[1]:
        return f"it fills {mm3 / 1000:.3g} cm3, they fill {KNOWN_CM3[0]:g}-{KNOWN_CM3[1]:g}"
    depth = prepared.features[:, Given.DISTANCE]
    mean_mm = float(depth[depth > 0].mean()) * REACH_CELLS * prepared.grid.spacing_mm
    return "it is thin all over" if mean_mm < DEPTH * mm3 ** (1 / 3) else None


def remark(volume: BinaryVolume, outputs: Mapping[str, BinaryVolume], settings: Settings) -> tuple[str, str] | None:
    """A remark if nothing was redrawn."""
    if not np.array_equal(outputs[REFINED].samples, volume.samples):
        return None
    why = "the network finds too little wrong with it to be sure, or so much that it cannot know what this is"
    return "unchanged", f"The mask is given back as it is: {why}."


def spans(volume: BinaryVolume, extras: Extras) -> int:
    """Size of the largest grid laid over a volume: its voxels, or at most the cells over and around it, no narrower than its voxels."""
    shortest_mm = min(volume.spacing_mm)
    cells = prod(count * mm / shortest_mm + 2 * REACH_CELLS + 1 for count, mm in zip(volume.shape, volume.spacing_mm, strict=True))
    return max(volume.mask.size, min(ceil(cells), MOST_CELLS))


REFINEMENT = Task(
    "refinement",
    (REFINED,),
    prepare,
    finish,
    spans=spans,
    unlike=unlike_any,
    remark=remark,
    imaged=True,
    label_margin_mm=(REACH_CELLS + 2) * LARGEST_CELL_MM,
)
