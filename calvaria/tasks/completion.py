"""Completion: a defective skull in, the whole skull and the implant out."""

import cc3d
import edt
import numpy as np
from scipy import ndimage

from calvaria.geometry import Field
from calvaria.tasks.closeup import close_up
from calvaria.tasks.task import CloseUp, Inferred, Prepared, Settings, Task
from calvaria.volume import Mask

OPENING_MM = 1.0
"""Radius of the opening that takes films and threads off an implant: what is thinner than twice this goes."""

AROUND = ndimage.generate_binary_structure(3, 3)
"""A cell and its 26 neighbours."""

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
        part = implant[inferred.closeup.box]
        solid, box = inferred.closeup.grid.refine(inferred.closer, settings.threshold)
        part[box] = clean(solid & ~defective[inferred.closeup.box][box], prepared, settings)
    else:
        pieces = added_pieces(prepared, inferred.field, settings)
        if pieces.any():
            field = np.where(ndimage.binary_dilation(pieces, AROUND), inferred.field, np.float32(0))
            solid, box = prepared.grid.refine(field, settings.threshold)
            implant[box] = clean(solid & ~defective[box], prepared, settings)
    return {"completed": defective | implant, "implant": implant}


def look(prepared: Prepared, field: Field, settings: Settings, closer: Settings) -> CloseUp | None:
    """Around what the first network added; None where it added nothing of size."""
    pieces = added_pieces(prepared, field, settings)
    if not pieces.any():
        return None
    return close_up(prepared, field, ndimage.binary_dilation(pieces, AROUND, iterations=LOOK_CELLS), closer)


def added_pieces(prepared: Prepared, field: Field, settings: Settings) -> Mask:
    """bool [x, y, z]: the large connected pieces that the first network added on the working grid."""
    bone = prepared.shares > 0.5
    added = without_coating((field > settings.threshold) & ~bone, bone)
    return large_components(added, settings.smallest_mm3 / prepared.grid.spacing_mm**3)


def without_coating(added: Mask, given: Mask) -> Mask:
    """The added cells that fill a gap, without those that merely coat bone.

    What fills a gap has cells that touch no given bone; these, and the added cells around them that reach the gap's edge, stay.
    A network that finds all bone a little thicker than it is adds cells too, but they form a coat one cell thick.
    """
    core = added & ~ndimage.binary_dilation(given, AROUND)
    return np.asarray(added & ndimage.binary_dilation(core, AROUND))


def clean(implant: Mask, prepared: Prepared, settings: Settings) -> Mask:
    """An implant without films, threads and crumbs: opened by a ball, then components of a sensible size."""
    volume = prepared.canonical.volume
    opened = open_by_ball(implant, OPENING_MM, volume.spacing_mm)
    return large_components(opened, settings.smallest_mm3 / volume.voxel_mm3)


def open_by_ball(mask: Mask, radius_mm: float, spacing_mm: tuple[float, float, float]) -> Mask:
    """Morphological opening [X, Y, Z] by a ball; by two distance transforms, so that anisotropic spacing is no matter."""
    core = edt.edt(mask, anisotropy=spacing_mm, black_border=True) > radius_mm
    opened: Mask = edt.edt(~core, anisotropy=spacing_mm) <= radius_mm
    return opened & mask


def large_components(mask: Mask, smallest: float) -> Mask:
    """The 26-connected components of at least `smallest` voxels."""
    labels = cc3d.connected_components(mask, connectivity=26)
    large = cc3d.statistics(labels, no_slice_conversion=True)["voxel_counts"] >= smallest
    large[0] = False
    return np.asarray(large[labels])


COMPLETION = Task("completion", ("completed", "implant"), finish, look)
