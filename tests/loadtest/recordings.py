"""Recordings made by hand."""

from pathlib import Path
from typing import Any

from loadtest.record import End, Entry, Request, Run, Sample, Writer

PLAN: dict[str, Any] = {
    "mix": "64:3,128,bad:empty",
    "seed": 1,
    "model": "completion",
    "transport": "both",
    "rate_hz": 10.0,
    "arrivals": "poisson",
    "clients": None,
    "warmup_s": 1.0,
    "timeout_s": 60.0,
}


def request(number: int, scheduled_s: float, latency_s: float = 0.1, **changes: Any) -> Request:
    """A 64³ volume over HTTP that was sent on time and answered well, but for the changes."""
    ingredient = changes.get("ingredient", "64")
    good = not ingredient.startswith("bad:")
    fields: dict[str, Any] = {
        "number": number,
        "ingredient": ingredient,
        "variant": 0,
        "transport": "http",
        "scheduled_s": scheduled_s,
        "sent_s": scheduled_s + 0.001,
        "done_s": scheduled_s + latency_s,
        "status": "200" if good else "400",
        "code": "ok" if good else "empty-body",
        "expected": ("ok",) if good else ("empty-body",),
        "bytes_sent": 1000,
        "bytes_received": 500,
        "stages_s": {"decode": 0.01, "network": 0.02} if good else {},
        "answer": "",
    }
    return Request(**{**fields, **changes})


def sample(at_s: float, requests: float, batches: float, worker_bytes: int = 2**28) -> Sample:
    return Sample(at_s, {"calvaria_batch_size_sum": requests, "calvaria_batch_size_count": batches}, {"77": worker_bytes})


def recorded(path: Path, *entries: Entry, ended: bool = True, **plan: Any) -> Path:
    with Writer(path, Run({**PLAN, **plan}, {"date": "2026-01-01", "cores": 2})) as writer:
        for entry in [*entries, End(100.0, len(entries))] if ended else entries:
            writer.write(entry)
    return path
