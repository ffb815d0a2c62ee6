"""Refinement: a rough mask of an organ in, a better one out, on the same grid.

A network judges the cells on both sides of the mask's surface; deep inside and far away the mask is left as it is. Where the network
agrees with the mask nothing is redrawn: a voxel changes only where what it says of the cells differs from how full they are.
"""

from math import prod

import edt
import numpy as np
from scipy import ndimage

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.geometry import Field, WorkingGrid, bounding_box, to_canonical
from calvaria.tasks.components import large_components
from calvaria.tasks.task import Finer, Inferred, Prepared, Settings, Task, check_mask, too_large
from calvaria.volume import BinaryVolume, Mask

ORGAN = "an organ"

REACH_CELLS = 8
"""How far from the mask's surface cells are judged, on both sides."""

HALF = 0.5
"""A cell, or a voxel, is inside where more than this share of it is."""

CHANGED = 0.3
"""Voxels near cells that the network finds fuller, or emptier, by more than this are drawn anew."""

LARGEST_CELL_MM = 4.0
"""A body is no organ: what does not fit into cells of this size is refused."""

MOST_CELLS = 2**23
MOST_SITES = 2**22
"""Of a working grid. Cells of larger organs are larger, up to LARGEST_CELL_MM."""

INPUTS = 4
"""Numbers that come with a cell: how full it is, its distance to the mask's surface, its edge, how coarse the voxels are."""


def prepare(volume: BinaryVolume, settings: Settings, finer: Finer = Finer()) -> Prepared:
    """Lay a working grid over the mask's surroundings. CalvariaError EMPTY_MASK, FULL_MASK or TOO_LARGE."""
    check_mask(volume, ORGAN)
    canonical = to_canonical(volume.mask, volume.affine)
    grid = working_grid(canonical.volume, settings.spacing_mm)
    shares = grid.coarsen(canonical.mask)
    if not (shares > HALF).any():
        message = (
            f"Nothing in the mask is as large as a cell of the working grid ({grid.spacing_mm:.2g} mm). Check the spacing in the header."
        )
        raise CalvariaError(ErrorCode.EMPTY_MASK, message)
    distance = signed_distance_cells(shares > HALF)
    sites = abs(distance) <= REACH_CELLS
    count = int(np.count_nonzero(sites))
    if count > MOST_SITES:
        raise too_large(f"The mask's surface spans {count:,} cells of {grid.spacing_mm:.2g} mm, more than {MOST_SITES:,}", ORGAN)
    columns = [
        shares[sites],
        distance[sites] / REACH_CELLS,
        *(np.full(count, number) for number in (grid.spacing_mm / 2, max(canonical.volume.spacing_mm) / grid.spacing_mm / 2)),
    ]
    return Prepared(volume, canonical, grid, shares, sites, np.stack(columns, axis=1, dtype=np.float32), volume)


def working_grid(volume: BinaryVolume, smallest_mm: float) -> WorkingGrid:
    """Cells as small as the voxels, if that is not too many, over the occupied box of a canonical volume and what is judged around it."""
    extents = [(axis.stop - axis.start) * mm for axis, mm in zip(bounding_box(volume.mask), volume.spacing_mm, strict=True)]
    cell_mm = max(smallest_mm, min(volume.spacing_mm))
    while prod(extent / cell_mm + 2 * REACH_CELLS + 1 for extent in extents) > MOST_CELLS:
        cell_mm *= 1.1
    if cell_mm > LARGEST_CELL_MM:
        spanned = " x ".join(f"{extent:,.0f}" for extent in extents)
        raise too_large(f"The mask spans {spanned} mm, more than any organ", ORGAN)
    return WorkingGrid.over(volume, cell_mm, REACH_CELLS * cell_mm)


def signed_distance_cells(mask: Mask) -> Field:
    """float32 [x, y, z]: of each cell's centre to the nearest one on the other side, positive inside."""
    return np.asarray(edt.edt(mask) - edt.edt(~mask), np.float32)


def finish(prepared: Prepared, inferred: Inferred, settings: Settings) -> dict[str, Mask]:
    """The mask, drawn anew where the network finds cells clearly fuller or emptier than they are."""
    mask, grid = prepared.canonical.mask, prepared.grid
    field = np.where(prepared.sites, inferred.field, prepared.shares)
    solid, box = grid.refine(field, settings.threshold)
    changed = ndimage.maximum_filter(abs(field - prepared.shares) > CHANGED, 3)
    redrawn, part = grid.refine(changed.astype(np.float32), HALF)
    drawn = np.zeros_like(mask)
    drawn[box] = solid
    refined = mask.copy(order="K")
    np.copyto(refined[part], drawn[part], where=redrawn)
    return {"refined": large_components(refined, settings.smallest_mm3 / prod(grid.source_mm))}


REFINEMENT = Task("refinement", ("refined",), prepare, finish)
