"""Statistics of many cases with bootstrap intervals, by skull: the defects of one head are no independent heads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.float64]

RESAMPLES = 2000
LEVEL = 0.95
SEED = 0

FEWEST = 3
"""Units that an interval needs."""


@dataclass(frozen=True)
class Estimate:
    """A statistic of so many independent units (skulls, or cases of one), and its interval of level 0.95."""

    value: float
    low: float
    high: float
    units: int

    @property
    def told(self) -> bool:
        """Whether the interval says anything: of one or two it does not."""
        return self.units >= FEWEST


def estimate(values: Sequence[float], skulls: Sequence[str], statistic: Literal["mean", "median"] = "mean") -> Estimate:
    """Mean or median of cases, with the percentile interval of 2000 resamples of skulls, each with all its cases.

    Where all cases are of one skull, the cases are resampled: the interval then says nothing about other heads. Values may be
    infinite. ValueError without a case.
    """
    if len(values) == 0 or len(values) != len(skulls):
        raise ValueError("an estimate needs at least one case, and a skull for each")
    array = np.asarray(values, dtype=np.float64)
    _, unit = np.unique(np.asarray(skulls), return_inverse=True)
    if unit.max() == 0:
        unit = np.arange(len(array))
    units = int(unit.max()) + 1
    drawn = np.random.default_rng(SEED).multinomial(units, np.full(units, 1 / units), size=RESAMPLES)
    of_resamples = _WEIGHTED[statistic](array, drawn[:, unit])
    low, high = np.quantile(of_resamples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    value = _WEIGHTED[statistic](array, np.ones((1, len(array)), dtype=np.int64))[0]
    return Estimate(float(value), float(low), float(high), units)


def share_of(met: Sequence[bool], skulls: Sequence[str]) -> Estimate:
    """The share of cases that meet something.

    The interval is exact (`share`) where every case is a unit. Where skulls have several cases each, it is the bootstrap of `estimate`;
    but of shares of 0 and 1, of which no resample differs, the exact one of as many units. ValueError as `estimate`.
    """
    found = estimate(met, skulls)
    if found.units < len(met) and any(met) and not all(met):
        return found
    return share(round(found.value * found.units), found.units)


def share(count: int, of: int) -> Estimate:
    """A share of so many units with its exact binomial interval (Clopper and Pearson, 1934)."""
    interval = stats.binomtest(count, of).proportion_ci(LEVEL, method="exact")
    return Estimate(count / of, float(interval.low), float(interval.high), of)


def _mean(values: Values, weights: NDArray[np.int64]) -> Values:
    """Means by each row of weights: infinite where a drawn value is, NaN where two opposed infinities are."""
    finite = np.isfinite(values)
    means = weights @ np.where(finite, values, 0) / weights.sum(axis=1)
    with np.errstate(invalid="ignore"):  # of opposed infinities
        return np.asarray(means + np.where(weights[:, ~finite] > 0, values[~finite], 0).sum(axis=1))


def _median(values: Values, weights: NDArray[np.int64]) -> Values:
    """Medians of values repeated as often as each row of weights says: the middle one, or the mean of the middle two."""
    order = np.argsort(values)
    reached = np.cumsum(weights[:, order], axis=1)
    total = reached[:, -1:]
    lower = np.argmax(2 * reached >= total, axis=1)
    upper = np.argmax(2 * reached > total, axis=1)
    return np.asarray((values[order][lower] + values[order][upper]) / 2)


_WEIGHTED = {"mean": _mean, "median": _median}
