"""Completion: a defective skull in, the whole skull and the implant out."""

from math import prod

import cc3d
import edt
import numpy as np
from scipy import ndimage

from calvaria.geometry import Field, WorkingGrid
from calvaria.tasks.closeup import close_up
from calvaria.tasks.task import CloseUp, Inferred, Prepared, Settings, Task
from calvaria.volume import Mask

OPENING_MM = 1.0
"""Radius of the opening that takes films and threads off an implant: what is thinner than twice this goes."""

AROUND = ndimage.generate_binary_structure(3, 3)
"""A cell and its 26 neighbours."""

LOOK_ABOVE = 0.3
LOOK_SMALLEST_MM3 = 100.0
"""What the second network is asked about: doubtful and small pieces, too. Chosen on validation skulls (seeds from 930,000): seven of
eight small holes are looked at, and next to nothing on intact heads."""

LOOK_CELLS = 2
"""Cells of the first network around what it added that the second judges anew."""


def finish(prepared: Prepared, inferred: Inferred, settings: Settings) -> dict[str, Mask]:
    """The implant at the volume's own resolution, and the skull with it.

    Whatever the network added on the working grid forms candidate pieces; only near those is the answer refined, so that the outside of
    intact bone is never touched. There the interpolated probability, of the second look where there was one, less the defective skull,
    is the implant.
    """
    defective = prepared.canonical.mask
    implant = np.zeros_like(defective)
    if inferred.closeup is not None and inferred.closer is not None:
        _fill(implant[inferred.closeup.box], defective[inferred.closeup.box], inferred.closeup.grid, inferred.closer, settings)
    else:
        pieces = added_pieces(prepared, inferred.field, settings.threshold, settings.smallest_mm3)
        field = np.where(ndimage.binary_dilation(pieces, AROUND), inferred.field, np.float32(0))
        _fill(implant, defective, prepared.grid, field, settings)
    return {"completed": defective | implant, "implant": implant}


def look(prepared: Prepared, field: Field, settings: Settings, closer: Settings) -> CloseUp | None:
    """Around what the first network may have added, were it little or doubtful; None where it added nothing."""
    pieces = added_pieces(prepared, field, LOOK_ABOVE, LOOK_SMALLEST_MM3)
    if not pieces.any():
        return None
    return close_up(prepared, field, ndimage.binary_dilation(pieces, AROUND, iterations=LOOK_CELLS), closer)


def added_pieces(prepared: Prepared, field: Field, above: float, smallest_mm3: float) -> Mask:
    """bool [x, y, z]: the connected pieces of at least a size that the first network added on the working grid.

    A cell counts where more than the share `above` of it is added, so that a network that finds all bone a little thicker than it is
    coats nothing.
    """
    return large_components(field - prepared.shares > above, smallest_mm3 / prepared.grid.spacing_mm**3)


def _fill(implant: Mask, defective: Mask, grid: WorkingGrid, field: Field, settings: Settings) -> None:
    """Write what a field on a working grid says is missing into an implant, empty before; both masks lie under the grid."""
    solid, box = grid.refine(field, settings.threshold)
    implant[box] = clean(solid & ~defective[box], grid.source_mm, settings)


def clean(implant: Mask, spacing_mm: tuple[float, float, float], settings: Settings) -> Mask:
    """An implant without films, threads and crumbs: opened by a ball, then components of a sensible size."""
    opened = open_by_ball(implant, OPENING_MM, spacing_mm)
    return large_components(opened, settings.smallest_mm3 / prod(spacing_mm))


def open_by_ball(mask: Mask, radius_mm: float, spacing_mm: tuple[float, float, float]) -> Mask:
    """Morphological opening [X, Y, Z] by a ball; by two distance transforms, so that anisotropic spacing is no matter."""
    core = edt.edt(mask, anisotropy=spacing_mm, black_border=True) > radius_mm
    opened: Mask = edt.edt(~core, anisotropy=spacing_mm) <= radius_mm
    return opened & mask


def large_components(mask: Mask, smallest: float) -> Mask:
    """The 26-connected components of at least `smallest` voxels."""
    if not mask.any():
        return mask
    labels = cc3d.connected_components(mask, connectivity=26)
    large = cc3d.statistics(labels, no_slice_conversion=True)["voxel_counts"] >= smallest
    large[0] = False
    return np.asarray(large[labels])


COMPLETION = Task("completion", ("completed", "implant"), finish, look)
