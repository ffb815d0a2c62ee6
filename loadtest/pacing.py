"""When requests are due: pure functions of a rate and a seed, and how long a run goes on."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice, takewhile

import numpy as np

ARRIVALS_STREAM = 1
"""Tells the random numbers of arrival times from those of the workload, which share a seed."""


@dataclass(frozen=True)
class Length:
    """A run ends with the first of both: seconds since its start, or a number of requests."""

    duration_s: float = math.inf
    requests: int | None = None

    def of(self, times_s: Iterable[float]) -> Iterator[float]:
        """Those of ascending times that lie within the run."""
        return islice(takewhile(lambda time_s: time_s < self.duration_s, times_s), self.requests)


def constant(rate_hz: float, seed: int = 0) -> Iterator[float]:
    """Seconds since the start, evenly spaced, for ever; the first at 0. No seed changes them."""
    return (number / rate_hz for number in count())


def poisson(rate_hz: float, seed: int = 0) -> Iterator[float]:
    """Seconds since the start of a Poisson process, for ever: the gaps, the first from 0, are independent and exponential.

    One seed gives one process: another rate only stretches its times.
    """
    rng = np.random.default_rng([seed, ARRIVALS_STREAM])
    units = 0.0
    while True:
        units += rng.standard_exponential()
        yield units / rate_hz


ARRIVALS: dict[str, Callable[[float, int], Iterator[float]]] = {"poisson": poisson, "constant": constant}
"""Arrival times of an open loop by name, given a rate in requests per second and a seed."""
