"""What an implant is judged by: the figures of one case, the implant's before the skull's."""

from collections.abc import Mapping
from dataclasses import dataclass

from calvaria.evaluation.metrics import TOLERANCE_MM, Spacing, SurfaceDistances, border_dice, dice, precision, recall, reconstruction_error
from calvaria.volume import BinaryVolume, Mask

VOXELS: Spacing = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Scores:
    """One case. The implant's figures come first: a whole skull scores a high Dice even when nothing was done to it.

    Dice, precision, recall and nsd_1mm (normalised surface distance, tolerance 1 mm) run from 0 to 1. border_dice counts what lies
    within 10 mm of the defective skull, border_voxels_dice within 10 voxels; error_percent is the share of all voxels that are wrong.
    """

    implant_dice: float
    border_dice: float
    border_voxels_dice: float
    hd95_mm: float
    nsd_1mm: float
    precision: float
    recall: float
    implant_cm3: float
    skull_dice: float
    skull_border_dice: float
    skull_border_voxels_dice: float
    skull_hd95_mm: float
    skull_nsd_1mm: float
    skull_precision: float
    skull_recall: float
    error_percent: float


def score(outputs: Mapping[str, BinaryVolume], true_implant: BinaryVolume, defective: BinaryVolume) -> Scores:
    """Score a task's outputs, "completed" and "implant", against the true implant; all on the defective skull's grid.

    Raises ValueError when they do not lie on one grid.
    """
    completed, implant = outputs["completed"], outputs["implant"]
    if not all(defective.same_grid(volume) for volume in (completed, implant, true_implant)):
        raise ValueError("outputs and truth must lie on the defective skull's grid")
    made, truth, bone, spacing = implant.mask, true_implant.mask, defective.mask, defective.spacing_mm
    whole: Mask = bone | truth
    between_implants = SurfaceDistances.between(made, truth, spacing)
    between_skulls = SurfaceDistances.between(completed.mask, whole, spacing)
    return Scores(
        implant_dice=dice(made, truth),
        border_dice=border_dice(made, truth, bone, spacing),
        border_voxels_dice=border_dice(made, truth, bone, VOXELS),
        hd95_mm=between_implants.percentile(95),
        nsd_1mm=between_implants.within(TOLERANCE_MM),
        precision=precision(made, truth),
        recall=recall(made, truth),
        implant_cm3=implant.occupied * implant.voxel_mm3 / 1000,
        skull_dice=dice(completed.mask, whole),
        skull_border_dice=border_dice(completed.mask, whole, bone, spacing),
        skull_border_voxels_dice=border_dice(completed.mask, whole, bone, VOXELS),
        skull_hd95_mm=between_skulls.percentile(95),
        skull_nsd_1mm=between_skulls.within(TOLERANCE_MM),
        skull_precision=precision(completed.mask, whole),
        skull_recall=recall(completed.mask, whole),
        error_percent=reconstruction_error(completed.mask, whole),
    )
