"""From the raw records of a run to what can be said of it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from calvaria.errors import ErrorCode, bad_option
from loadtest.record import Recording, Request, Sample
from loadtest.statistics import Percentiles, percentiles
from loadtest.workload import OK, parse_mix

BATCH_SUM, BATCH_COUNT = "calvaria_batch_size_sum", "calvaria_batch_size_count"
"""The handler's histogram of how many requests shared a batch."""
NETWORK = "network"
KEPT_UP, LEAST = 0.9, 10
OVERLOAD_CODES = ErrorCode.UNAVAILABLE.value, ErrorCode.TIMEOUT.value

Series = list[tuple[float, float]]
"""(seconds since the start, value)."""


@dataclass(frozen=True)
class Group:
    """Requests of one kind, within the measured window.

    as_expected          those answered as they should be: a volume for a volume, a refusal for a bad body
    wrong                of the answers that were compared, those that differ from the local prediction
    codes                how many got each code
    per_s                of those as expected, from the window's begin to the last of their answers
    latency_s            of those as expected, from the scheduled time; max_s is the longest, mean_s the mean
    beside_network_s     the same less the time of the network's own call; of those whose server sent stage times
    stages_s             the server's mean times by stage
    """

    name: str
    requests: int
    as_expected: int
    wrong: int
    codes: Mapping[str, int]
    per_s: float
    latency_s: Percentiles
    mean_s: float | None
    max_s: float | None
    beside_network_s: Percentiles
    stages_s: Mapping[str, float]
    bytes_sent: int
    bytes_received: int


@dataclass(frozen=True)
class Summary:
    """What can be said of a run. Times are seconds since its start.

    window_s        from the warm-up's end, before which requests are left out, to the last answer
    requests        how many are measured; warming: how many were left out
    volumes         all requests that should be answered with one; None if there were none
    ingredients     each of the workload's by itself, with which every request is counted once
    transports      the volumes over each transport, where there were several
    offered_per_s   of an open loop, the rate that was asked for; None of a closed one
    answered_per_s  all requests that were answered as they should be, until the last answer
    kept_up         False if requests queued more and more; None of a closed loop, which waits for the server, and of fewer than ten
    codes           all requests of the window by status of the transport and code
    lateness_s      by how much the generator was late
    compared        how many answers were compared with the local prediction; None if none was to be
    occupancy       requests per batch in the window, by the server's own count; None where it shows no metrics
    batches         the same between two looks at the server
    worker_bytes    resident memory by process id
    """

    window_s: tuple[float, float]
    requests: int
    warming: int
    offered_per_s: float | None
    answered_per_s: float
    kept_up: bool | None
    volumes: Group | None
    ingredients: Sequence[Group]
    transports: Sequence[Group]
    codes: Mapping[str, int]
    lateness_s: Percentiles
    compared: int | None
    wrong: int
    occupancy: float | None
    batches: Series
    worker_bytes: Mapping[str, Series]

    @property
    def groups(self) -> list[Group]:
        """All of them, in the order of a table's rows."""
        return [*([self.volumes] if self.volumes else []), *self.ingredients, *self.transports]


def summarise(recording: Recording, warmup_s: float | None = None) -> Summary:
    """Sum up a recording; `warmup_s` replaces its own. CalvariaError BAD_OPTION where no request is left to report on."""
    warmup_s = recording.run.plan["warmup_s"] if warmup_s is None else warmup_s
    measured = sorted((each for each in recording.requests if each.scheduled_s >= warmup_s), key=lambda each: each.scheduled_s)
    if not measured:
        count = len(recording.requests)
        raise bad_option(f"None of {count} requests was due after the warm-up of {warmup_s:g} s: make the run longer.")
    window_s = warmup_s, max(each.done_s for each in measured)
    rate_hz = recording.run.plan["rate_hz"]
    problems = {(each.ingredient, each.variant, each.answer) for each in recording.verdicts if each.problem}
    wrong = {each.number for each in measured if (each.ingredient, each.variant, each.answer) in problems}
    samples = [each for each in recording.samples if each.at_s >= warmup_s and each.metrics]
    volumes = [each for each in measured if OK in each.expected]
    names = [ingredient.name for ingredient in parse_mix(recording.run.plan["mix"])]
    transports = sorted({each.transport for each in measured})
    transports = transports if len(transports) > 1 else []

    def group(name: str, requests: Sequence[Request]) -> Group | None:
        return _group(name, requests, wrong, warmup_s) if requests else None

    return Summary(
        window_s=window_s,
        requests=len(measured),
        warming=len(recording.requests) - len(measured),
        offered_per_s=rate_hz,
        answered_per_s=sum(each.as_expected for each in measured) / (window_s[1] - window_s[0]),
        kept_up=None if rate_hz is None else _kept_up(recording.requests, warmup_s),
        volumes=group("all volumes", volumes),
        ingredients=_present(group(name, [each for each in measured if each.ingredient == name]) for name in names),
        transports=_present(group(f"over {name}", [each for each in volumes if each.transport == name]) for name in transports),
        codes=dict(Counter(f"{each.status} {each.code}" for each in measured)),
        lateness_s=percentiles([each.lateness_s for each in measured]),
        compared=sum(bool(each.answer) for each in measured) if recording.verdicts else None,
        wrong=len(wrong),
        occupancy=_occupancy(samples[0], samples[-1]) if samples else None,
        batches=_batches(recording.samples),
        worker_bytes=_memory(recording.samples),
    )


def _present(groups: Iterable[Group | None]) -> list[Group]:
    return [group for group in groups if group]


def _group(name: str, requests: Sequence[Request], wrong: Set[int], start_s: float) -> Group:
    good = [each for each in requests if each.as_expected]
    latencies = [each.latency_s for each in good]
    timed = [each for each in good if NETWORK in each.stages_s]
    stages = list(dict.fromkeys(stage for each in good for stage in each.stages_s))
    return Group(
        name=name,
        requests=len(requests),
        as_expected=len(good),
        wrong=sum(each.number in wrong for each in requests),
        codes=dict(Counter(each.code for each in requests)),
        per_s=len(good) / (max(each.done_s for each in good) - start_s) if good else 0.0,
        latency_s=percentiles(latencies),
        mean_s=fmean(latencies) if latencies else None,
        max_s=max(latencies, default=None),
        beside_network_s=percentiles([each.latency_s - each.stages_s[NETWORK] for each in timed]),
        stages_s={stage: fmean(each.stages_s[stage] for each in good if stage in each.stages_s) for stage in stages},
        bytes_sent=sum(each.bytes_sent for each in requests),
        bytes_received=sum(each.bytes_received for each in requests),
    )


def _kept_up(requests: Sequence[Request], start_s: float) -> bool | None:
    """Whether as many were answered as became due, nearly, between the warm-up's end and the last that was due."""
    end_s = max(each.scheduled_s for each in requests)
    due = sum(each.scheduled_s >= start_s for each in requests)
    answered = sum(start_s <= each.done_s <= end_s and each.code not in OVERLOAD_CODES for each in requests)
    return answered >= KEPT_UP * due if due >= LEAST else None


def _occupancy(first: Sample, last: Sample) -> float | None:
    """Mean requests per batch between two looks at the server's histogram; None where there was no batch."""
    batches = last.metrics.get(BATCH_COUNT, 0.0) - first.metrics.get(BATCH_COUNT, 0.0)
    return (last.metrics.get(BATCH_SUM, 0.0) - first.metrics.get(BATCH_SUM, 0.0)) / batches if batches > 0 else None


def _batches(samples: Sequence[Sample]) -> Series:
    means = ((last.at_s, _occupancy(first, last)) for first, last in pairwise(each for each in samples if each.metrics))
    return [(at_s, mean) for at_s, mean in means if mean is not None]


def _memory(samples: Sequence[Sample]) -> dict[str, Series]:
    pids = dict.fromkeys(pid for each in samples for pid in each.worker_bytes)
    return {pid: [(each.at_s, float(each.worker_bytes[pid])) for each in samples if pid in each.worker_bytes] for pid in pids}
