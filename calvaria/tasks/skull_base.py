"""Keeps an answer from closing openings that a head has by itself: in the roofs of the orbits, the base and the face."""

import numpy as np

from calvaria.geometry import Field
from calvaria.tasks.closeup import CloseUp, Given
from calvaria.tasks.components import components

MOST_ASTRAY = 0.6
"""Largest share of an implant's piece that may lie away from the vault: beside it, or straight below. Of what 36 validation heads lack
(seeds from 900,300; defects at the brow and at the scan's edge, small and large ones among them) 0.31 lies beside it at most; of the pieces
that 24 others and their moulded likes lack (from 900,600) 0.45 beside it or below, one at the back of a scan's edge.
"""

LARGEST_CM3 = 10.0
"""Largest opening that a head has by itself; those seen had 2 and 3. The vault's course over its largest holes is hardly known, and half
of one may seem to lie away from it: 0.53 of 160 cm³ that one of six validation heads lacked (from 900,800).
"""

LARGEST_ONE_SIDED_CM3 = 4.0
WITNESSED = 0.6
"""The same of an opening on one side alone: what is larger is missing, if the skull's mirror image has this share of it. Of 20 validation
heads with defects of an orbit's rim and roof (seeds from 900,950) one, of 12 cm³, stayed open without this.
"""


def without_openings(field: Field, closeup: CloseUp, threshold: float) -> Field:
    """A close-up's field without the pieces that lie in other bone than the vault, and without what is open on the other side, too.

    Bone as thin as the roofs of the orbits is lost to a scan's threshold. Its ragged holes look like defects, but are in every such head,
    and mostly alike on both sides. A defect may reach them from the vault.
    """
    added = closeup.added(field, threshold)
    if not (added & closeup.astray).any():
        return field
    openings = added & closeup.open
    pieces, counts = components(added & ~openings)
    astray = np.bincount(pieces[closeup.astray], minlength=len(counts)) > MOST_ASTRAY * counts
    one_sided = np.bincount(pieces[closeup.given(Given.MIRRORED) > 0.5], minlength=len(counts)) > WITNESSED * counts
    astray &= counts * closeup.grid.spacing_mm**3 <= 1000 * np.where(one_sided, LARGEST_ONE_SIDED_CM3, LARGEST_CM3)
    astray[0] = False
    return np.where(openings | astray[pieces], np.float32(0), field)
