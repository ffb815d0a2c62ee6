"""How well an implant fits, computed as the AutoImplant challenge does, in millimetres.

Every metric takes masks, bool [X, Y, Z], on one grid whose axes are `spacing_mm` (x, y, z) apart, and is symmetric in its first two.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calvaria.geometry import Box, bounding_box
from calvaria.volume import BinaryVolume, Mask

Spacing = tuple[float, float, float]

BORDER_MM = 10.0


def dice(a: Mask, b: Mask) -> float:
    """Dice similarity 2|A∩B| / (|A| + |B|), 0 to 1. Two empty masks agree: 1. One empty mask: 0."""
    _check_same_shape(a, b)
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 1.0 if total == 0 else float(2 * np.count_nonzero(a & b) / total)


def border_dice(a: Mask, b: Mask, defective: Mask, spacing_mm: Spacing, distance_mm: float = BORDER_MM) -> float:
    """Dice of two implants where they must fit: on voxels no further than `distance_mm` from the defective skull.

    Policy for empty masks as in `dice`, applied to what lies near the skull. Only the neighbourhood of the implants is searched.
    For the published "10 mm" that are voxels, pass a spacing of (1, 1, 1).
    """
    _check_same_shape(a, b, defective)
    box = _grown(bounding_box(a | b), [int(distance_mm / step) + 1 for step in spacing_mm])
    bone = defective[box]
    if not bone.any():  # a distance transform without anything to be distant from means nothing
        return 1.0
    near = ndimage.distance_transform_edt(~bone, sampling=spacing_mm) <= distance_mm
    return dice(a[box] & near, b[box] & near)


def hd95_mm(a: Mask, b: Mask, spacing_mm: Spacing) -> float:
    """95th percentile of the surface distances from A to B and from B to A, pooled, mm.

    A surface is a mask minus its 6-connected erosion; what lies outside the grid counts as empty. Two empty masks: 0. One empty
    mask: infinite, because no distance describes a surface that is not there.
    """
    _check_same_shape(a, b)
    if not a.any() or not b.any():
        return 0.0 if a.any() == b.any() else float("inf")
    box = bounding_box(a | b)
    surface_a, surface_b = _surface(a[box]), _surface(b[box])
    distances = np.concatenate([_distances(surface_a, surface_b, spacing_mm), _distances(surface_b, surface_a, spacing_mm)])
    return float(np.percentile(distances, 95))


def reconstruction_error(a: Mask, b: Mask) -> float:
    """Share of all voxels of the grid in which the masks differ, %."""
    _check_same_shape(a, b)
    return float(100 * np.count_nonzero(a != b) / a.size)


@dataclass(frozen=True)
class Scores:
    """One case. The implant's figures come first: a whole skull scores a high Dice even when nothing was done to it."""

    implant_dice: float
    border_dice: float
    hd95_mm: float
    skull_dice: float
    error_percent: float

    @classmethod
    def mean(cls, scores: "list[Scores]") -> "Scores":
        """The mean of each figure; one infinite distance makes the mean infinite."""
        return cls(*(float(np.mean([getattr(score, field.name) for score in scores])) for field in fields(cls)))


def score(outputs: Mapping[str, BinaryVolume], true_implant: BinaryVolume, defective: BinaryVolume) -> Scores:
    """Score a task's outputs, "completed" and "implant", against the true implant; all on the defective skull's grid.

    Raises ValueError when they do not lie on one grid.
    """
    completed, implant = outputs["completed"], outputs["implant"]
    if not all(defective.same_grid(volume) for volume in (completed, implant, true_implant)):
        raise ValueError("outputs and truth must lie on the defective skull's grid")
    whole = defective.mask | true_implant.mask
    return Scores(
        implant_dice=dice(implant.mask, true_implant.mask),
        border_dice=border_dice(implant.mask, true_implant.mask, defective.mask, defective.spacing_mm),
        hd95_mm=hd95_mm(implant.mask, true_implant.mask, defective.spacing_mm),
        skull_dice=dice(completed.mask, whole),
        error_percent=reconstruction_error(completed.mask, whole),
    )


def _grown(box: Box, margin: list[int]) -> Box:
    """A box with that many more voxels on both sides of each axis, as far as the grid goes."""
    x, y, z = (slice(max(0, span.start - more), span.stop + more) for span, more in zip(box, margin, strict=True))
    return x, y, z


def _surface(mask: Mask) -> Mask:
    eroded: Mask = ndimage.binary_erosion(mask)
    return mask & ~eroded


def _distances(surface: Mask, other: Mask, spacing_mm: Spacing) -> NDArray[np.float64]:
    """From every voxel of one surface to the nearest of the other, mm."""
    distance: NDArray[np.float64] = ndimage.distance_transform_edt(~other, sampling=spacing_mm)
    return distance[surface]


def _check_same_shape(first: Mask, *others: Mask) -> None:
    if any(mask.shape != first.shape or mask.dtype != np.bool_ for mask in (first, *others)):
        raise ValueError(f"masks must be bool and of one shape, not {[(mask.dtype.name, mask.shape) for mask in (first, *others)]}")
