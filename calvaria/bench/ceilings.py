"""What a machine does at best, measured: by these a time can be judged that no other engine explains."""

import json
import sys
from collections.abc import Callable

import torch

from calvaria.bench.clock import clock

MATRIX = {"cpu": 2048, "cuda": 8192}
BYTES = {"cpu": 2**28, "cuda": 2**31}


def ceilings(device: torch.device) -> dict[str, float]:
    """Bytes moved by a copy (read and written) in GB/s, and a square matrix product's rate in GFLOP/s."""
    source = torch.zeros(BYTES[device.type], dtype=torch.uint8, device=device)
    target, size = torch.zeros_like(source), MATRIX[device.type]
    found = {"copy_gb_s": 2 * source.numel() / _best(lambda: target.copy_(source), device) / 1e9}
    types = {"fp32": torch.float32} if device.type == "cpu" else {"fp32": torch.float32, "bf16": torch.bfloat16}
    for name, dtype in types.items():
        matrix = torch.randn(size, size, dtype=dtype, device=device)
        found[f"matrix_{name}_gflop_s"] = 2 * size**3 / _best(lambda matrix=matrix: matrix @ matrix, device) / 1e9  # type: ignore[misc]
    return found


def _best(call: Callable[[], object], device: torch.device) -> float:
    """The least seconds of several calls."""
    timed = clock(device)
    return min(timed(call) for _ in range(5))


if __name__ == "__main__":
    print(json.dumps(ceilings(torch.device(sys.argv[1]))))
