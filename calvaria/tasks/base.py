"""What of an answer would close openings that a head has by itself: in the roofs of the orbits, the base and the face."""

import numpy as np

from calvaria.geometry import Field
from calvaria.tasks.components import components
from calvaria.tasks.task import CloseUp

MOST_ASTRAY = 0.6
"""Of a piece of an implant, as much may lie away from the vault. Of what 36 validation heads lack (seeds from 900,300; defects at the brow
and at the scan's edge, small and large ones among them) 0.31 does at most.
"""


def without_openings(field: Field, closeup: CloseUp, threshold: float) -> Field:
    """A close-up's field without the pieces that lie in other bone than the vault.

    Bone as thin as the roofs of the orbits is lost to a scan's threshold. Its ragged holes look like defects, but are in every such head.
    A defect that reaches them from the vault is filled with them.
    """
    added = (field > threshold) & (closeup.shares <= 0.5)
    if not (added & closeup.astray).any():
        return field
    pieces, counts = components(added)
    astray = np.bincount(pieces[added & closeup.astray], minlength=len(counts)) > MOST_ASTRAY * counts
    astray[0] = False
    return np.where(astray[pieces], np.float32(0), field)
