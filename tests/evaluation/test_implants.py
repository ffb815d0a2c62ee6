import numpy as np
import pytest

from calvaria.evaluation.implants import score
from calvaria.volume import BinaryVolume, Mask


def box(shape: tuple[int, int, int], *spans: tuple[int, int]) -> Mask:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*span) for span in spans)] = True
    return mask


SKULL = BinaryVolume.on_grid(box((20, 20, 20), (0, 20), (0, 20), (0, 2)), (1, 1, 1))
DEFECTIVE = SKULL.like(SKULL.mask & ~box(SKULL.shape, (5, 10), (5, 10), (0, 2)))
TRUTH = SKULL.like(SKULL.mask & ~DEFECTIVE.mask)


def test_a_perfect_answer_has_nothing_wrong() -> None:
    perfect = score({"completed": SKULL, "implant": TRUTH}, TRUTH, DEFECTIVE)
    volume_cm3 = perfect.pop("implant_cm3")
    wrong = {"hd95_mm", "skull_hd95_mm", "error_percent"}
    assert {name for name, value in perfect.items() if value == 1} == perfect.keys() - wrong
    assert {name for name, value in perfect.items() if value == 0} == wrong
    assert volume_cm3 == pytest.approx(0.05)


def test_nothing_done_is_nothing_won_but_the_skulls_dice_flatters() -> None:
    nothing = score({"completed": DEFECTIVE, "implant": SKULL.like(np.zeros_like(SKULL.mask))}, TRUTH, DEFECTIVE)
    assert nothing["implant_dice"] == nothing["border_dice"] == nothing["nsd_1mm"] == nothing["recall"] == nothing["precision"] == 0
    assert nothing["hd95_mm"] == np.inf
    missing = TRUTH.occupied / SKULL.occupied
    assert nothing["skull_dice"] == pytest.approx(2 * (1 - missing) / (2 - missing))
    assert nothing["skull_precision"] == 1
    assert nothing["skull_recall"] == pytest.approx(1 - missing)
    assert nothing["error_percent"] == pytest.approx(100 * TRUTH.occupied / SKULL.mask.size)


def test_too_much_costs_precision_and_too_little_recall() -> None:
    half = SKULL.like(TRUTH.mask & box(SKULL.shape, (0, 20), (0, 20), (0, 1)))
    little = score({"completed": SKULL.like(DEFECTIVE.mask | half.mask), "implant": half}, TRUTH, DEFECTIVE)
    assert (little["precision"], little["recall"]) == (1, 0.5)
    thick = SKULL.like(box(SKULL.shape, (5, 10), (5, 10), (0, 4)))
    much = score({"completed": SKULL.like(DEFECTIVE.mask | thick.mask), "implant": thick}, TRUTH, DEFECTIVE)
    assert (much["precision"], much["recall"]) == (0.5, 1)
    assert much["skull_precision"] == pytest.approx(800 / 850)


def test_ten_millimetres_and_ten_voxels_are_two_borders() -> None:
    """What was made 7.5 mm away, 15 voxels, lies within the one alone."""
    defective, truth = (BinaryVolume.on_grid(volume.mask, (0.5, 0.5, 0.5)) for volume in (DEFECTIVE, TRUTH))
    stray = truth.like(truth.mask | box(SKULL.shape, (0, 5), (0, 5), (16, 17)))
    scores = score({"completed": defective.like(defective.mask | stray.mask), "implant": stray}, truth, defective)
    assert scores["border_dice"] == pytest.approx(100 / 125)
    assert scores["skull_border_dice"] == pytest.approx(1600 / 1625)
    assert scores["border_voxels_dice"] == scores["skull_border_voxels_dice"] == 1


def test_answers_on_another_grid_are_refused() -> None:
    with pytest.raises(ValueError, match="grid"):
        score({"completed": SKULL, "implant": TRUTH}, BinaryVolume.on_grid(TRUTH.mask, (2, 2, 2)), DEFECTIVE)
