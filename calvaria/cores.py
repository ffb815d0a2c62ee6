"""How many cores there are, and how workers share them."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from math import ceil
from pathlib import Path
from threading import Lock

from threadpoolctl import ThreadpoolController

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""A container's limit by Linux cgroup v2: microseconds of computing in a period, and the period, or `max` instead of the first."""

_lock, _within = Lock(), ExitStack()
_users = 0


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


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Within, BLAS uses one thread. For small matrices more cost more than they bring, and their number changes the last bits.

    The limit is the whole process's: who comes first sets it, who leaves last lifts it.
    """
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            _within.enter_context(_libraries().limit(limits=1, user_api="blas"))
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _within.close()


@cache
def _libraries() -> ThreadpoolController:
    """Those that are loaded when this is first called; to look for them takes 2 ms."""
    return ThreadpoolController()
