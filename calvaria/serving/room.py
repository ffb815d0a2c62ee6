"""A bound on what several threads hold at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Room:
    """So many bytes that threads share; one that wants more than there is waits for the others, and gets it when it is alone."""

    def __init__(self, size: float):
        self.size = size
        self.taken = 0
        self._changed = Condition()

    @contextmanager
    def holding(self, amount: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self.taken == 0 or self.taken + amount <= self.size)
            self.taken += amount
        try:
            yield
        finally:
            with self._changed:
                self.taken -= amount
                self._changed.notify_all()
