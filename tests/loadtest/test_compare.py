"""Answers against local predictions."""

from dataclasses import fields, replace

import pytest

from calvaria.io import encode
from calvaria.serving.options import encode_options
from calvaria.serving.report import REPORT_FILE, Report
from calvaria.serving.wire import pack
from calvaria.volume import BinaryVolume
from loadtest.bad import _good
from loadtest.client import Outcome
from loadtest.compare import Answers, predicted, problem
from loadtest.workload import Ingredient, Item, make_item


class Mirror:
    """Predicts what a volume's mirror image along the first axis would add."""

    def predict(self, volumes: list[BinaryVolume]) -> list[dict[str, BinaryVolume]]:
        return [
            {"completed": volume.like(volume.mask[::-1] | volume.mask), "implant": volume.like(volume.mask[::-1] & ~volume.mask)}
            for volume in volumes
        ]


@pytest.fixture
def predictor() -> Mirror:
    return Mirror()


FILES = {"completed": "completed.nrrd", "implant": "implant.nrrd"}
REPORT = Report(**{**dict.fromkeys((each.name for each in fields(Report)), ""), "implant": None, "files": FILES, "warnings": ()})
ITEM = Item("32", 1, _good(1), {"output": "implant"})


def right(predictor) -> BinaryVolume:
    return predicted(ITEM, predictor)["implant"]


def test_the_same_voxels_on_the_same_grid_are_no_problem(predictor):
    expected = right(predictor)
    assert expected.occupied
    for format in ("nrrd", "nii.gz"):
        assert problem(encode(expected, format), {"implant": expected}) == ""


def test_what_is_wrong_is_named(predictor):
    expected = {"implant": right(predictor)}
    other = expected["implant"].mask.copy()
    other[3, 4, 5:7] ^= True
    assert problem(encode(right(predictor).like(other), "nrrd"), expected) == "implant: 2 voxels differ"
    moved = BinaryVolume.on_grid(expected["implant"].mask, (3.0, 3.0, 3.0), (5, 0, 0))
    assert problem(encode(moved, "nrrd"), expected).startswith("implant: another grid")
    assert problem(b"hello", expected) == "no volume: not-a-volume"
    assert problem(b"PK, and then nothing", expected) == "no volume: truncated"
    assert problem(encode(moved, "nrrd"), {}) == "an answer where a refusal was due"


def test_several_outputs_and_a_report(predictor):
    """Two answers that differ in their reports' times alone are one; each output is compared."""
    item = replace(ITEM, options={"output": "completed,implant", "report": "1"})
    expected = predicted(item, predictor)
    assert list(expected) == ["completed", "implant"]
    spaced = replace(item, options=encode_options(output="completed, implant ", report=True))
    assert predicted(spaced, predictor).keys() == expected.keys()

    def zipped(completed: BinaryVolume, seconds: float) -> bytes:
        files = {"completed.nrrd": encode(completed, "nrrd"), "implant.nrrd": encode(expected["implant"], "nrrd")}
        return pack({**files, REPORT_FILE: replace(REPORT, seconds={"network": seconds}).to_json()})

    bodies = [zipped(expected["completed"], 0.1), zipped(expected["completed"], 0.2), zipped(expected["implant"], 0.1)]
    answers = Answers()
    marks = [answers.keep(item, body) for body in bodies]
    assert marks[0] == marks[1] != marks[2]
    differing = int((expected["completed"].mask != expected["implant"].mask).sum())
    assert [each.problem for each in answers.verdicts([item], predictor)] == ["", f"completed: {differing} voxels differ"]
    assert problem(bodies[0], {"implant": expected["implant"]}) == "completed, implant where implant were asked for"
    assert Outcome("OK", "ok", bodies[1]).stages_s() == {"network": 0.2}


def test_equal_answers_are_judged_once_and_others_each(predictor):
    expected = right(predictor)
    answers, good, bad = Answers(), encode(expected, "nrrd"), encode(expected.like(~expected.mask), "nrrd")
    marks = [answers.keep(ITEM, body) for body in (good, bad, good)]
    assert marks[0] == marks[2] != marks[1]
    unasked = make_item(Ingredient("bad:empty"), 0, 1, {"output": "implant"})
    verdicts = list(answers.verdicts([ITEM, unasked], predictor))
    assert [(each.ingredient, each.variant, each.answer) for each in verdicts] == [("32", 1, mark) for mark in marks[:2]]
    assert verdicts[0].problem == ""
    assert verdicts[1].problem == f"implant: {expected.mask.size} voxels differ"


def test_a_volume_for_a_bad_body_is_a_problem(predictor):
    garbage, answers = make_item(Ingredient("bad:garbage"), 0, 1, {"output": "implant"}), Answers()
    answers.keep(garbage, b"something")
    assert [each.problem for each in answers.verdicts([garbage], predictor)] == ["an answer where a refusal was due"]
