"""Whether a head is like those that completion's networks learned from, and what lies beside it."""

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from calvaria.geometry import bounding_box
from calvaria.tasks.components import components
from calvaria.tasks.scan_end import flat_ends, main_part
from calvaria.tasks.task import Prepared
from calvaria.volume import Mask

HEAD_SPAN_MM = (100.0, 195.0), (130.0, 250.0), (90.0, 250.0)
HEAD_CM3 = 200.0, 1000.0
"""Range of the volume that a head fills, cm³; HEAD_SPAN_MM is that of its extents to the left, to the back and upwards.

24 generated skulls (`make_skull`, seeds 0 to 23, 3 mm), the kind that the networks learn from, span 114-168, 153-216 and 114-216 mm
and fill 353-905 cm³; the real head in the tests spans 138 × 194 × 135 mm and fills 430 cm³. These are wider, so that only what is
surely something else is called so: a brain (1471 cm³), a jaw, a head in the wrong unit, one cut off above the orbits.
"""

BESIDE = 0.8
"""Share of a piece outside the head's hull from which on it is no part of the head. Jaws, necks and flaps of bone lie within, as a rule."""

COARSEST_MM = 5.0
"""Of six intact heads (seeds from 900,200) none gets an implant where slices are 5 mm apart, one at 6.5 mm and four at 8 mm."""

STEP_MM = 9.0
EVEN = 1.1
"""Ratio of unevenness from above to that from below (`_unevenness` by STEP_MM) beyond which a head seems upside down. In 20 defective real
heads and in 80 generated ones, half of them defective (seeds from 900,600), it is 0.8 at most, since a vault is smooth; so upside down,
1.25 at least. Of the back to the front it is 1.03 at most (17 real heads, 40 generated ones).
"""

SIDED = 1.9
"""Ratio of unevenness from one side to that from the other beyond which a head seems to lie on its side or to look aside; 1.52 at most in
the same heads.
"""

UNEVEN = 0.06
"""Unevenness that a base and a face exceed: 0.064 to 0.155 in 120 generated heads (seeds from 900,800), 0.096 to 0.184 in 15 real ones. A
closed shell without either, as of an MRI, has 0.02 to 0.04 from both ends, and does not tell which is up.
"""


def unlike_heads(prepared: Prepared) -> str | None:
    """What of a volume is unlike the heads that the networks learned from: its extent, cell by cell, its volume, how it lies, how coarse it
    is, where its scan ends, or what lies beside it.
    """
    size = _size(prepared)
    said = [size] if size else [_lying(prepared), _coarse(prepared), _ended(prepared)]
    return " ".join(filter(None, [*said, _beside(prepared)])) or None


def _size(prepared: Prepared) -> str | None:
    box = bounding_box(prepared.sites)
    span_mm = [(axis.stop - axis.start) * prepared.grid.spacing_mm for axis in box]
    fills_cm3 = float(prepared.shares.sum()) * prepared.grid.spacing_mm**3 / 1000
    if all(low <= value <= high for value, (low, high) in zip([*span_mm, fills_cm3], [*HEAD_SPAN_MM, HEAD_CM3], strict=True)):
        return None
    expected = " x ".join(f"{low:.0f}-{high:.0f}" for low, high in HEAD_SPAN_MM)
    return (
        f"The mask spans {' x '.join(f'{span:.0f}' for span in span_mm)} mm and fills {fills_cm3:.3g} cm3; the heads that the network "
        f"learned from span {expected} mm and fill {HEAD_CM3[0]:.0f}-{HEAD_CM3[1]:.0f} cm3. Check the spacing, and the answer."
    )


def _lying(prepared: Prepared) -> str | None:
    turned = _turned(prepared.sites, STEP_MM / prepared.grid.spacing_mm)
    return turned and f"The head seems to {turned}. Check the orientation in the header, and the answer."


def _coarse(prepared: Prepared) -> str | None:
    voxel_mm = max(prepared.volume.spacing_mm)
    if voxel_mm <= COARSEST_MM:
        return None
    return f"The mask's voxels have up to {voxel_mm:.3g} mm; above {COARSEST_MM:g} mm intact heads may get implants. Check the answer."


def _ended(prepared: Prepared) -> str | None:
    ends = [end.name for end in flat_ends(prepared, main_part(prepared))]
    if not ends:
        return None
    return f"The scan seems to end within the head, at its {' and its '.join(ends)}: nothing is added there. Check the answer."


def _beside(prepared: Prepared) -> str | None:
    if np.may_share_memory(prepared.volume.mask, prepared.canonical.mask):
        return None
    beside_cm3 = (prepared.volume.occupied - prepared.canonical.volume.occupied) * prepared.volume.voxel_mm3 / 1000
    return f"What lies beside the head ({beside_cm3:.1f} cm3), such as a head holder, is taken for no part of it."


def _turned(sites: Mask, step: float) -> str | None:
    """How a head lies, if not with its vault up and its face to the front."""
    (right, left), (front, back), (below, above) = (
        [_unevenness(seen, step) for seen in (along, along[:, :, ::-1])] for along in (np.moveaxis(sites, axis, 2) for axis in range(3))
    )
    if above > max(EVEN * below, UNEVEN):
        return "lie upside down: it is more uneven from above than from below"
    if back > max(EVEN * front, UNEVEN):
        return "lie on its face or to look backwards: it is more uneven from behind than from the front"
    if max(left, right) > max(SIDED * min(left, right), UNEVEN):
        return "lie on its side or to look aside: one side is far more uneven than the other"
    return None


def _unevenness(sites: Mask, step: float) -> float:
    """Seen along the third axis: the share of neighbouring places whose depth differs by more than a step, in cells."""
    seen, depth = np.asarray(sites.any(axis=2)), sites.argmax(axis=2)
    uneven, both = 0, 0
    for here, there in (np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1]):
        pairs = seen[here] & seen[there]
        uneven += int(np.count_nonzero(pairs & (abs(depth[here] - depth[there]) > step)))
        both += int(np.count_nonzero(pairs))
    return uneven / max(both, 1)


def beside_head(sites: Mask) -> Mask:
    """Cells of pieces that lie beside the head, such as a head holder: most of them outside the convex hull of the largest, as seen from
    above.
    """
    pieces, counts = components(sites)
    if len(counts) <= 2:
        return np.zeros_like(sites)
    head = np.argwhere((pieces == counts[1:].argmax() + 1).any(axis=2))
    try:
        sides = ConvexHull(head).equations
    except QhullError:  # all in one line
        return np.zeros_like(sites)
    x, y = np.ogrid[: sites.shape[0], : sites.shape[1]]
    outside = np.zeros(sites.shape[:2], np.bool_)
    for along_x, along_y, start in sides:
        outside |= along_x * x + along_y * y + start > 1  # more than a cell beyond
    beside = np.bincount(pieces[outside].ravel(), minlength=len(counts)) > BESIDE * counts
    beside[0] = False
    return np.asarray(beside[pieces])
