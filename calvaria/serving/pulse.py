"""A sign of life from a process that may have nothing to do."""

from collections.abc import Callable
from threading import Event, Thread
from time import monotonic

BEAT_S = 5.0


class Pulse:
    """Calls `beat` every `every_s` seconds, from a thread of its own, with the seconds since it did so last.

    The seconds add up to the time that the process has lived, however late a busy machine lets the thread run.
    """

    def __init__(self, beat: Callable[[float], None], every_s: float = BEAT_S):
        self._beat = beat
        self._every_s = every_s
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="pulse", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        last = monotonic()
        while not self._stopped.wait(self._every_s):
            now = monotonic()
            self._beat(now - last)
            last = now
