"""What of an answer the head's other side speaks against: openings that both sides have, such as an orbit's."""

import numpy as np
from scipy import ndimage

from calvaria.geometry import Field
from calvaria.sampling import placed
from calvaria.tasks.closeup import MIRRORED
from calvaria.tasks.task import CloseUp

CONTINUED = 0.5
"""Depth in the continued vault (`Hints.depth`) from which on it is as good a witness as the other side."""

SKIN = np.ones((3, 3, 3), np.bool_)
"""What holds no such cube is a skin on bone: there the sides may differ by a cell or two, and nothing is said."""

AROUND = 2
"""Cells around what is thicker that go with it, as far as they are open on the other side, too."""


WITNESS = 0.8
AROUND_CELLS = 8.0
"""The other side is asked only where it has so much of the bone that this side has around (a Gaussian of that deviation): not where a scan
shows half a head, or the mirror image does not fit. Around what the rule took from whole real heads it had 0.51 to 0.99 (medians 0.85 to
0.97), around what it would have taken from halves of the same medians of up to 0.34.
"""


def as_opposite(field: Field, closeup: CloseUp, threshold: float) -> Field:
    """A close-up's field without what the mirror image of the answer itself leaves open, unless the vault goes on there or the other side
    is no witness.

    Of the answer, not of the skull: a hole on both sides is filled on both, but an orbit that is open on one side is on the other. Networks
    close part of it where the brow above is missing and its roof was lost to the scan's threshold.
    """
    added = (field > threshold) & (closeup.shares <= 0.5)
    depth, mirrored = np.zeros((2, *field.shape), np.float32)
    depth[closeup.sites], mirrored[closeup.sites] = closeup.features[:, 2], closeup.features[:, 3]
    answer, opposite = (field > threshold).astype(np.float32), np.zeros_like(mirrored)
    opened = added & (mirrored <= MIRRORED) & (depth < CONTINUED)
    if not opened.any():
        return field
    for index, places in placed(opened, np.eye(4)):
        opposite[index] = ndimage.map_coordinates(answer, closeup.opposite(places), order=1, prefilter=False)
    opened &= (opposite <= MIRRORED) & (_witnessed(closeup, mirrored) >= WITNESS)
    thick = ndimage.binary_opening(opened, SKIN)
    gone = opened & ndimage.binary_dilation(thick, iterations=AROUND)
    return np.where(gone, np.float32(0), field)


def _witnessed(closeup: CloseUp, mirrored: Field) -> Field:
    """Of the bone around each cell, as much as the other side has, too: float32 [x, y, z]; 0 where there is none."""
    bone = closeup.sites & (closeup.shares > 0.5)
    both, all_of_it = (ndimage.gaussian_filter(each.astype(np.float32), AROUND_CELLS) for each in (bone & (mirrored > MIRRORED), bone))
    return np.asarray(both / np.maximum(all_of_it, np.float32(1e-6)))
