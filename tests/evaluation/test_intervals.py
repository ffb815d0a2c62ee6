import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calvaria.evaluation.intervals import estimate, share, share_of

FINITE = st.lists(st.floats(-100, 100), min_size=1, max_size=12)


@given(FINITE)
def test_values_are_numpys_and_lie_in_their_interval(values: list[float]) -> None:
    skulls = [str(i) for i in range(len(values))]
    for statistic, oracle in (("mean", np.mean), ("median", np.median)):
        found = estimate(values, skulls, statistic)  # type: ignore[arg-type]
        assert found.value == pytest.approx(oracle(values), abs=1e-9)
        assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9


def test_an_interval_of_a_mean_is_about_two_standard_errors_wide() -> None:
    values = np.random.default_rng(1).normal(10, 3, 400)
    found = estimate(values.tolist(), [str(i) for i in range(400)])
    error = values.std() / np.sqrt(400)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert (found.high + found.low) / 2 == pytest.approx(values.mean(), abs=0.2 * error)


def test_skulls_are_resampled_and_not_their_defects() -> None:
    """Five equal defects of each of twenty skulls say no more than one of each."""
    values = np.random.default_rng(2).normal(0, 1, 20)
    once = estimate(values.tolist(), [str(i) for i in range(20)])
    five = estimate(np.repeat(values, 5).tolist(), [str(i) for i in range(20) for _ in range(5)])
    assert (five.low, five.high) == pytest.approx((once.low, once.high))
    as_if_independent = estimate(np.repeat(values, 5).tolist(), [str(i) for i in range(100)])
    assert as_if_independent.high - as_if_independent.low < 0.6 * (once.high - once.low)


def test_defects_are_resampled_where_there_is_one_head() -> None:
    found = estimate([0.0, 1.0] * 10, ["one"] * 20)
    assert 0 < found.low < 0.5 < found.high < 1


def test_medians_may_be_infinite() -> None:
    assert estimate([1.0, 2.0, np.inf], list("abc"), "median").value == 2
    assert estimate([1.0, np.inf, np.inf], list("abc"), "median").high == np.inf


def test_a_mean_with_an_infinite_case_is_infinite_and_resamples_without_it_are_not() -> None:
    found = estimate([1.0, 2.0, np.inf], list("abc"))
    assert (found.value, found.high) == (np.inf, np.inf)
    assert 1 <= found.low <= 2


def test_no_case_has_no_estimate() -> None:
    with pytest.raises(ValueError, match="at least one case"):
        estimate([], [])


def test_nothing_of_a_hundred_may_still_be_three_or_four() -> None:
    none = share(0, 100)
    assert (none.value, none.low) == (0, 0)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 100))


def test_shares_of_skulls_with_several_cases_each_are_no_surer_than_their_skulls() -> None:
    one_each = [str(skull) for skull in range(20)]
    five_each = [skull for skull in one_each for _ in range(5)]
    met = [skull < 5 for skull in range(20)]
    assert share_of(met, one_each) == share(5, 20)
    found = share_of([each for each in met for _ in range(5)], five_each)
    assert (found.value, found.units) == (0.25, 20)
    assert found.high - found.low > 0.3 > share(25, 100).high - share(25, 100).low
    for each, count in ((False, 0), (True, 20)):
        assert share_of([each] * 100, five_each) == share(count, 20), "no resample differs"
    assert share_of([True, False, False], ["one"] * 3) == share(1, 3)


def test_of_one_or_two_an_interval_says_nothing() -> None:
    assert [estimate([0.5] * count, list("abcd")[:count]).told for count in (1, 2, 3, 4)] == [False, False, True, True]
    assert not estimate([0.5, 0.6, 0.7, 0.8], list("aabb")).told
    assert share(1, 3).told


def test_an_infinite_case_keeps_its_sign() -> None:
    assert estimate([-np.inf, 0.1, 0.2], list("abc")).value == -np.inf
    assert np.isnan(estimate([np.inf, -np.inf, 0.2], list("abc")).value)
    assert np.isnan(estimate([np.nan, 0.1, 0.2], list("abc")).value)
