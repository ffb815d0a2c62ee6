"""How a call is timed, on a CPU and on a GPU."""

from collections.abc import Callable
from time import perf_counter

import torch


def clock(device: torch.device) -> Callable[[Callable[[], object]], float]:
    """Takes the seconds a call lasts: by the wall on a CPU, by the device's own events on a GPU."""

    def on_cpu(call: Callable[[], object]) -> float:
        start = perf_counter()
        call()
        return perf_counter() - start

    def on_gpu(call: Callable[[], object]) -> float:
        with torch.cuda.device(device):  # events are recorded on the current one
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
            start.record()
            call()
            end.record()
            torch.cuda.synchronize()
        return float(start.elapsed_time(end)) / 1000

    return on_gpu if device.type == "cuda" else on_cpu
