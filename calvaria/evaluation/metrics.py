"""How well a mask fits the truth, computed as the AutoImplant challenge does, in millimetres.

Every metric takes masks, bool [X, Y, Z], on one grid whose axes are `spacing_mm` (x, y, z) apart. All but `precision` and `recall`,
which take the proposal and then the truth, are symmetric in their first two.
"""

from dataclasses import dataclass

import edt
import numpy as np
from numpy.typing import NDArray

from calvaria.geometry import Box, bared, bounding_box, grown
from calvaria.volume import BinaryVolume, Mask

Spacing = tuple[float, float, float]
Distances = NDArray[np.float32]

BORDER_MM = 10.0
TOLERANCE_MM = 1.0
ROUNDING = 1e-5  # relative, as distances have single precision: what lies exactly at a limit counts as within
SEARCH_MM = 12.0  # searched around differing surfaces at first


def agreement(made: BinaryVolume, truth: BinaryVolume) -> dict[str, float]:
    """What every task reports of an answer: its dice, hd95_mm, nsd_1mm (`SurfaceDistances.within`), precision and recall.

    Raises ValueError unless it lies on the truth's grid.
    """
    if not made.same_grid(truth):
        raise ValueError("the answer must lie on the truth's grid")
    between = SurfaceDistances.between(made.mask, truth.mask, truth.spacing_mm)
    return {
        "dice": dice(made.mask, truth.mask),
        "hd95_mm": between.percentile(95),
        "nsd_1mm": between.within(TOLERANCE_MM),
        "precision": precision(made.mask, truth.mask),
        "recall": recall(made.mask, truth.mask),
    }


def dice(a: Mask, b: Mask) -> float:
    """Dice similarity 2|A∩B| / (|A| + |B|), 0 to 1. Two empty masks agree: 1. One empty mask: 0."""
    _check_same_shape(a, b)
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 1.0 if total == 0 else float(2 * np.count_nonzero(a & b) / total)


def precision(proposed: Mask, truth: Mask) -> float:
    """Share of the proposal that is true, |P∩T| / |P|. An empty proposal: 1 where the truth is empty too, else 0."""
    _check_same_shape(proposed, truth)
    if not proposed.any():
        return float(not truth.any())
    return float(np.count_nonzero(proposed & truth) / np.count_nonzero(proposed))


def recall(proposed: Mask, truth: Mask) -> float:
    """Share of the truth that is proposed, |P∩T| / |T|. An empty truth: 1 where the proposal is empty too, else 0."""
    return precision(truth, proposed)


def border_dice(a: Mask, b: Mask, defective: Mask, spacing_mm: Spacing, distance_mm: float = BORDER_MM) -> float:
    """Dice of two implants where they must fit: on voxels no further than `distance_mm` from the defective skull.

    Policy for empty masks as in `dice`, applied to what lies near the skull; without a skull nothing does: 1. Only the neighbourhood
    of the implants is searched. For the published "10 mm" that are voxels, pass a spacing of (1, 1, 1).
    """
    _check_same_shape(a, b, defective)
    if not defective.any():
        return 1.0
    outside_a, outside_b = a & ~defective, b & ~defective  # what lies in the skull is at no distance from it
    box = _grown(bounding_box(outside_a | outside_b), distance_mm, spacing_mm, a.shape)
    bone = defective[box]
    near = _distance_to(bone, spacing_mm) <= distance_mm * (1 + ROUNDING) if bone.any() else np.zeros_like(bone)
    near_a, near_b = outside_a[box] & near, outside_b[box] & near
    shared = np.count_nonzero(near_a & near_b) + np.count_nonzero(a & b & defective)
    total = sum(np.count_nonzero(near) + np.count_nonzero(mask & defective) for near, mask in ((near_a, a), (near_b, b)))
    return 1.0 if total == 0 else float(2 * shared / total)


def reconstruction_error(a: Mask, b: Mask) -> float:
    """Share of all voxels of the grid in which the masks differ, %."""
    _check_same_shape(a, b)
    return float(100 * np.count_nonzero(a != b) / a.size)


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances of every surface voxel of two masks to the other's surface: `shared` of them are 0, the others in `apart_mm` [n].

    A surface is a mask minus its 6-connected erosion; what lies outside the grid counts as empty.
    """

    shared: int
    apart_mm: Distances

    @classmethod
    def between(cls, a: Mask, b: Mask, spacing_mm: Spacing) -> "SurfaceDistances":
        """The distances of two masks, from A to B and from B to A: none where both are empty, and all infinite where one is, because no
        distance describes a surface that is not there.
        """
        _check_same_shape(a, b)
        box = bounding_box(a | b)
        surface_a, surface_b = (bared(np.pad(mask[box], 1)) for mask in (a, b))
        of_both = int(np.count_nonzero(surface_a) + np.count_nonzero(surface_b))
        if not (a.any() and b.any()):
            return cls(0, np.full(of_both, np.inf, dtype=np.float32))
        apart = _apart_mm(surface_a, surface_b, spacing_mm)
        return cls(of_both - len(apart), apart)

    def percentile(self, percent: float) -> float:
        """Percentile of all distances, mm; the 95th as MedPy's `hd95`. Two empty masks: 0. One empty mask: infinite."""
        total = self.shared + len(self.apart_mm)
        if total == 0 or np.isinf(self.apart_mm).any():
            return 0.0 if total == 0 else float("inf")
        return float(np.percentile(np.concatenate([np.zeros(self.shared), self.apart_mm.astype(np.float64)]), percent))

    def within(self, tolerance_mm: float) -> float:
        """Normalised surface distance (surface Dice): share of all distances up to a tolerance, 0 to 1.

        As MONAI's `compute_surface_dice` counts it (voxels, not areas). Nikolov et al., J Med Internet Res 23 (2021), doi 10.2196/26151.
        Two empty masks: 1. One empty mask: 0.
        """
        total = self.shared + len(self.apart_mm)
        near = self.shared + np.count_nonzero(self.apart_mm <= tolerance_mm * (1 + ROUNDING))
        return float(near / total) if total else 1.0


def _apart_mm(surface_a: Mask, surface_b: Mask, spacing_mm: Spacing) -> Distances:
    """Distances of the voxels that only one of two surfaces has. Where two skulls differ in one place, only that place is searched."""
    only_a, only_b = surface_a & ~surface_b, surface_b & ~surface_a
    differing = bounding_box(only_a | only_b)
    reach = SEARCH_MM
    while True:
        box = _grown(differing, reach, spacing_mm, surface_a.shape)
        found = [
            _distance_to(there[box], spacing_mm)[only[box]] if there[box].any() else np.full(np.count_nonzero(only), np.inf, np.float32)
            for only, there in ((only_a, surface_b), (only_b, surface_a))
        ]
        apart = np.concatenate(found)
        everything = all(span == slice(0, count) for span, count in zip(box, surface_a.shape, strict=True))
        if everything or apart.max(initial=0) <= reach:  # nothing outside the box is nearer
            return apart
        reach *= 3


def _distance_to(mask: Mask, spacing_mm: Spacing) -> Distances:
    """Distance of every voxel, mm, to the nearest of a mask that is not empty."""
    distances: Distances = edt.edt(~mask, anisotropy=spacing_mm)
    return distances


def _grown(box: Box, margin_mm: float, spacing_mm: Spacing, shape: tuple[int, ...]) -> Box:
    """A box with that much more on both sides of each axis, as far as the grid goes."""
    return grown(box, (int(margin_mm / step) + 1 for step in spacing_mm), shape)


def _check_same_shape(first: Mask, *others: Mask) -> None:
    if any(mask.shape != first.shape or mask.dtype != np.bool_ for mask in (first, *others)):
        raise ValueError(f"masks must be bool and of one shape, not {[(mask.dtype.name, mask.shape) for mask in (first, *others)]}")
