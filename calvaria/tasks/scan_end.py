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
from calvaria.tasks.components import large_components
from calvaria.tasks.task import Prepared
from calvaria.volume import Mask

FLATTEST_DEG, STEEPEST_DEG = 1.0, 30.0
"""Least and greatest tilt of an oblique scan end: a gantry tilts by no more, and a head is hardly turned by more."""

CUT_CM2 = 30.0
"""Least area of bone, cm², seen from below, that touches an oblique plane where that is a scan's end. Of 40 validation heads (seeds from
900,600) none touches one with more than 17; the real head, turned by 12 to 20 degrees and cut as it was, with 53 to 59.
"""

PLATE_MM = 6.0
"""Thickness of the plate with which the networks close an oblique end, as if it were a hole (5.4 mm on the real head): they have seen scans
that end across the third axis alone. An implant that reaches such an end is shorter by it.
"""

SPECK = 0.05
"""Share of the cells below which a piece is no part of the head."""


def clear_beyond(missing: Mask, first: Sequence[int], prepared: Prepared) -> None:
    """Clear what is `missing`, bool [x, y, z], in place: below the lowest bone, and below or along an oblique plane in which that ends.

    first  where the mask begins in the canonical grid
    """
    if not missing.any():
        return
    head = large_components(prepared.sites, SPECK * prepared.occupied_cells, largest=True)
    missing[:, :, : max(_lowest(prepared, head) - first[2], 0)] = False
    plane = oblique_end(prepared, head)
    if plane is None:
        return
    x, y, z = (
        (np.arange(start, start + count) + 0.5) * (mm * slope)
        for start, count, mm, slope in zip(first, missing.shape, prepared.grid.source_mm, plane[:3], strict=True)
    )
    for place, part in zip(z, missing.transpose(2, 0, 1), strict=True):
        part &= x[:, None] + y <= -(plane[3] + place + PLATE_MM)


def _lowest(prepared: Prepared, head: Mask) -> int:
    """Slice of the canonical grid [X, Y, Z] with the lowest bone of a head of cells."""
    start = int(prepared.grid.axes[2].reach(bounding_box(head)[2]).start)
    return start + int(bounding_box(prepared.canonical.mask[:, :, start:])[2].start)


def oblique_end(prepared: Prepared, head: Mask) -> NDArray[np.float64] | None:
    """The plane [4] of an oblique end. plane[:3] · (x, y, z) + plane[3] > 0 beyond it, mm from the corner of the field of view.

    None where a head of cells ends in no plane, or in one across the third axis. The plane goes through the centres of cells.
    """
    edge_mm = prepared.grid.spacing_mm
    columns = head.any(axis=2)
    lowest = np.column_stack([np.argwhere(columns), head.argmax(axis=2)[columns]])
    points = (lowest + 0.5) * edge_mm + [axis.start_mm for axis in prepared.grid.axes]
    try:
        hull = ConvexHull(points)
    except QhullError:  # flat, or fewer than four
        return None
    best, most = None, 100 * CUT_CM2 / edge_mm**2
    for plane in _large_planes(hull):
        if -cos(radians(FLATTEST_DEG)) < plane[2] < -cos(radians(STEEPEST_DEG)):
            touching = float(np.count_nonzero(points @ plane[:3] + plane[3] > -edge_mm))
            best, most = (plane, touching) if touching >= most else (best, most)
    return best


def _large_planes(hull: ConvexHull) -> NDArray[np.float64]:
    """Planes [N, 4] in which facets of CUT_CM2 or more lie; a plane that much bone touches holds as much of the hull."""
    a, b, c = (hull.points[hull.simplices[:, corner]] for corner in range(3))
    areas_mm2 = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    planes, which = np.unique(np.round(hull.equations, 6), axis=0, return_inverse=True)
    return np.asarray(planes[np.bincount(which.ravel(), areas_mm2) >= 100 * CUT_CM2])
