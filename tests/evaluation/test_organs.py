"""The mistakes that refinement is scored on must be worth a network: no plain way may mend them."""

from collections.abc import Sequence

import numpy as np
import pytest

from calvaria.evaluation.metrics import dice
from calvaria.evaluation.organs import DRAWN, NETWORK, cases_of_organs
from calvaria.evaluation.refinement import METHODS, MISTAKES
from calvaria.evaluation.scoring import Case
from calvaria.segmenter import SEGMENTED
from calvaria.synthetic.thorax import ORGANS

CHESTS = range(20, 22)


def recovered(cases: Sequence[Case], method: str) -> list[float]:
    """The share of each case's error that a plain way mends; 0 where it makes more."""
    scores = [MISTAKES.score(case, METHODS[method](case.given, case.extras)) for case in cases]
    return [max(1 - score["error_left"], 0.0) for score in scores]


@pytest.mark.parametrize(("source", "organs"), [(DRAWN, ORGANS), (NETWORK, SEGMENTED)])
def test_the_largest_component_recovers_less_than_a_quarter_of_the_error(source: str, organs: Sequence[str]) -> None:
    planned = cases_of_organs(CHESTS, sources=(source,))
    cases = [each.make() for each in planned]
    assert [each.kind for each in planned] == [f"{organ}, {source}" for organ in organs] * len(CHESTS)
    assert all(0.6 < dice(case.given.mask, case.truth.mask) < 0.97 for case in cases)
    assert np.mean(recovered(cases, "largest component")) < 0.25
    assert recovered(cases, "input unchanged") == [0] * len(cases)


def test_it_would_recover_much_of_the_error_were_that_in_islands() -> None:
    (planned,) = cases_of_organs(CHESTS[:1], ("heart",), (DRAWN,))
    case = planned.make()
    far = case.truth.mask.copy()
    far[:2, :, ::2] = True
    (share,) = recovered([Case(case.truth.like(far), case.truth)], "largest component")
    assert share > 0.9
