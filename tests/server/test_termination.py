"""SIGTERM and SIGHUP end a program, even where what its handler raised was lost."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from calvaria.server import termination

LOST = """
import os, signal, weakref
from calvaria.server import termination

class Thing: pass

with termination.heeded():
    thing = Thing()
    reference = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM) or [None for _ in range(10)])
    del thing  # what is raised within is printed, and ignored
    print("still here", flush=True)
    termination.check()
    print("and here")
"""


def test_a_signal_that_was_lost_is_remembered() -> None:
    ran = subprocess.run([sys.executable, "-c", LOST], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 143
    assert ran.stdout == "still here\n"


@pytest.fixture(params=termination.SIGNALS)
def number(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """As in a terminal, where it is not ignored."""
    before = signal.signal(request.param, signal.SIG_DFL)
    yield request.param
    signal.signal(request.param, before)


def test_one_ended_program_does_not_end_the_next(number: signal.Signals) -> None:
    """As where tests, or a program of somebody else's, call the command line more than once."""
    with pytest.raises(SystemExit) as ended, termination.heeded():
        signal.raise_signal(number)
    assert ended.value.code == 128 + number
    assert signal.getsignal(number) == signal.SIG_DFL
    termination.check()


def test_what_is_ignored_stays_so(number: signal.Signals) -> None:
    """As the end of a terminal is under nohup."""
    signal.signal(number, signal.SIG_IGN)
    with termination.heeded():
        signal.raise_signal(number)
        termination.check()
    assert signal.getsignal(number) == signal.SIG_IGN
