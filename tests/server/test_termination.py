"""SIGTERM ends a program even where what its handler raised was lost."""

import signal
import subprocess
import sys

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


def test_one_ended_program_does_not_end_the_next() -> None:
    """As where tests, or a program of somebody else's, call the command line more than once."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit), termination.heeded():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
    termination.check()
