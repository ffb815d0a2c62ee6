import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.evaluation.cases import Case, cuts_of, generated
from calvaria.evaluation.evaluate import evaluate, summary, write_csv
from calvaria.synthetic import make_skull
from calvaria.synthetic.seeds import EVALUATION, TRAINING, VALIDATION
from calvaria.volume import BinaryVolume

SPACING_MM = 3.0


@pytest.fixture(scope="module")
def skull() -> BinaryVolume:
    return make_skull(11, SPACING_MM)


@pytest.fixture(scope="module")
def cases(skull: BinaryVolume) -> list[Case]:
    return list(cuts_of(skull, 2, seed=5, name="skull"))


def perfect(skull: BinaryVolume, defective: BinaryVolume) -> Mapping[str, BinaryVolume]:
    return {"completed": skull, "implant": skull.like(skull.mask & ~defective.mask)}


def idle(defective: BinaryVolume) -> Mapping[str, BinaryVolume]:
    return {"completed": defective, "implant": defective.like(np.zeros_like(defective.mask))}


def test_cuts_are_the_skull_in_two_parts_and_differ_by_seed(skull: BinaryVolume, cases: list[Case]) -> None:
    for case in cases:
        np.testing.assert_array_equal(case.defective.mask ^ case.implant.mask, skull.mask)
        assert not (case.defective.mask & case.implant.mask).any()
    assert not np.array_equal(cases[0].implant.mask, cases[1].implant.mask)


def test_held_out_skulls_are_never_those_of_training() -> None:
    assert max(EVALUATION) < min(VALIDATION)
    assert max(VALIDATION) < min(TRAINING)
    for seed in (max(EVALUATION) + 1, max(EVALUATION), -1):
        with pytest.raises(CalvariaError, match="trained on") as refusal:
            next(generated(2, seed, SPACING_MM))
        assert refusal.value.code is ErrorCode.BAD_OPTION


def test_what_is_no_skull_cannot_be_cut() -> None:
    speck = np.zeros((9, 9, 9), dtype=bool)
    speck[4, 4, 4] = True
    with pytest.raises(CalvariaError):
        list(cuts_of(BinaryVolume.on_grid(speck, (1, 1, 1)), 1, 0, "speck"))


def test_working_resolution_keeps_a_case_that_lies_on_it(cases: list[Case]) -> None:
    case = cases[0]
    working = case.at_working_resolution(SPACING_MM)
    assert working.implant.occupied == case.implant.occupied
    assert working.defective.occupied == case.defective.occupied
    coarser = case.at_working_resolution(2 * SPACING_MM)
    assert coarser.defective.spacing_mm == pytest.approx((2 * SPACING_MM,) * 3)
    assert not (coarser.defective.mask & coarser.implant.mask).any()


def test_every_method_is_scored_on_every_case(skull: BinaryVolume, cases: list[Case], tmp_path: Path) -> None:
    compared = {"perfect": lambda defective: perfect(skull, defective), "idle": idle}
    results = list(evaluate(cases, compared))
    assert [(result.case, result.method) for result in results] == [(case.name, name) for case in cases for name in compared]
    assert all(result.scores.implant_dice == (result.method == "perfect") for result in results)
    write_csv(tmp_path / "new" / "scores.csv", results)
    rows = list(csv.DictReader((tmp_path / "new" / "scores.csv").open()))
    assert [float(row["hd95_mm"]) for row in rows] == [0, np.inf, 0, np.inf]
    console = Console(width=140, record=True, file=(tmp_path / "table.txt").open("w"))
    console.print(summary(results, "two cuts"))
    perfect_line, idle_line = (line for line in console.export_text().splitlines() if "perfect" in line or "idle" in line)
    assert "1.000" in perfect_line
    assert "2 of 2" in idle_line
