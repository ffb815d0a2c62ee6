"""Keeps an answer out of clefts (gaping sutures, a bone flap's saw line) beside the hole that is to be filled."""

from math import ceil

import numpy as np

from calvaria.geometry import Field, bounding_box, grown
from calvaria.tasks.closeup import CloseUp
from calvaria.tasks.components import connected
from calvaria.tasks.opening import grown_by_ball

NARROWEST_MM = 8.0
"""Least width of a hole: what is narrower, however long, is a cleft. A round hole's piece has 0.87 of its diameter; the narrowest rightly
made on validation skulls (seeds from 900,400, small holes among them) has 9.8 mm.
"""

CORNERS_MM = 3.0
"""A hole's corners lie so much further from its middle than its sides do. On 40 validation heads (seeds from 900,600) 2 mm lost a small
implant; with 3 the mean implant DSC rose by 0.0005 and none fell by more than 0.0006.
"""


def without_strips(field: Field, closeup: CloseUp, threshold: float) -> Field:
    """A close-up's field without what its pieces add in clefts that lead away from a hole.

    A hole's middle is half as far from all bone as it is wide; what lies far from any such place is in a cleft. A piece that has none is
    left whole: whether it is too narrow is judged once it is finished.
    """
    cell_mm = closeup.grid.spacing_mm
    added = closeup.added(field, threshold)
    box = grown(bounding_box(added), [ceil(NARROWEST_MM / 2 / cell_mm)] * 3, added.shape)
    added, bone = added[box], closeup.shares[box] > 0.5
    middle = added & ~grown_by_ball(bone, NARROWEST_MM / 2, (cell_mm,) * 3)
    if not middle.any():
        return field
    pieces = connected(added)
    with_middle = np.isin(pieces, np.unique(pieces[middle]))
    kept = field.copy()
    kept[box][with_middle & ~grown_by_ball(middle, NARROWEST_MM / 2 + CORNERS_MM, (cell_mm,) * 3)] = 0
    return kept
