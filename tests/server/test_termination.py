"""SIGTERM ends a program even where what its handler raised was lost."""

import subprocess
import sys

LOST = """
import os, signal, weakref
from calvaria.server import termination

class Thing: pass

termination.heed()
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
