"""Answers against local predictions."""

import pytest

from calvaria.io import encode
from calvaria.volume import BinaryVolume
from loadtest.bad import _good
from loadtest.compare import Answers, predicted, problem
from loadtest.workload import Ingredient, Item, make_item


class Mirror:
    """Predicts what a volume's mirror image along the first axis would add."""

    def predict(self, volumes: list[BinaryVolume]) -> list[dict[str, BinaryVolume]]:
        return [{"implant": volume.like(volume.mask[::-1] & ~volume.mask)} for volume in volumes]


@pytest.fixture
def predictor() -> Mirror:
    return Mirror()


ITEM = Item("32", 1, _good(1), {"output": "implant"})


def right(predictor) -> BinaryVolume:
    answer = predicted(ITEM, predictor)
    assert answer is not None
    return answer


def test_the_same_voxels_on_the_same_grid_are_no_problem(predictor):
    expected = right(predictor)
    assert expected.occupied
    for format in ("nrrd", "nii.gz"):
        assert problem(encode(expected, format), expected) == ""


def test_what_is_wrong_is_named(predictor):
    expected = right(predictor)
    other = expected.mask.copy()
    other[3, 4, 5:7] ^= True
    assert problem(encode(expected.like(other), "nrrd"), expected) == "2 voxels differ"
    moved = BinaryVolume.on_grid(expected.mask, (3.0, 3.0, 3.0), (5, 0, 0))
    assert problem(encode(moved, "nrrd"), expected).startswith("another grid")
    assert problem(b"hello", expected) == "no volume: not-a-volume"
    assert problem(encode(expected, "nrrd"), None) == "a volume where a refusal was due"


def test_equal_answers_are_judged_once_and_others_each(predictor):
    expected = right(predictor)
    answers, good, bad = Answers(), encode(expected, "nrrd"), encode(expected.like(~expected.mask), "nrrd")
    fingerprints = [answers.keep(ITEM, body) for body in (good, bad, good)]
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]
    unasked = make_item(Ingredient("bad:empty"), 0, 1, "implant")
    verdicts = list(answers.verdicts([ITEM, unasked], predictor))
    assert [(each.ingredient, each.variant, each.answer) for each in verdicts] == [("32", 1, each) for each in fingerprints[:2]]
    assert verdicts[0].problem == ""
    assert verdicts[1].problem == f"{expected.mask.size} voxels differ"


def test_a_volume_for_a_bad_body_is_a_problem(predictor):
    garbage, answers = make_item(Ingredient("bad:garbage"), 0, 1, "implant"), Answers()
    answers.keep(garbage, b"something")
    assert [each.problem for each in answers.verdicts([garbage], predictor)] == ["a volume where a refusal was due"]
