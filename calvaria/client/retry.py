"""Trying again when a server says that it is busy, and telling how far a large volume has come."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from calvaria.errors import CalvariaError

Result = TypeVar("Result")


class Busy(CalvariaError):
    """A server answered that it cannot take the request now (503): the same request may be sent again."""


class Transfer(NamedTuple):
    """How far a request has come: `done` of `total` bytes sent or received; `total` is None where the server does not say."""

    stage: Literal["sending", "receiving"]
    done: int
    total: int | None


Watch = Callable[[Transfer], None]


@dataclass(frozen=True)
class Retry:
    """Send again what met a busy server, and nothing else: not what failed, was refused, timed out or found no server.

    times    how often at most, after the first time
    first_s  the longest wait before the first of them, doubled for each later one
    most_s   the longest wait of all. Each is drawn between half of its length and all of it, so that clients refused together do not come
             back together
    sleep, draw  the clock and the chance, for tests; `draw` gives a number from 0 to 1
    """

    times: int = 4
    first_s: float = 0.5
    most_s: float = 8.0
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random

    def call(self, attempt: Callable[[], Result]) -> Result:
        """What `attempt` returns or raises at last."""
        for failures in range(self.times):
            try:
                return attempt()
            except Busy:
                longest = min(self.first_s * 2**failures, self.most_s)
            self.sleep(longest * (1 + self.draw()) / 2)
        return attempt()


NEVER = Retry(times=0)
