"""A run that is asked to stop does so between two steps, so that nothing it has learned is lost; and nothing outlives it."""

import ctypes
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from calvaria.training.team import launched

SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP

PR_SET_PDEATHSIG = 1
"""Option of Linux' prctl: which signal a process gets when its parent ends."""


class Stopped(Exception):
    """A run was asked to stop by this signal, and did after this step."""

    def __init__(self, number: int, step: int):
        super().__init__(f"stopped by signal {number} after step {step}")
        self.number, self.step = number, step


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], int]]:
    """Within, Ctrl-C, SIGTERM and SIGHUP are remembered: what is yielded says which came, or 0. The second ends the program at once,
    unless `torchrun` started it: that sends one to whatever still runs when a process has ended, and kills it 30 s later.

    Only a program's first thread can heed signals; in another, none is.
    """
    received: list[int] = []
    before: dict[int, Any] = {}

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if not launched():
            for each, handler in before.items():
                signal.signal(each, handler)

    if threading.current_thread() is threading.main_thread():
        # Ctrl-C is ignored in the background, SIGHUP under nohup.
        heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before.update({number: signal.signal(number, remember) for number in heeded})
    try:
        yield lambda: received[0] if received else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_with_parent() -> None:
    """Let this process end with the one that began it, however that ends: killed, it tells nobody."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
