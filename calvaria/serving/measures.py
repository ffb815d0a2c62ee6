"""What a batch adds to the metrics: increments of counters, some of which make up histograms.

A Prometheus histogram is nothing but counters: one per bound for the values up to it, their sum and their number. So ours have the bounds
that our values need, whatever bounds the server's own histograms have, and whoever keeps the counters need not know more.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from calvaria.errors import ErrorCode
from calvaria.serving.messages import Response

OK = "ok"
NETWORK = "network"

BEYOND_THE_SERVICE = {ErrorCode.UNAUTHORIZED, ErrorCode.UNKNOWN_MODEL, ErrorCode.TIMEOUT}
"""Codes of requests that never come here."""


@dataclass(frozen=True)
class Increment:
    """What is added to one counter. `labels` are in the order in which metrics.yaml declares them."""

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Histogram:
    """A histogram. `bounds`: of its buckets, ascending, in the unit of its name; another without a bound comes by itself."""

    name: str
    bounds: Sequence[float]

    def adding(self, values: Sequence[float], **labels: str) -> Iterator[Increment]:
        for bound in self.bounds:
            yield Increment(f"{self.name}_bucket", sum(value <= bound for value in values), {**labels, "le": str(bound)})
        yield Increment(f"{self.name}_bucket", len(values), {**labels, "le": "+Inf"})
        yield Increment(f"{self.name}_sum", sum(values), labels)
        yield Increment(f"{self.name}_count", len(values), labels)


STAGE_SECONDS = Histogram("calvaria_stage_seconds", (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60))
BATCH_SIZE = Histogram("calvaria_batch_size", (1, 2, 3, 4, 6, 8, 12, 16, 32, 64))
BATCH_GPU_PEAK_BYTES = Histogram("calvaria_batch_gpu_peak_bytes", tuple(2**power for power in range(26, 38)))  # 64 MiB to 128 GiB


def of_batch(responses: Sequence[Response], gpu_peak_bytes: int | None = None) -> list[Increment]:
    """What the requests of a batch add, and the most memory of the GPU that its tensors took, if there is one; nothing for nothing."""
    stages: dict[str, list[float]] = {}
    for response in responses:
        for stage, seconds in response.seconds.items():
            stages.setdefault(stage, []).append(seconds)
    inferred = [response for response in responses if NETWORK in response.seconds]
    added = [
        *(increment for stage, seconds in stages.items() for increment in STAGE_SECONDS.adding(seconds, Stage=stage)),
        *_requests([response.code for response in responses]),
        Increment("calvaria_occupied_voxels_total", sum(response.occupied for response in responses)),
        Increment("calvaria_network_seconds_total", sum(response.network_share_s for response in inferred)),
        Increment("calvaria_network_voxels_total", sum(response.occupied for response in inferred)),
        *BATCH_SIZE.adding([len(responses)]),
        *(BATCH_GPU_PEAK_BYTES.adding([gpu_peak_bytes]) if gpu_peak_bytes is not None else ()),
    ]
    return [increment for increment in added if increment.value]


def at_start(stages: Sequence[str], gpu: bool) -> list[Increment]:
    """Zero for everything that a batch may add to: what rate() and quantiles make of a counter needs its beginning and all its buckets."""
    codes = [OK, *(code.value for code in ErrorCode if code not in BEYOND_THE_SERVICE)]
    return [
        *(increment for stage in stages for increment in STAGE_SECONDS.adding([], Stage=stage)),
        *(Increment("calvaria_requests_total", 0, {"Code": code}) for code in codes),
        Increment("calvaria_occupied_voxels_total", 0),
        Increment("calvaria_network_seconds_total", 0),
        Increment("calvaria_network_voxels_total", 0),
        *BATCH_SIZE.adding([]),
        *(BATCH_GPU_PEAK_BYTES.adding([]) if gpu else ()),
    ]


def _requests(codes: Sequence[str]) -> Iterator[Increment]:
    for code in dict.fromkeys(codes):
        yield Increment("calvaria_requests_total", codes.count(code), {"Code": code})
