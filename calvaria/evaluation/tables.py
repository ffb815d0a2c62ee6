"""Results as tables for a person."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median

from rich.table import Table

from calvaria.evaluation.intervals import FEWEST, LEVEL, RESAMPLES, Estimate, estimate, share_of
from calvaria.evaluation.records import Row
from calvaria.evaluation.scoring import Figure

Answered = dict[str, Row]


def summary(rows: Sequence[Row], figures: Sequence[Figure], title: str, subject: str = "skull") -> Table:
    """One line per method, figures with their intervals below: over the cases that all have answered, what failed is counted alone.

    subject  what several cases may be of, in the singular
    """
    shown, figures_of = [figure for figure in figures if figure.shown], comparable(rows)
    table = Table(title=title, caption=_caption(figures_of or rows, shown, subject), show_lines=True)
    table.add_column("method", no_wrap=True)
    for heading in ("cases", *(figure.heading for figure in shown), "s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for method in _in_order(row.method for row in rows):
        whole = [row for row in figures_of if row.method == method]
        failed = sum(bool(row.error) for row in rows if row.method == method)
        cells = [_cell(whole, figure) if whole else "–" for figure in shown]
        seconds = f"{sum(row.seconds for row in whole) / len(whole):.2f}" if whole else "–"
        table.add_row(method, f"{len(whole)}" + (f"\n{failed} failed" if failed else ""), *cells, seconds)
    return table


def by_kind(rows: Sequence[Row], figure: Figure) -> Table:
    """One line per kind, one column per method: the mean, or median, of one figure."""
    table = Table(title=f"{figure.heading} by kind")
    methods, whole = _in_order(row.method for row in rows), comparable(rows)
    table.add_column("kind", no_wrap=True)
    for heading in ("cases", *methods):
        table.add_column(heading, justify="right")
    for kind in _in_order(row.kind for row in rows):
        of_kind = [row for row in whole if row.kind == kind]
        cells = [[row.figures[figure.name] for row in of_kind if row.method == method] for method in methods]
        table.add_row(
            kind, str(max(map(len, cells))), *(f"{_typical(values, figure):.{figure.digits}f}" if values else "–" for values in cells)
        )
    return table


def differences(rows: Sequence[Row], figures: Iterable[Figure], model: str) -> list[str]:
    """The model less the strongest baseline, case by case, in a sentence for each figure of which more or less is better."""
    answered = {name: _answered(comparable(rows), name) for name in _in_order(row.method for row in rows)}
    of_model, rivals = answered.pop(model, {}), {name: theirs for name, theirs in answered.items() if theirs}
    if not of_model or not rivals:
        return []
    return [_difference(of_model, rivals, figure, model) for figure in figures if figure.better]


def comparable(rows: Sequence[Row]) -> list[Row]:
    """The rows of cases that every method has answered which has answered any: else means would be of unlike cases."""
    answered: dict[str, set[str]] = {}
    for row in rows:
        if not row.error:
            answered.setdefault(row.method, set()).add(row.case)
    shared = set.intersection(*answered.values()) if answered else set()
    return [row for row in rows if not row.error and row.case in shared]


def _difference(of_model: Answered, rivals: Mapping[str, Answered], figure: Figure, model: str) -> str:
    towards = -1 if figure.better == "less" else 1
    strongest = max(rivals, key=lambda name: towards * _typical([row.figures[figure.name] for row in rivals[name].values()], figure))
    pairs = [(row.figures[figure.name], rivals[strongest][case].figures[figure.name]) for case, row in of_model.items()]
    apart = [0.0 if one == other else one - other for one, other in pairs]  # infinite both: they do not differ
    found = estimate(apart, [row.skull for row in of_model.values()], "median" if figure.statistic == "median" else "mean")
    interval = f"{found.low:+.{figure.digits}f} to {found.high:+.{figure.digits}f}, " if found.told else ""
    return (
        f"{figure.heading}, {model} less {strongest} (the strongest baseline), case by case: "
        f"{found.value:+.{figure.digits}f} ({interval}{len(pairs)} cases)"
    )


def _typical(values: Sequence[float], figure: Figure) -> float:
    return median(values) if figure.statistic == "median" else fmean(values)


def _answered(rows: Sequence[Row], method: str) -> Answered:
    return {row.case: row for row in rows if row.method == method}


def _cell(rows: Sequence[Row], figure: Figure) -> str:
    values, skulls = [row.figures[figure.name] for row in rows], [row.skull for row in rows]
    if figure.statistic == "count":
        met = [value != 0 for value in values]
        found = share_of(met, skulls)
        interval = f"\n{100 * found.low:.1f}–{100 * found.high:.1f} %" if found.told else ""
        return f"{sum(met)} of {len(met)}{interval}"
    return _spelled(estimate(values, skulls, figure.statistic), figure.digits)


def _spelled(found: Estimate, digits: int) -> str:
    interval = f"\n{found.low:.{digits}f}–{found.high:.{digits}f}" if found.told else ""
    return f"{found.value:.{digits}f}{interval}"


def _caption(rows: Sequence[Row], shown: Sequence[Figure], subject: str) -> str:
    subjects, cases = len({row.skull for row in rows}), len({row.case for row in rows})
    medians = ", ".join(figure.heading.removesuffix(" mm") for figure in shown if figure.statistic == "median")
    means = f"Means ({medians}: medians)" if medians else "Means"
    of = f"{subjects} {subject}s" if subjects > 1 else f"{cases} cases of one {subject}, which say nothing about other {subject}s"
    if (subjects if subjects > 1 else cases) < FEWEST:
        return f"{means} of {of}: too few for intervals."
    where = " where none or all" if 1 < subjects < cases else ""
    exact = f"; shares: exact intervals{where}" if any(figure.statistic == "count" for figure in shown) else ""
    return f"{means}, {100 * LEVEL:.0f} % bootstrap intervals over {RESAMPLES:,} resamples of {of}{exact}."


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
