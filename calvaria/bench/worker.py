"""Measures one subject; run as a program of its own, so that no other subject has warmed or crowded its process."""

import gc
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from calvaria.bench.clock import clock
from calvaria.bench.machine import peak_bytes
from calvaria.bench.subjects import NotMeasured, example_network, load
from calvaria.bench.volumes import load as load_masks


@dataclass(frozen=True)
class Job:
    """What to measure. `folder` holds masks.npz; `limit_s`: once this long has been measured, no run after the first is begun."""

    folder: str
    subject: str
    channels: str
    device: str
    train: bool
    repeat: int
    limit_s: float


@dataclass(frozen=True)
class Measured:
    """Times in seconds, memory in bytes.

    first_s        the run before the measured ones, which warms up
    candidates     sites (dense: cells) judged at stride 1; `logits_mean` and `logits_std` of them, by which engines can be compared
    baseline_bytes after imports and weights, before there is a mask; `peak_bytes` of the whole process
    gpu_*          PyTorch's peaks on the GPU while the measured runs ran, None on a CPU
    """

    seconds: list[float]
    first_s: float
    candidates: int
    logits_mean: float
    logits_std: float
    peak_bytes: int
    baseline_bytes: int
    gpu_allocated_bytes: int | None
    gpu_reserved_bytes: int | None
    threads: int


def measure(job: Job) -> Measured:
    """Measure a subject. Raises NotMeasured where it cannot run here."""
    device = torch.device(job.device)
    network = example_network(job.channels).train(job.train).to(device)
    subject = load(job.subject, network, device)
    baseline = peak_bytes()
    masks = [torch.from_numpy(mask) for mask in load_masks(Path(job.folder) / "masks.npz")]
    timed = clock(device)
    try:
        first = timed(subject(masks))
        logits = subject(masks)().float()
        candidates = len(logits)
        mean, deviation = (float(logits.mean()), float(logits.std(correction=0))) if candidates else (0.0, 0.0)
        del logits
        if device.type == "cuda":  # tuning and warming up may have taken more than any run does
            torch.cuda.empty_cache()
            timed(subject(_moved(masks, job.repeat)))  # what was given back is asked for anew, unmeasured
            torch.cuda.reset_peak_memory_stats(device)
        seconds: list[float] = []
        while not seconds or (len(seconds) < job.repeat and sum(seconds) < job.limit_s):
            gc.collect()
            seconds.append(timed(subject(masks if device.type == "cpu" else _moved(masks, len(seconds)))))
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise NotMeasured("out of memory.") from error
    return Measured(
        seconds=seconds,
        first_s=first,
        candidates=candidates,
        logits_mean=mean,
        logits_std=deviation,
        peak_bytes=peak_bytes(),
        baseline_bytes=baseline,
        gpu_allocated_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
        gpu_reserved_bytes=torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None,
        threads=torch.get_num_threads(),
    )


def _moved(masks: list[Tensor], turn: int) -> list[Tensor]:
    """The masks somewhere else in their grids, so that no shape or address on the GPU is one that a run before had."""
    steps = torch.randint(-8, 9, (3,), generator=torch.Generator().manual_seed(turn)).tolist()
    return [mask.roll(steps, (0, 1, 2)) for mask in masks]


def main() -> None:
    job = Job(**json.loads(sys.argv[1]))
    try:
        result = asdict(measure(job))
    except NotMeasured as reason:
        result = {"not_measured": str(reason)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
