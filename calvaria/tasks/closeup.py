"""A second look: the surroundings of what a network added, on a finer working grid, where another network judges every cell."""

from dataclasses import dataclass
from enum import IntEnum
from math import ceil, prod

import numpy as np
from scipy import ndimage

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.geometry import Box, Field, bounding_box
from calvaria.sampling import nearest, sampled
from calvaria.tasks.hints import Hints, Opposite
from calvaria.tasks.task import Cells, Prepared, Settings
from calvaria.volume import Mask


class Given(IntEnum):
    """The numbers that come with every site, by column: how full it is, the first guess, and what the skull itself hints at (`Hints`)."""

    SHARE, FIRST, DEPTH, MIRRORED = range(4)


INPUTS = len(Given)

FAINT = 0.02
"""Cells whose first guess exceeds this may still belong to the answer."""

CONTINUED, MIRRORED = 0.2, 0.15
"""Depth in the continued vault (`Hints.depth`), and fullness in the mirror image, above which a cell may belong to the answer."""

CONTEXT_MM = 9.0
"""How far around those cells bone is shown."""

MOST_CELLS = 2**24
MOST_SITES = 2**20
"""Most sites of a close-up: more than the whole of any head has at 1.25 mm."""


@dataclass(frozen=True, eq=False)
class CloseUp(Cells):
    """A box of a skull on a finer grid, whose cells are judged, or seen.

    box       of the canonical grid [X, Y, Z]
    plain     float32 [x, y, z]: how full each cell should be at least, whatever the second network says
    astray    bool [x, y, z]: cells away from where anything is missing as a rule
    open      bool [x, y, z]: those of them that should stay empty
    opposite  where in the grid lies what is opposite its cells, in the skull's mirror image
    """

    box: Box
    plain: Field
    astray: Mask
    open: Mask
    opposite: Opposite

    def given(self, column: Given) -> Field:
        """One of the numbers that come with the sites, float32 [x, y, z], and 0 elsewhere."""
        field = np.zeros(self.sites.shape, np.float32)
        field[self.sites] = self.features[:, column]
        return field

    def added(self, field: Field, threshold: float) -> Mask:
        """Where a field of answers, float32 [x, y, z], has bone and the skull has none, bool [x, y, z]."""
        return np.asarray((field > threshold) & (self.shares <= 0.5))


def close_up(prepared: Prepared, guess: Field, around: Mask, hints: Hints, settings: Settings) -> CloseUp | None:
    """Look closer at the cells `around` (bool [x, y, z] on the working grid, not empty) of a first guess.

    `settings` are those of the second network. Sites are the finer cells around that have some bone, or that anything speaks for, and
    bone nearby. None where no voxel's centre lies there: slices may be that far apart.
    """
    reach = ceil(CONTEXT_MM / prepared.grid.spacing_mm)
    seen = ndimage.binary_dilation(around, ndimage.generate_binary_structure(3, 1), iterations=reach)
    reached = bounding_box(seen)
    x, y, z = (axis.reach(cells) for axis, cells in zip(prepared.grid.axes, reached, strict=True))
    if not all(axis.stop for axis in (x, y, z)):
        return None
    volume = prepared.canonical.volume
    part = volume.cropped((x, y, z))
    grid = prepared.grid.recut(reached, settings.spacing_mm, volume).above(part)
    _check("spans", prod(grid.shape), MOST_CELLS)
    shares = grid.coarsen(part.mask)
    bone = shares > settings.occupied_share
    judged, nearby = (nearest(cells, prepared.grid, grid) for cells in (around, seen))
    cells = judged | nearby & bone
    plain = hints.plain(grid, cells)
    first = np.maximum(sampled(guess, prepared.grid, grid), plain)
    depth, (mirrored, opposite) = hints.depth(grid, cells), hints.mirrored(grid, cells)
    sites = cells & (bone | (first > FAINT) | (depth > CONTINUED) | (mirrored > MIRRORED))
    _check("fills", int(np.count_nonzero(sites)), MOST_SITES)
    features = np.stack([values[sites] for values in (shares, first, depth, mirrored)], axis=1)
    beside, below = hints.astray(grid, judged)
    return CloseUp(grid, shares, sites, features, (x, y, z), plain, beside | below, beside & (mirrored <= MIRRORED), opposite)


def _check(verb: str, count: int, most: int) -> None:
    if count > most:
        message = f"What the first network would add {verb} {count:,} cells of the finer grid, more than any implant."
        raise CalvariaError(ErrorCode.TOO_LARGE, f"{message} Check that the mask is a skull, and its spacing.")
