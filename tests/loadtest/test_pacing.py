"""Arrival times, which are pure functions."""

import math
from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from loadtest.pacing import ARRIVALS, Length, constant, poisson

seeds, rates = st.integers(0, 2**31), st.floats(0.01, 1000)


@pytest.mark.parametrize(
    ("rate_hz", "length", "expected"),
    [
        (2.0, Length(duration_s=2.0), [0.0, 0.5, 1.0, 1.5]),
        (2.0, Length(requests=3), [0.0, 0.5, 1.0]),
        (2.0, Length(duration_s=1.2, requests=2), [0.0, 0.5]),
        (2.0, Length(duration_s=0.6, requests=9), [0.0, 0.5]),
        (0.25, Length(duration_s=9.0), [0.0, 4.0, 8.0]),
        (1000.0, Length(duration_s=0.003), [0.0, 0.001, 0.002]),
        (10.0, Length(requests=0), []),
        (10.0, Length(duration_s=0.0), []),
    ],
)
def test_constant_arrivals(rate_hz, length, expected):
    assert list(length.of(constant(rate_hz))) == expected


@pytest.mark.parametrize(("rate_hz", "seed"), [(0.5, 0), (7.0, 1), (300.0, 12345)])
def test_poisson_gaps_are_exponential_and_independent(rate_hz, seed):
    times = np.array(list(islice(poisson(rate_hz, seed), 5000)))
    gaps = np.diff(times, prepend=0.0)
    assert stats.kstest(gaps, "expon", args=(0, 1 / rate_hz)).pvalue > 0.001
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 0.05
    counts = np.histogram(times, bins=np.arange(0, times[-1], 10 / rate_hz))[0]
    assert counts.var() == pytest.approx(counts.mean(), rel=0.25), "arrivals in equal windows scatter as a Poisson variable does"


@given(st.sampled_from(sorted(ARRIVALS)), rates, seeds)
def test_times_ascend_and_a_longer_run_begins_with_the_shorter_one(kind, rate_hz, seed):
    pace = ARRIVALS[kind]
    long, short = (list(Length(requests=count).of(pace(rate_hz, seed))) for count in (50, 20))
    assert long[:20] == short
    assert all(a < b for a, b in pairwise(long))
    assert long[0] >= 0
    assert list(Length(duration_s=long[30]).of(pace(rate_hz, seed))) == long[:30]


@given(rates, seeds)
def test_a_rate_stretches_one_process(rate_hz, seed):
    ones, others = (np.array(list(islice(poisson(rate, seed), 20))) for rate in (1.0, rate_hz))
    np.testing.assert_allclose(others * rate_hz, ones)


def test_seeds_differ():
    assert next(poisson(1.0, 1)) != next(poisson(1.0, 2))


def test_without_a_limit_a_run_goes_on():
    assert len(list(islice(Length().of(constant(1.0)), 1000))) == 1000
    assert Length().duration_s == math.inf
