"""What an implant is judged by: the figures of one case, the implant's before the skull's."""

from collections.abc import Mapping

from calvaria.evaluation.metrics import Spacing, agreement, border_dice, reconstruction_error
from calvaria.volume import BinaryVolume

VOXELS: Spacing = (1.0, 1.0, 1.0)


def score(outputs: Mapping[str, BinaryVolume], true_implant: BinaryVolume, defective: BinaryVolume) -> dict[str, float]:
    """The figures of a task's outputs, "completed" and "implant", against the true implant, by name.

    The implant's come first: a whole skull scores a high Dice even when nothing was done to it. Dice, precision, recall and nsd_1mm run
    from 0 to 1. border_dice counts what lies within 10 mm of the defective skull, border_voxels_dice within 10 voxels; error_percent is
    the share of all voxels that are wrong. Raises ValueError unless all lie on the defective skull's grid.
    """
    if not true_implant.same_grid(defective):
        raise ValueError("the true implant must lie on the defective skull's grid")
    completed, implant, whole = outputs["completed"], outputs["implant"], defective.like(defective.mask | true_implant.mask)
    of_implant, of_skull = agreement(implant, true_implant), agreement(completed, whole)
    return {
        "implant_dice": of_implant.pop("dice"),
        **_borders(implant, true_implant, defective),
        **of_implant,
        "implant_cm3": implant.occupied * implant.voxel_mm3 / 1000,
        **{f"skull_{name}": value for name, value in {**of_skull, **_borders(completed, whole, defective)}.items()},
        "error_percent": reconstruction_error(completed.mask, whole.mask),
    }


def _borders(made: BinaryVolume, truth: BinaryVolume, defective: BinaryVolume) -> dict[str, float]:
    """Dice where an implant must fit, within 10 mm and 10 voxels."""
    return {
        name: border_dice(made.mask, truth.mask, defective.mask, spacing)
        for name, spacing in (("border_dice", defective.spacing_mm), ("border_voxels_dice", VOXELS))
    }
