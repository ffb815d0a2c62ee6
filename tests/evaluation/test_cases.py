from pathlib import Path

import numpy as np
import pytest

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.evaluation.cases import coarsened, cuts_of, from_folder, generated, head, intact, intact_skull
from calvaria.evaluation.defects import AUTOIMPLANT_KINDS, TEST_KINDS
from calvaria.evaluation.scoring import Case, Drawn, Planned
from calvaria.io import write
from calvaria.synthetic.seeds import EVALUATION, TRAINING, VALIDATION
from calvaria.volume import BinaryVolume

SPACING_MM = 3.0


def block() -> Case:
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[2:18, 2:18, 2:18] = True
    piece = np.zeros_like(mask)
    piece[8:12, 8:12, 2:18] = True
    whole = BinaryVolume.on_grid(mask, (SPACING_MM,) * 3)
    return Case(whole.like(mask & ~piece), whole.like(piece))


def test_held_out_skulls_are_never_those_of_training() -> None:
    assert max(EVALUATION) < min(VALIDATION)
    assert max(VALIDATION) < min(TRAINING)
    for seeds in (range(max(EVALUATION) + 1, max(EVALUATION) + 2), range(max(EVALUATION), max(EVALUATION) + 2), range(-1, 2)):
        for source in (generated, intact):
            with pytest.raises(CalvariaError, match="trained on") as refusal:
                source(Drawn(seeds, spacing_mm=SPACING_MM))
            assert refusal.value.code is ErrorCode.BAD_OPTION


def test_planning_makes_nothing_and_names_everything() -> None:
    cases = generated(Drawn(range(5, 15), spacing_mm=0.2))
    assert [case.kind for case in cases] == [*AUTOIMPLANT_KINDS] * 2
    assert len({case.name for case in cases}) == len({case.skull for case in cases}) == 10
    assert {case.kind for case in intact(Drawn(range(3), spacing_mm=0.2))} == {"intact"}


def test_generated_heads_have_voxels_of_their_own() -> None:
    one, other = generated(Drawn(range(3, 5), spacing_mm=4.0))
    case = one.make()
    whole = head(3, 4.0)
    np.testing.assert_array_equal(case.given.mask ^ case.truth.mask, whole.mask)
    assert not (case.given.mask & case.truth.mask).any()
    assert case.given.spacing_mm[0] != case.given.spacing_mm[2]
    assert case.given.spacing_mm != head(4, 4.0).spacing_mm
    assert other.name != one.name


def test_intact_skulls_have_an_empty_truth() -> None:
    (planned,) = intact_skull(block().given, "mine", Drawn(range(5)))
    assert planned.make().given is planned.make().given
    assert planned.make().truth.occupied == 0


def test_cuts_of_one_skull_are_of_that_skull() -> None:
    cases = cuts_of(block().given, "mine", Drawn(range(len(TEST_KINDS))))
    assert {case.skull for case in cases} == {"mine"}
    assert [case.kind for case in cases] == [*TEST_KINDS]
    with pytest.raises(CalvariaError) as refusal:
        cases[0].make()  # a block is no skull
    assert refusal.value.code is ErrorCode.BAD_GEOMETRY


def test_a_folder_of_pairs_is_read_when_it_is_needed(tmp_path: Path) -> None:
    for skull in ("a", "b"):
        (tmp_path / skull).mkdir()
        write(tmp_path / skull / "defective.nrrd", block().given)
        write(tmp_path / skull / "implant.nrrd", block().truth)
    cases = from_folder(tmp_path)
    (tmp_path / "b" / "implant.nrrd").write_bytes(b"NRRD0004")
    assert [case.skull for case in cases] == ["a", "b"]
    np.testing.assert_array_equal(cases[0].make().truth.mask, block().truth.mask)
    with pytest.raises(CalvariaError):
        cases[1].make()


def test_working_resolution_keeps_a_case_that_lies_on_it() -> None:
    planned = Planned("block", "square", "block", block)
    working = coarsened(planned, SPACING_MM).make()
    assert working.truth.occupied == block().truth.occupied
    assert working.given.occupied == block().given.occupied
    coarser = coarsened(planned, 2 * SPACING_MM).make()
    assert coarser.given.spacing_mm == pytest.approx((2 * SPACING_MM,) * 3)
    assert not (coarser.given.mask & coarser.truth.mask).any()
