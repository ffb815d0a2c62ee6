"""SIGTERM, remembered: what a handler raises is lost where Python runs callbacks of its own, such as while a module is imported."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_received: list[int] = []


@contextmanager
def heeded() -> Iterator[None]:
    """Within, SIGTERM ends this program as `sys.exit` does, so that it cleans up; afterwards all is as it was before."""
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _received.clear()


def check() -> None:
    """End it now where SIGTERM came and was lost."""
    if _received:
        sys.exit(128 + _received[0])


def _end(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    check()
