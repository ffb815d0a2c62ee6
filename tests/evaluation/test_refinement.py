"""The test of refinement, with stand-ins for the model: one that knows the truth, one that mends half of what is wrong."""

import csv
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from calvaria.errors import CalvariaError, ErrorCode
from calvaria.evaluation.evaluate import MODEL, Evaluation
from calvaria.evaluation.metrics import SurfaceDistances, dice
from calvaria.evaluation.records import Record
from calvaria.evaluation.refinement import METHODS, MISTAKES, REFINEMENT, SCAN, UNTOUCHED, generated, of_whole, right, whole_as_it_is
from calvaria.evaluation.scoring import Case, Drawn, Outputs, Planned, Scoring
from calvaria.io import read
from calvaria.synthetic.seeds import EVALUATION
from calvaria.tasks import Extras
from calvaria.volume import BinaryVolume

DATA = Path(__file__).parents[3] / "shared" / "data"


def ball(radius: float = 12.0) -> BinaryVolume:
    x, y, z = np.indices((40, 40, 40)) - 20
    return BinaryVolume.on_grid(x**2 + y**2 + z**2 < radius**2, (1.0, 1.0, 1.5))


def knowing(given: BinaryVolume, extras: Extras) -> Outputs:
    return {"refined": ball()}


def scores_of(case: Case, refined: BinaryVolume, scoring: Scoring = MISTAKES) -> dict[str, float]:
    return scoring.score(case, {"refined": refined})


def test_organs_of_every_chest_have_both_kinds_of_mistakes_and_half_are_the_networks() -> None:
    cases = generated(Drawn(range(12)))
    assert len({case.name for case in cases}) == len(cases) == 12 * 6
    assert len({case.skull for case in cases}) == 12
    assert sum("network" in case.kind for case in cases) == 12 * 3
    kinds = {case.kind for case in cases}
    assert len(kinds) == 7
    drawn = [case.kind for case in cases if "drawn" in case.kind]
    assert [drawn.count(f"{organ}, drawn") for organ in ("heart", "aorta", "trachea", "oesophagus")] == [8, 8, 8, 12]
    assert len(generated(Drawn(range(3), ("heart",)))) == 6
    assert {case.kind for case in generated(Drawn(range(2), ("heart", "drawn")))} == {"heart, drawn"}
    assert len({case.kind for case in generated(Drawn(range(2), ("network",)))}) == 3
    assert all(any(word in kind for kind in kinds) for word in REFINEMENT.kinds if word != SCAN)
    with pytest.raises(CalvariaError) as refusal:
        generated(Drawn(range(EVALUATION.stop, EVALUATION.stop + 1)))
    assert refusal.value.code is ErrorCode.BAD_OPTION


def test_the_scan_comes_where_it_is_wanted_and_changes_nothing_else() -> None:
    (without,), (seen,) = (generated(Drawn(range(1), ("oesophagus", "drawn", *more))) for more in ((), (SCAN,)))
    assert without.name != seen.name  # or a record of the one would pass for the other's
    assert [each.name for each in right(Drawn(range(1), ("oesophagus", SCAN)))] == ["chest 0, oesophagus, right, with scan"]
    cases = without.make(), seen.make()
    assert cases[0].extras.image is None
    assert cases[1].extras.image is not None
    assert cases[1].extras.image.shape == cases[1].given.shape
    assert cases[0].given.same_grid(cases[1].given)
    assert dice(cases[0].given.mask, cases[1].given.mask) == dice(cases[0].truth.mask, cases[1].truth.mask) == 1


def test_masks_that_are_right_are_given_as_they_are() -> None:
    (planned,) = right(Drawn(range(1), ("oesophagus",)))
    case = planned.make()
    assert planned.kind == "oesophagus"
    assert case.given is case.truth
    assert case.truth.occupied
    assert [each.kind for each in right(Drawn(range(1)))] == ["heart", "aorta", "trachea", "oesophagus"]


def test_a_file_gets_other_mistakes_for_every_seed() -> None:
    one, other = (planned.make() for planned in of_whole(ball(), "mine", Drawn(range(2))))
    np.testing.assert_array_equal(one.truth.mask, ball().mask)
    assert not np.array_equal(one.given.mask, other.given.mask)
    for case in (one, other):
        assert 0.6 < dice(case.given.mask, case.truth.mask) <= 0.9
    (again,) = of_whole(ball(), "mine", Drawn(range(1)))
    np.testing.assert_array_equal(again.make().given.mask, one.given.mask)
    (untouched,) = whole_as_it_is(ball(), "mine", Drawn(range(5)))
    case = untouched.make()
    assert case.given is case.truth


@pytest.mark.parametrize("source", [of_whole, whole_as_it_is])
def test_a_file_without_a_shape_and_kinds_that_it_cannot_have_are_refused(source: partial[list[Planned]]) -> None:
    with pytest.raises(CalvariaError) as refusal:
        source(ball(0), "mine", Drawn(range(1)))
    assert refusal.value.code is ErrorCode.EMPTY_MASK
    with pytest.raises(CalvariaError, match="mine fills its grid") as refusal:
        source(BinaryVolume.on_grid(np.ones((4, 4, 4), np.bool_), (1.0, 1.0, 1.0)), "mine", Drawn(range(1)))
    assert refusal.value.code is ErrorCode.FULL_MASK
    for kind in ("heart", "network"):
        with pytest.raises(CalvariaError, match="leave out --kinds") as refusal:
            source(ball(), "mine", Drawn(range(1), (kind,)))
        assert refusal.value.code is ErrorCode.BAD_OPTION
    assert source(ball(), "mine", Drawn(range(1), ("drawn",)))


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0))
def test_the_error_left_is_the_share_of_one_less_dice(seed: int, share: float) -> None:
    """A stand-in mends each wrong voxel with some chance."""
    rng = np.random.default_rng(seed)
    truth = ball(6.0)
    wrong = rng.random(truth.shape) < 0.01
    wrong[20, 20, 20] = True
    case = Case(truth.like(truth.mask ^ wrong), truth)
    refined = truth.like(truth.mask ^ (wrong & (rng.random(truth.shape) < share)))
    scores = scores_of(case, refined)
    before, after = 1 - dice(case.given.mask, truth.mask), 1 - dice(refined.mask, truth.mask)
    assert scores["error_left"] * before == pytest.approx(after)
    assert scores["given_dice"] == 1 - before
    between = SurfaceDistances.between(refined.mask, truth.mask, truth.spacing_mm)
    assert (scores["hd95_mm"], scores["nsd_1mm"]) == (between.percentile(95), between.within(1.0))
    assert scores_of(case, case.given)["error_left"] == 1
    assert scores_of(case, truth)["error_left"] == 0


def test_a_right_mask_is_made_worse_below_its_limit() -> None:
    case = Case(ball(), ball())
    assert scores_of(case, ball(), UNTOUCHED) | {"dice": 1, "worse": 0, "hd95_mm": 0, "error_left": 0} == scores_of(case, ball(), UNTOUCHED)
    few, many = ball().mask.copy(), ball().mask.copy()
    few[20, 20, 20] = False
    many[20] = False
    assert scores_of(case, ball().like(few), UNTOUCHED)["worse"] == 0
    assert scores_of(case, ball().like(many), UNTOUCHED)["worse"] == 1
    with pytest.raises(ValueError, match="grid"):
        scores_of(case, BinaryVolume.on_grid(ball().mask, (1, 1, 1)))


def test_plain_ways_keep_the_grid_and_idleness_leaves_all_of_the_error(tmp_path: Path) -> None:
    cases = of_whole(ball(), "a ball", Drawn(range(3)))
    record = Record(tmp_path / "ball.csv", tuple(figure.name for figure in MISTAKES.figures), {})
    run = Evaluation(MISTAKES, {MODEL: knowing} | METHODS, record)
    assert run.report(cases, "three balls", Console(file=(tmp_path / "shown.txt").open("w"))) == 0
    rows = list(csv.DictReader((tmp_path / "ball.csv").open()))
    assert len(rows) == 3 * 6
    left = {method: {float(row["error_left"]) for row in rows if row["method"] == method} for method in (MODEL, "input unchanged")}
    assert left == {MODEL: {0}, "input unchanged": {1}}
    text = (tmp_path / "ball.txt").read_text()
    assert "HD95: medians" in text
    assert "3 cases of one subject" in " ".join(text.split()), "the caption is cut where the line ends"
    for heading in ("DSC", "HD95 mm", "error left"):
        assert f"{heading}, {MODEL} less" in text
    assert (tmp_path / "ball.png").exists()


@pytest.mark.shared
@pytest.mark.skipif(not DATA.exists(), reason="the real volumes in ../shared/data are not here")
@pytest.mark.parametrize("name", ["seg3d_brain.nrrd", "seg3d_skull.nrrd"])
def test_real_masks_are_corrupted_and_the_largest_component_mends_little(name: str) -> None:
    volume = read(DATA / name).volume
    for planned in of_whole(volume, name, Drawn(range(2))):
        case = planned.make()
        assert 0.7 < dice(case.given.mask, volume.mask) <= 0.9
        assert MISTAKES.score(case, METHODS["largest component"](case.given, case.extras))["error_left"] > 0.75


def test_results_on_another_dense_networks_masks_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    made_by = REFINEMENT.generator
    before = made_by()
    monkeypatch.setattr("calvaria.evaluation.refinement.segmented_by", lambda: "another")
    assert made_by() != before
