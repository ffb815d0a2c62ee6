"""How many cores there are, and how workers share them."""

import os
from math import ceil
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Of a container: the microseconds it may compute in each so many microseconds, or `max`."""


def cores(quota: Path = QUOTA) -> int:
    """Cores that this process may use: those it is bound to, or fewer where a container's quota says so."""
    bound = len(os.sched_getaffinity(0))
    try:
        allowed, period = quota.read_text().split()
        return bound if allowed == "max" else max(1, min(bound, ceil(int(allowed) / int(period))))
    except (OSError, ValueError):  # no quota, or one of another kind of system
        return bound


def threads_each(workers: int, available: int) -> int:
    """Threads of one worker among so many, so that together they have no more than there are cores, and each has one."""
    return max(1, available // max(1, workers))
