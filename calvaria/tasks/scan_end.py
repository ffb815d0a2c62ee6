"""Where a scan ends below: what lies beyond was never seen, so it is not missing.

A volume may reach further than its scan did: it was padded, or a tilted scan was resampled along the head's axes, and then bone ends
obliquely, in a plane, in the middle of air.
"""

from collections.abc import Sequence
from math import cos, radians

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from calvaria.geometry import bounding_box
from calvaria.tasks.task import Prepared
from calvaria.volume import Mask

FLATTEST_DEG, STEEPEST_DEG = 1.0, 30.0
"""A scanner's gantry tilts by no more, and a head is hardly turned by more."""

CUT_CM2 = 30.0
"""Bone that touches a plane from above, seen from below, where that is a scan's end. Of 40 validation heads (seeds from 900,600) none
touches an oblique plane with more than 17; the real head, turned by 12 to 20 degrees and cut as it was, with 53 to 59.
"""

PLATE_MM = 6.0
"""The networks take an oblique end for a hole and close it with a plate as thick as this (5.4 mm on the real head): they have seen scans
that end across the third axis alone. An implant that reaches such an end is shorter by it.
"""


def clear_beyond(missing: Mask, first: Sequence[int], prepared: Prepared) -> None:
    """Nothing is missing below the lowest bone, nor below an oblique plane in which it ends or along that: in place, bool [x, y, z].

    first  where the mask begins in the canonical grid
    """
    missing[:, :, : max(bounding_box(prepared.canonical.mask)[2].start - first[2], 0)] = False
    plane = oblique_end(prepared)
    if plane is None or not missing.any():
        return
    x, y, z = (
        (np.arange(start, start + count) + 0.5) * (mm * slope)
        for start, count, mm, slope in zip(first, missing.shape, prepared.grid.source_mm, plane[:3], strict=True)
    )
    for place, part in zip(x, missing, strict=True):
        part &= y[:, None] + z <= -(plane[3] + place + PLATE_MM)


def oblique_end(prepared: Prepared) -> NDArray[np.float64] | None:
    """A plane [4]: x, y and z, mm from the corner of the field of view, times the first three, plus the last, are positive beyond it.

    None where bone ends in no plane, or in one across the third axis. The plane goes through the centres of cells.
    """
    edge_mm = prepared.grid.spacing_mm
    columns = prepared.sites.any(axis=2)
    lowest = np.column_stack([np.argwhere(columns), prepared.sites.argmax(axis=2)[columns]])
    points = (lowest + 0.5) * edge_mm + [axis.start_mm for axis in prepared.grid.axes]
    try:
        facets = ConvexHull(points).equations
    except QhullError:  # flat, or fewer than four
        return None
    oblique = facets[(facets[:, 2] < -cos(radians(STEEPEST_DEG))) & (facets[:, 2] > -cos(radians(FLATTEST_DEG)))]
    touching = [np.count_nonzero(points @ facet[:3] + facet[3] > -edge_mm) for facet in oblique]
    if not touching or max(touching) * edge_mm**2 < 100 * CUT_CM2:
        return None
    return np.asarray(oblique[int(np.argmax(touching))])
