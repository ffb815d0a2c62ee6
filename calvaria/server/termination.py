"""SIGTERM and SIGHUP, remembered: what a handler raises is lost where Python runs callbacks of its own, as while it imports."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = signal.SIGTERM, signal.SIGHUP

_received: list[int] = []


@contextmanager
def heeded() -> Iterator[None]:
    """Within, SIGTERM ends this program as `sys.exit` does, so that it cleans up; afterwards all is as it was before.

    So does SIGHUP, which comes when a terminal is closed, unless it is ignored, as under nohup.
    """
    numbers = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _received.clear()


def check() -> None:
    """End it now where a signal came and was lost."""
    if _received:
        sys.exit(128 + _received[0])


def _end(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    check()
