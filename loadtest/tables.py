"""A report's tables, once for the console and the page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadtest.summary import Group, Summary

NONE = "–"
MIB = 2**20


@dataclass(frozen=True)
class TextTable:
    """Rows of text under a header; the first column names the row."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(summary: Summary) -> list[TextTable]:
    return [latencies(summary), stages(summary), outcomes(summary), server(summary)]


def latencies(summary: Summary) -> TextTable:
    names = list(summary.groups[0].latency_s)
    header = ["", "sent", "right", "per s", *names, "max", "rest"]
    cells: list[Callable[[Group], str]] = [
        lambda group: group.name,
        lambda group: str(group.requests),
        lambda group: str(group.as_expected),
        lambda group: f"{group.per_s:.2f}",
        *(lambda group, name=name: milliseconds(group.latency_s[name]) for name in names),
        lambda group: milliseconds(group.max_s),
        lambda group: milliseconds(group.beside_network_s["p50"]),
    ]
    rows = [[cell(group) for cell in cells] for group in summary.groups]
    return TextTable("Latency from the scheduled time, ms; rest: p50 of what was not the network's call", header, rows)


def stages(summary: Summary) -> TextTable:
    timed = [group for group in summary.groups if group.stages_s]
    names = list(dict.fromkeys(stage for group in timed for stage in group.stages_s))
    rows = [[group.name, *(milliseconds(group.stages_s.get(stage)) for stage in names)] for group in timed]
    return TextTable("The server's own stages, mean ms", ["", *names], rows)


def outcomes(summary: Summary) -> TextTable:
    codes = sorted({code for group in summary.groups for code in group.codes})
    rows = [[group.name, *(str(group.codes.get(code) or NONE) for code in codes)] for group in summary.groups]
    return TextTable("Answers by code", ["", *codes], rows)


def server(summary: Summary) -> TextTable:
    rows = [["requests per batch", NONE if summary.occupancy is None else f"{summary.occupancy:.2f}"]]
    for pid, series in summary.worker_bytes.items():
        sizes = [size / MIB for _, size in series]
        rows.append([f"memory of worker {pid}, MiB", f"{sizes[0]:.0f} at first, {max(sizes):.0f} at most, {sizes[-1]:.0f} at last"])
    sent, received = (
        sum(sizes) / MIB for sizes in zip(*((each.bytes_sent, each.bytes_received) for each in summary.ingredients), strict=True)
    )
    rows.append(["sent and received, MiB", f"{sent:.1f}, {received:.1f}"])
    late = [f"{name} {milliseconds(value)}" for name, value in summary.lateness_s.items()]
    rows.append(["generator late by, ms", ", ".join(late)])
    rows += [[f"status and code {code}", str(count)] for code, count in sorted(summary.codes.items())]
    return TextTable("The server and the generator", ["", ""], rows)


def milliseconds(seconds: float | None) -> str:
    """To three figures, so that neither 0.4 ms nor a minute is unreadable."""
    if seconds is None:
        return NONE
    value = 1000 * seconds
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
