"""Completion: a defective skull in, the whole skull and the implant out."""

from collections.abc import Mapping
from dataclasses import replace
from math import ceil, prod

import numpy as np
from scipy import ndimage

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.geometry import Box, Field, bounding_box, none_of, to_canonical
from calvaria.grid import BEYOND, WorkingGrid
from calvaria.sampling import nearest
from calvaria.tasks.clefts import NARROWEST_MM, without_strips
from calvaria.tasks.closeup import CloseUp, close_up
from calvaria.tasks.components import boxes, components, large_components, wide_components
from calvaria.tasks.heads import beside_head, unlike_heads
from calvaria.tasks.hints import Hints
from calvaria.tasks.opening import grown_by_ball, open_by_ball
from calvaria.tasks.other_side import as_opposite, lacked
from calvaria.tasks.scan_end import clear_beyond
from calvaria.tasks.skull_base import without_openings
from calvaria.tasks.task import Cells, Extras, Inferred, Prepared, Settings, Task, check_mask, too_large
from calvaria.volume import BinaryVolume, Mask

IMPLANT = "implant"
"""The output that is what was missing."""

SKULL = "a skull"

MOST_CELLS_ALONG = 1024
"""Cells along an axis of a working grid: at 3 mm, more than the tallest person."""

MOST_CELLS = 2**22
"""Cells of a working grid. A head has about 300,000 at 3 mm."""

MOST_SITES = 2**17
"""Occupied cells of a working grid. A head has about 30,000 at 3 mm.

This many scattered over as many cells as there may be take `prepare` and the shipped networks 0.35 GiB beside the process itself, mirror
images included, on the native engine (measured: the growth of the peak resident size).
"""

MOST_OWN_CELLS, MOST_OWN_SITES = 2**28, 2**24
"""The same where cells are the volume's own voxels, as in the paper, up to 512³ with 12 % of bone. No weights that ship work so: whoever
trains some has the memory.
"""

ELSEWHERE_MM = 23.0, 16.5
"""Margins, mm, of two more grids, whose cells of 3 mm lie a third and a half of one otherwise; heads learned from have 2 to 44. What the
first network says of openings in base and orbits hangs on where cells lie; see `models/completion/decisions.md`.
"""

OPENING_MM = 1.0
"""Radius of the opening that takes films and threads off an implant: what is thinner than twice this goes."""

LOOK_ABOVE = 0.3
LOOK_SMALLEST_MM3 = 100.0
"""What the second network is asked about: doubtful and small pieces, too. Chosen on validation skulls (seeds from 930,000): seven of
eight small holes are looked at, and next to nothing on intact heads."""

LOOK_CELLS = 2
"""Cells of the first network around what it added that the second judges anew."""


def prepare(volume: BinaryVolume, settings: Settings, extras: Extras = Extras()) -> Prepared:
    """Lay a working grid over a volume, or over its head alone where pieces lie beside that.

    Raises CalvariaError EMPTY_MASK or FULL_MASK where there is no shape to work on, TOO_LARGE where there is more work than any
    head makes, however few bytes its file has.
    """
    check_mask(volume, SKULL)
    canonical = to_canonical(volume)
    grid = _grid_over(canonical.volume, settings, settings.margin_mm)
    cell_mm = grid.spacing_mm
    most_cells, most_sites = (MOST_CELLS, MOST_SITES) if settings.spacing_mm else (MOST_OWN_CELLS, MOST_OWN_SITES)
    if prod(grid.shape) > most_cells or max(grid.shape) > MOST_CELLS_ALONG:
        extents = zip(bounding_box(canonical.mask), canonical.volume.spacing_mm, strict=True)
        spanned = " × ".join(f"{(axis.stop - axis.start) * mm:,.0f}" for axis, mm in extents)
        raise too_large(f"The mask spans {spanned} mm, more than a working grid of {cell_mm:g} mm may", SKULL)
    cells = _cells(grid, canonical.mask, settings)
    beside = beside_head(cells.sites)
    if beside.any():
        near = nearest(ndimage.maximum_filter(beside, 3), grid, canonical.volume)
        head = volume.like(canonical.from_canonical(canonical.mask & ~near))
        return replace(prepare(head, settings), volume=volume, answer=volume)
    if cells.occupied_cells == 0:
        raise CalvariaError(
            ErrorCode.EMPTY_MASK,
            f"Nothing in the mask is as large as a cell of the working grid ({cell_mm:g} mm). "
            "Check the spacing in the header and that the mask is a skull.",
        )
    others = [_grid_over(canonical.volume, settings, margin_mm) for margin_mm in ELSEWHERE_MM if settings.mirrored and settings.spacing_mm]
    elsewhere = tuple(_cells(other, canonical.mask, settings) for other in others)
    if (most := max(each.occupied_cells for each in (cells, *elsewhere))) > most_sites:
        litres = [count * cell_mm**3 / 1e6 for count in (most, most_sites)]
        raise too_large("The mask fills {:.1f} litres, more than the {:.1f} that are worked on".format(*litres), SKULL)
    return Prepared(grid, cells.shares, cells.sites, cells.features, volume, canonical, answer=volume, elsewhere=elsewhere)


def _cells(grid: WorkingGrid, mask: Mask, settings: Settings) -> Cells:
    """Cells with some bone, and how full they are."""
    shares = grid.coarsen(mask)
    sites = shares > settings.occupied_share
    return Cells(grid, shares, sites, shares[sites][:, None])


def _grid_over(volume: BinaryVolume, settings: Settings, margin_mm: float) -> WorkingGrid:
    """Cells over the bone of a canonical volume and a margin around it.

    Sideways and above they lie alike however closely a file was cropped around a head, so that its answer does not depend on that. Below
    they end with the field of view, as most scans do, in training as well; and cells as wide as the volume's voxels are those voxels.
    """
    if not settings.spacing_mm:
        return WorkingGrid.over(volume, max(volume.spacing_mm), margin_mm)
    return WorkingGrid.over(volume, settings.spacing_mm, margin_mm, (BEYOND, BEYOND, (False, True)))


def finish(prepared: Prepared, inferred: Inferred, settings: Settings) -> dict[str, Mask]:
    """The implant at the volume's own resolution, and the skull with it.

    Whatever the network added on the working grid forms candidate pieces; only near those is the answer refined, so that the outside of
    intact bone is never touched. There the interpolated probability, of the second look where there was one, less what was given, is the
    implant. Small round holes of the vault are filled whatever the second network says, which takes some for burr holes; what it
    would add away from the vault, or against the other side, is left out.
    """
    given = to_canonical(prepared.volume).mask  # with what lies beside the head
    implant, completed = none_of(given), given.copy(order="K")
    closeup = inferred.closeup
    if isinstance(closeup, CloseUp) and inferred.closer is not None:
        part, grid, field = closeup.box, closeup.grid, np.maximum(inferred.closer, closeup.plain)
        for without in (as_opposite, without_strips, without_openings):
            field = without(field, closeup, settings.threshold)
    else:
        pieces = added_pieces(prepared, inferred.field, settings.threshold, settings.smallest_mm3)
        part, grid, field = np.s_[:, :, :], prepared.grid, np.where(_grown(pieces, 1), inferred.field, np.float32(0))
    solid, box = grid.refine(field, settings.threshold)
    missing = np.greater(solid, given[part][box], out=solid)
    clear_beyond(missing, [(of.start or 0) + start.start for of, start in zip(part, box, strict=True)], prepared)
    thick = thick_box(missing, OPENING_MM, grid.source_mm)
    piece = clean(np.asfortranarray(missing[thick]), grid.source_mm, settings)
    for answer in (implant, completed):
        answer[part][box][thick] |= piece
    return {"completed": completed, IMPLANT: implant}


def look(prepared: Prepared, guess: Field, settings: Settings, closer: Settings) -> CloseUp | None:
    """Around what the first network, the continued vault or the other side may add, were it little or doubtful; None where none adds
    anything.

    guess  float32 [placements, x, y, z]: what the first network says. It is looked wherever any placement has it add something; the
           second network is told their mean.
    """
    hints = Hints.of(prepared)
    pieces = added_pieces(prepared, np.maximum(guess.max(axis=0), hints.filled(prepared.grid)), LOOK_ABOVE, LOOK_SMALLEST_MM3)
    around = _grown(pieces, LOOK_CELLS)
    around |= _grown(lacked(prepared, hints, around), LOOK_CELLS)
    if not around.any():
        return None
    return close_up(prepared, guess.mean(axis=0), around, hints, closer)


def added_pieces(prepared: Prepared, field: Field, above: float, smallest_mm3: float) -> Mask:
    """bool [x, y, z]: the connected pieces of at least a size that the first network added on the working grid.

    A cell counts where more than the share `above` of it is added, so that a network that finds all bone a little thicker than it is
    coats nothing.
    """
    return large_components(field - prepared.shares > above, smallest_mm3 / prepared.grid.spacing_mm**3)


def thick_box(mask: Mask, radius_mm: float, spacing_mm: tuple[float, float, float]) -> Box:
    """A box that holds whatever an opening by a ball leaves of a mask [X, Y, Z], and what lies within another radius of that.

    The centre of such a ball has occupied voxels on both sides along every axis, nearly a radius away: soon found, and rare where a
    large mask is mostly film.
    """
    reach = [ceil(0.99 * radius_mm / mm) - 1 for mm in spacing_mm]  # 0.99: distances of just a radius are rounded
    inner = [slice(cells, max(count - cells, cells)) for cells, count in zip(reach, mask.shape, strict=True)]
    thick = mask[tuple(inner)].copy(order="K")
    for axis, cells in enumerate(reach):
        for start in (0, 2 * cells):
            moved = slice(start, start + thick.shape[axis])
            thick &= mask[(*inner[:axis], moved, *inner[axis + 1 :])]
    x, y, z = (
        slice(max(found.start - cells - 1, 0), found.stop + 3 * cells + 1) for found, cells in zip(bounding_box(thick), reach, strict=True)
    )
    return x, y, z


def _grown(mask: Mask, cells: int) -> Mask:
    """A mask and all within a cube of `cells` on each side of its own."""
    return np.asarray(ndimage.maximum_filter(mask, 2 * cells + 1))


def clean(implant: Mask, spacing_mm: tuple[float, float, float], settings: Settings) -> Mask:
    """An implant without films, threads, crumbs and what would fill clefts: opened by a ball, then components of a sensible size and width.

    Piece by piece, each in its own box, since pieces may lie far apart and a ball lies in one alone. What the ball rounds off is put
    back, as far as its radius reaches: where implant and bone meet, an edge is no corner. Crumbs that this brings along are not.
    """
    cleaned = np.zeros_like(implant)
    if not implant.any():
        return cleaned
    smallest = settings.smallest_mm3 / prod(spacing_mm)
    labels, counts = components(implant)
    found = boxes(labels, implant)
    for label in np.flatnonzero(counts[1:] >= smallest) + 1:
        box = found[label - 1]
        piece = labels[box] == label
        thick = thick_box(piece, OPENING_MM, spacing_mm)
        opened = open_by_ball(np.asfortranarray(piece[thick]), OPENING_MM, spacing_mm)
        kept = wide_components(large_components(opened, smallest), spacing_mm, NARROWEST_MM)
        cleaned[box][thick] |= large_components(grown_by_ball(kept, OPENING_MM, spacing_mm) & piece[thick], smallest)
    return cleaned


def remark(volume: BinaryVolume, outputs: Mapping[str, BinaryVolume], settings: Settings) -> tuple[str, str] | None:
    """That nothing is missing."""
    if outputs[IMPLANT].occupied:
        return None
    found = f"No hole of at least {settings.smallest_mm3:g} mm3 is seen with a probability above {settings.threshold:g}"
    return "no-defect", f"{found} (clefts, and natural openings of the orbits and the skull base, do not count): the implant is empty."


COMPLETION = Task("completion", ("completed", IMPLANT), prepare, finish, look=look, unlike=unlike_heads, remark=remark, pieces=IMPLANT)
