"""The report as one HTML page that needs nothing else: styles and plots are in it, and no scripts."""

import math
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from loadtest.charts import Axis, Chart, Curve, svg
from loadtest.record import Recording, Request
from loadtest.statistics import DEFINITION
from loadtest.summary import Series, Summary
from loadtest.tables import MIB, TextTable

TEMPLATE = Path(__file__).with_name("page.html")
SECONDS = Axis("s since the start")
SHOWN_PERCENTS = (0, 50, 75, 90, 95, 99, 99.9, 99.99, 99.999)
MOST_POINTS = 400
"""Points of a curve, about; what else there is lies between points that can hardly be told apart."""
BINS = 60
LEAST_S = 1e-4
"""What is drawn of a shorter latency, on an axis that has no zero."""


def page(recording: Recording, summary: Summary, remarks: Sequence[str], grids: Sequence[TextTable]) -> str:
    """Everything from the recording is escaped."""
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE.read_text())
    plots = [Markup(svg(chart)) for chart in charts(recording, summary)]  # escaped by svg
    plan = {name: value for name, value in recording.run.plan.items() if value is not None}
    return template.render(
        plan=plan, machine=recording.run.machine, remarks=remarks, grids=grids, plots=plots, definition=DEFINITION, summary=summary
    )


def charts(recording: Recording, summary: Summary) -> list[Chart]:
    requests, warmup_s = recording.requests, summary.window_s[0]
    distributions = _distributions(requests, warmup_s)
    memory = [Curve(f"worker {pid}", [(at_s, size / MIB) for at_s, size in series]) for pid, series in summary.worker_bytes.items()]
    return [
        Chart("Latency of every request", SECONDS, Axis("ms", log=True), _scattered(requests), warmup_s),
        Chart("Latency by percentile", _percent_axis(distributions), Axis("ms", log=True), distributions),
        Chart("Requests due and answered", SECONDS, Axis("per s"), _rates(requests), warmup_s),
        Chart("Requests per batch", SECONDS, Axis("mean between two looks"), [Curve("batches", summary.batches, dots=True)], warmup_s),
        Chart("Memory of the workers", SECONDS, Axis("MiB"), memory, warmup_s),
    ]


def _names(requests: Sequence[Request]) -> list[str]:
    names = {each.ingredient for each in requests}
    return sorted(names, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))


def _scattered(requests: Sequence[Request]) -> list[Curve]:
    def points(chosen: list[Request]) -> Series:
        return [(each.scheduled_s, 1000 * max(each.latency_s, LEAST_S)) for each in chosen]

    curves = [
        Curve(name, points([each for each in requests if each.ingredient == name and each.as_expected]), dots=True)
        for name in _names(requests)
    ]
    failed = [each for each in requests if not each.as_expected]
    return [*curves, Curve("not as expected", points(failed), dots=True, alarm=True)] if failed else curves


def _percent_axis(curves: Sequence[Curve]) -> Axis:
    reach = max((x for curve in curves for x, _ in curve.points), default=0.0)
    ticks = [(_nines(percent / 100), f"{percent:g}") for percent in SHOWN_PERCENTS]
    return Axis("% of requests answered within", ticks=[tick for tick in ticks if tick[0] <= max(reach, 1.0)])


def _nines(share: float) -> float:
    """0 for none, 1 for 90 %, 2 for 99 %: the tail, where it matters, is drawn wide."""
    return -math.log10(1 - share)


def _distributions(requests: Sequence[Request], warmup_s: float) -> list[Curve]:
    curves = []
    for name in _names(requests):
        chosen = [each for each in requests if each.ingredient == name and each.as_expected and each.scheduled_s >= warmup_s]
        ordered = sorted(1000 * max(each.latency_s, LEAST_S) for each in chosen)
        points = [(_nines((rank + 0.5) / len(ordered)), value) for rank, value in enumerate(ordered)]
        curves.append(Curve(name, _thinned(points)))
    return curves


def _thinned(points: Series) -> Series:
    """Every n-th point, and all of the last, which are the tail."""
    step = max(len(points) // MOST_POINTS, 1)
    return points[: -MOST_POINTS // 2 : step] + points[-MOST_POINTS // 2 :] if step > 1 else points


def _rates(requests: Sequence[Request]) -> list[Curve]:
    """Requests per second, in windows of one second or, of long runs, as many as BINS."""
    width_s = max(1.0, max(each.done_s for each in requests) / BINS)

    def per_s(times_s: list[float]) -> Series:
        counts = [0] * (int(max(each.done_s for each in requests) / width_s) + 1)
        for time_s in times_s:
            counts[int(time_s / width_s)] += 1
        return [((number + 0.5) * width_s, count / width_s) for number, count in enumerate(counts)]

    due = per_s([each.scheduled_s for each in requests])
    answered = per_s([each.done_s for each in requests if each.as_expected])
    return [Curve("due", due), Curve("answered as expected", answered)]
