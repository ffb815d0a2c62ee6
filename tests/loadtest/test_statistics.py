"""Percentiles against numpy and against their definition."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.statistics import DEFINITION, PERCENTS, needed, percentile, percentiles

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400)


@given(values, st.sampled_from(PERCENTS))
def test_the_smallest_value_that_so_many_percent_do_not_exceed(data, percent):
    got = percentile(data, percent)

    def share(limit: float) -> Fraction:
        return Fraction(sum(value <= limit for value in data), len(data))

    assert got in data
    assert share(got) >= Fraction(percent, 100)
    assert all(share(value) < Fraction(percent, 100) for value in data if value < got)


@given(values, st.sampled_from(PERCENTS))
def test_numpy_says_the_same(data, percent):
    assert percentile(data, percent) == np.quantile(data, percent / 100, method="inverted_cdf")


@pytest.mark.parametrize(("percent", "count"), [(50, 5), (90, 29), (95, 59), (99, 299)])
def test_how_many_are_needed(percent, count):
    assert needed(percent) == count
    assert f"{count} for p{percent}" in DEFINITION
    assert 1 - (percent / 100) ** count >= 0.95 > 1 - (percent / 100) ** (count - 1)
    short, enough = percentiles([1.0] * (count - 1)), percentiles([1.0] * count)
    assert short[f"p{percent}"] is None
    assert enough[f"p{percent}"] == 1.0


def test_so_many_values_hold_the_percentile_nearly_always():
    rng = np.random.default_rng(0)
    beyond = [rng.random(needed(99)).max() > 0.99 for _ in range(4000)]
    assert np.mean(beyond) == pytest.approx(0.95, abs=0.015)


def test_of_nothing_there_are_none():
    assert percentiles([]) == dict.fromkeys(("p50", "p90", "p95", "p99"))
