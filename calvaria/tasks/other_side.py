"""The head's other side as a witness: for bone that this side lacks, and against closing openings that both have, such as an orbit."""

import numpy as np
from scipy import ndimage

from calvaria.geometry import Field, bounding_box
from calvaria.grid import WorkingGrid
from calvaria.sampling import placed
from calvaria.tasks.closeup import MIRRORED, CloseUp, Given
from calvaria.tasks.components import large_components
from calvaria.tasks.hints import Hints
from calvaria.tasks.task import Prepared
from calvaria.vault.cavity import Points
from calvaria.volume import Mask

WELL_CONTINUED = 0.5
"""Depth in the continued vault (`Hints.depth`) from which on it is as good a witness as the other side."""

SKIN = np.ones((3, 3, 3), np.bool_)
"""Least cube of cells. What holds none is a skin on bone: there the sides may differ by a cell or two, and nothing is said."""

AROUND = 2
"""Cells around what is thicker that go with it, as far as they are open on the other side, too."""

WITNESS = 0.8
AROUND_MM = 10.0
"""Deviation, mm, of the Gaussian that weighs the bone around. The other side is asked only where it has WITNESS of what this side has: not
where a scan shows half a head, or the mirror image does not fit. Around what the rule took from whole real heads it had 0.51 to 0.99
(medians 0.85 to 0.97), around what it would have taken from halves of the same medians of up to 0.34.
"""

ORBITS_BELOW_MM = 25.0
"""How far below the middle of the head both sides are alike in front."""

LACKED_MM3 = 500.0
"""Least size, mm³, of a piece that only the other side has to be looked at; see `models/completion/decisions.md`."""


def lacked(prepared: Prepared, hints: Hints, looked: Mask) -> Mask:
    """Bone of the mirror image alone, apart from all that is here and from what is `looked` at already, bool [x, y, z] on the working grid.

    The first network and the continued vault overlook what is missing low on the head. Only places where the other side is a witness
    count (`_alike`).
    """
    if hints.unrolled is None:
        return np.zeros_like(looked)
    grid = prepared.grid
    alike = _alike(grid, hints, hints.unrolled.centre_mm)
    mirrored, _ = hints.mirrored(grid, alike)
    apart: Mask = (mirrored > 0.5) & ~(ndimage.binary_dilation(prepared.sites) | looked)
    if not apart.any():
        return apart
    apart &= witnessed(alike & (prepared.shares > 0.5), mirrored, AROUND_MM / grid.spacing_mm) >= WITNESS
    return large_components(apart, LACKED_MM3 / grid.spacing_mm**3)


def _alike(grid: WorkingGrid, hints: Hints, middle_mm: Points) -> Mask:
    """Cells, bool [x, y, z], of what both sides have alike: behind the middle of the head the vault, in front all down to the orbits.
    No two faces are.
    """
    everywhere = np.ones(grid.shape, np.bool_)
    beside, below = hints.astray(grid, everywhere)
    astray = beside | below
    alike = np.zeros_like(astray)
    for index, places in placed(everywhere, grid.affine):
        behind = places[1] > middle_mm[1]
        alike[index] = np.where(behind, ~astray[index], places[2] > middle_mm[2] - ORBITS_BELOW_MM)
    return alike


def as_opposite(field: Field, closeup: CloseUp, threshold: float) -> Field:
    """A close-up's field without what the answer's own mirror image leaves open, unless the vault goes on there or the other side is no
    witness.

    The image is the answer's, not the skull's: a hole on both sides is filled on both, but an orbit that is open on one side is on the
    other. Networks close part of it where the brow above is missing and its roof was lost to the scan's threshold.
    """
    added = closeup.added(field, threshold)
    depth, mirrored = closeup.given(Given.DEPTH), closeup.given(Given.MIRRORED)
    answer, opposite = (field > threshold).astype(np.float32), np.zeros_like(mirrored)
    opened = added & (mirrored <= MIRRORED) & (depth < WELL_CONTINUED)
    if not opened.any():
        return field
    for index, places in placed(opened, np.eye(4)):
        opposite[index] = ndimage.map_coordinates(answer, closeup.opposite(places), order=1, prefilter=False)
    opened &= opposite <= MIRRORED
    if not ndimage.binary_erosion(opened[bounding_box(opened)], SKIN).any():  # there is but skin, and witnesses only make it less
        return field
    bone = closeup.sites & (closeup.shares > 0.5)
    opened &= witnessed(bone, mirrored, AROUND_MM / closeup.grid.spacing_mm) >= WITNESS
    thick = ndimage.binary_opening(opened, SKIN)
    gone = opened & ndimage.binary_dilation(thick, iterations=AROUND)
    return np.where(gone, np.float32(0), field)


def witnessed(bone: Mask, mirrored: Field, around_cells: float) -> Field:
    """Share of the bone around each cell that the mirror image has, too, float32 [x, y, z]; 0 where there is none."""
    both, all_of_it = (ndimage.gaussian_filter(each.astype(np.float32), around_cells) for each in (bone & (mirrored > MIRRORED), bone))
    return np.asarray(both / np.maximum(all_of_it, np.float32(1e-6)))
