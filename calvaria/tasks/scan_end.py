"""Where a scan ends: what lies beyond was never seen, so it is not missing.

A volume may reach further than its scan did: it was padded, or a tilted scan was resampled along the head's axes, and then bone ends
obliquely, in a plane, in the middle of air. And a field of view may be smaller than the head.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import cos, prod, radians

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

FLAT_CM2 = 16.0
"""Least area of bone, cm², in a head's outermost millimetre where a scan ends flat; in voxels that are thicker, as many times more, since
a dome's top is flat as well. Uncut, sixteen validation heads (seeds from 900,200) have 8 at most, and eighteen real ones 11.6; with 8 to
40 mm cut off at the top, the left or the back 10 to 95, nearly all more than 20.
"""

SEEN_MM = 1.0

PLATE_MM = 6.0
"""Thickness of the plate with which the networks close an oblique or flat end, as if it were a hole (5.4 mm on the real head, obliquely):
they have seen scans that end across the third axis alone. An implant that reaches such an end is shorter by it.
"""

SPECK = 0.05
"""Share of the cells below which a piece is no part of the head."""


@dataclass(frozen=True)
class FlatEnd:
    """Bone that ends across an axis of the canonical grid, at its high or its low end; `bone` is the outermost voxel with any."""

    axis: int
    high: bool
    bone: int

    @property
    def name(self) -> str:
        return (("right side", "left side"), ("front", "back"), ("lowest end", "top"))[self.axis][self.high]


def clear_beyond(missing: Mask, first: Sequence[int], prepared: Prepared) -> None:
    """Clear what is `missing`, bool [x, y, z], in place: below the lowest bone, below or along an oblique plane in which that ends, and
    beyond or along the scan's other ends.

    first  where the mask begins in the canonical grid
    """
    if not missing.any():
        return
    head = main_part(prepared)
    missing[:, :, : max(_lowest(prepared, head) - first[2], 0)] = False
    for end in flat_ends(prepared, head):
        plate, along = round(PLATE_MM / prepared.grid.source_mm[end.axis]), missing.swapaxes(0, end.axis)
        start = end.bone - first[end.axis]
        along[slice(max(start + 1 - plate, 0), None) if end.high else slice(0, max(start + plate, 0))] = False
    plane = oblique_end(prepared, head)
    if plane is None:
        return
    x, y, z = (
        (np.arange(start, start + count) + 0.5) * (mm * slope)
        for start, count, mm, slope in zip(first, missing.shape, prepared.grid.source_mm, plane[:3], strict=True)
    )
    for place, part in zip(z, missing.transpose(2, 0, 1), strict=True):
        part &= x[:, None] + y <= -(plane[3] + place + PLATE_MM)


def main_part(prepared: Prepared) -> Mask:
    """The cells of the head without small pieces beside it."""
    return large_components(prepared.sites, SPECK * prepared.occupied_cells, largest=True)


def flat_ends(prepared: Prepared, head: Mask) -> Iterator[FlatEnd]:
    """The ends of a head of cells at which more bone lies in one plane than in any dome or face: the scan ends there.

    Not the lowest, where every scan does.
    """
    source_mm = prepared.grid.source_mm
    for axis, cells in enumerate(bounding_box(head)):
        others_cm2 = prod(source_mm) / source_mm[axis] / 100
        thick = max(1, round(SEEN_MM / source_mm[axis]))
        least_cm2 = FLAT_CM2 * max(source_mm[axis] / SEEN_MM, 1)
        for high in (False, True)[axis == 2 :]:
            outermost = cells.stop - 1 if high else cells.start
            voxels = prepared.grid.axes[axis].reach(slice(max(outermost - 1, 0), outermost + 2))
            planes = prepared.canonical.mask.swapaxes(0, axis)[voxels]
            occupied = np.flatnonzero(planes.any(axis=(1, 2)))
            if not len(occupied):
                continue
            bone = int(occupied[-1 if high else 0])
            seen = planes[max(bone + 1 - thick, 0) : bone + 1] if high else planes[bone : bone + thick]
            if np.count_nonzero(seen.any(axis=0)) * others_cm2 >= least_cm2:
                yield FlatEnd(axis, high, int(voxels.start) + bone)


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
