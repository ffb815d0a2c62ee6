"""What the figures were taken on."""

import os
import platform
import resource
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import calvaria
from calvaria.cores import cores
from calvaria.sparse import native

GIB = 2**30
MIB = 2**20


def description(device: str) -> dict[str, Any]:
    """Processor, memory, software and the load at this moment, for a report."""
    found = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "processor": _line("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1),
        "load": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_simd": torch.backends.cpu.get_cpu_capability(),
        "native_simd": native.simd() if native.available() else None,
        "calvaria": calvaria.__version__,
    }
    if device != "cpu":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def peak_bytes() -> int:
    """The most memory this process has had resident since its program began.

    Linux passes `ru_maxrss` on to a child, whatever program it then runs, so that a large parent would show in it; VmHWM begins anew.
    """
    own = _line("/proc/self/status", "VmHWM")
    if own:
        return int(own.split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _line(path: str, name: str) -> str:
    """The value of the first `name: value` line of a file; empty where there is none."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name), "")
