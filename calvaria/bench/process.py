"""Measurements in processes of their own, one after the other."""

import json
import os
import subprocess
import sys
from typing import Any

from calvaria.cores import cores


def alone(module: str, argument: str) -> Any:
    """What a module, run as a program, prints as JSON in its last line. RuntimeError with what it said where it fails.

    All processors are used unless OMP_NUM_THREADS says otherwise.
    """
    environment = {"OMP_NUM_THREADS": str(cores())} | os.environ
    ended = subprocess.run([sys.executable, "-m", module, argument], env=environment, capture_output=True, text=True)
    if ended.returncode:
        how = f"the process ended with signal {-ended.returncode}" if ended.returncode < 0 else "the process failed"
        raise RuntimeError(": ".join([how, *ended.stderr.strip().splitlines()[-1:]]))
    return json.loads(ended.stdout.splitlines()[-1])
