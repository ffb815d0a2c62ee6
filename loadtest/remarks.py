"""What a reader must know before believing a report's figures."""

from collections.abc import Iterator

from loadtest.record import Recording
from loadtest.statistics import PERCENTS, needed
from loadtest.summary import Summary

LATE_S, LATE_SHARE = 0.01, 0.1
"""The generator is too late where it was late by more than this, and by more than this share of the median latency."""


def remarks(recording: Recording, summary: Summary) -> list[str]:
    """Remarks as sentences, the gravest first."""
    return [*_broken(recording, summary), *_misleading(recording, summary), *_missing(summary), *_warmup(summary)]


def _broken(recording: Recording, summary: Summary) -> Iterator[str]:
    if recording.end is None:
        yield "The recording was cut short: requests that had no answer when it ended are missing."
    if summary.wrong:
        yield f"{summary.wrong} of {summary.compared} answers differ from the local prediction: the recording's verdicts say how."
    elif summary.compared:
        yield f"All {summary.compared} answers that are volumes equal the local prediction, voxel by voxel."
    unexpected = summary.requests - sum(group.as_expected for group in summary.ingredients)
    if unexpected:
        yield f"{unexpected} of {summary.requests} requests were not answered as they should be; latencies and rates leave them out."


def _misleading(recording: Recording, summary: Summary) -> Iterator[str]:
    late, typical = _largest(summary.lateness_s), summary.volumes and summary.volumes.latency_s["p50"]
    if late and late > LATE_S and late > LATE_SHARE * (typical or 0.0):
        yield f"The generator itself was late by up to {1000 * late:.0f} ms: it, not the server, may be what these figures measure."
    if summary.kept_up is False:
        yield (
            f"The server did not keep up with {summary.offered_per_s:g} requests a second. Where requests queue, latency grows for as long "
            "as the run lasts or the queue has room: it says more about these than about the server."
        )
    given_up = sum(group.codes.get("timeout", 0) for group in summary.ingredients)
    if given_up:
        timeout_s = recording.run.plan["timeout_s"]
        yield f"{given_up} requests were given up after {timeout_s:g} s: the longest latencies are not in the percentiles."


def _missing(summary: Summary) -> Iterator[str]:
    short = [group for group in summary.groups if group.as_expected < needed(max(PERCENTS))]
    if short:
        takes = ", ".join(f"p{percent} {needed(percent)}" for percent in PERCENTS)
        counts = ", ".join(f"{group.name} {group.as_expected}" for group in short)
        yield f"Too few answers for every percentile ({takes}), so that some are not given: {counts}."
    if summary.occupancy is None:
        yield "The server showed no batches at its metrics address, so their occupancy is not known."
    if not summary.worker_bytes:
        yield "None of the server's workers could be seen on this machine, so their memory is not known."


def _warmup(summary: Summary) -> Iterator[str]:
    yield f"Left out: {summary.warming} requests due in the first {summary.window_s[0]:g} s, the warm-up."


def _largest(values: dict[str, float | None]) -> float | None:
    return max((value for value in values.values() if value is not None), default=None)
