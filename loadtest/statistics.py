"""Percentiles by one definition, and how many values they need."""

import math
from collections.abc import Sequence

PERCENTS = (50, 90, 95, 99)
CONFIDENCE = 0.95

DEFINITION = (
    "Percentiles by nearest rank: the smallest measured value that at least so many percent of the values do not exceed "
    "(numpy's `inverted_cdf`). One is stated where so many values are there that with 95 % confidence the largest lies beyond the true "
    "percentile: 5 for p50, 29 for p90, 59 for p95 and 299 for p99."
)

Percentiles = dict[str, float | None]
"""Percentiles by name, such as p99; None where the values are too few for it."""


def percentile(values: Sequence[float], percent: int) -> float:
    """See DEFINITION; of at least one value, in any order. In whole numbers, so that no rounding moves the rank."""
    rank = -(-len(values) * percent // 100)
    return sorted(values)[max(rank, 1) - 1]


def needed(percent: int) -> int:
    """How many independent values it takes until the largest exceeds the true percentile with CONFIDENCE: 1 - q^n >= 0.95."""
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(percent / 100))


def percentiles(values: Sequence[float]) -> Percentiles:
    return {f"p{percent}": percentile(values, percent) if len(values) >= needed(percent) else None for percent in PERCENTS}
