"""Results as tables for a person."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median

from rich.table import Table

from calvaria.evaluation.intervals import LEVEL, RESAMPLES, Estimate, estimate, share_of
from calvaria.evaluation.records import Row
from calvaria.evaluation.scoring import Figure

Answered = dict[str, Row]


def summary(rows: Sequence[Row], figures: Sequence[Figure], title: str) -> Table:
    """One line per method, figures with their intervals below; failed cases are counted and not in the figures."""
    shown = [figure for figure in figures if figure.shown]
    table = Table(title=title, caption=_caption(rows, shown), show_lines=True)
    table.add_column("method", no_wrap=True)
    for heading in ("cases", *(figure.heading for figure in shown), "s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for method in _in_order(row.method for row in rows):
        of_method = [row for row in rows if row.method == method]
        whole = [row for row in of_method if not row.error]
        failed = len(of_method) - len(whole)
        cells = [_cell(whole, figure) if whole else "–" for figure in shown]
        seconds = f"{sum(row.seconds for row in whole) / len(whole):.2f}" if whole else "–"
        table.add_row(method, f"{len(whole)}" + (f"\n{failed} failed" if failed else ""), *cells, seconds)
    return table


def by_kind(rows: Sequence[Row], figure: Figure) -> Table:
    """One line per kind, one column per method: the mean, or median, of one figure."""
    table = Table(title=f"{figure.heading} by kind")
    methods = _in_order(row.method for row in rows)
    table.add_column("kind", no_wrap=True)
    for heading in ("cases", *methods):
        table.add_column(heading, justify="right")
    for kind in _in_order(row.kind for row in rows):
        of_kind = [row for row in rows if row.kind == kind and not row.error]
        cells = [[row.figures[figure.name] for row in of_kind if row.method == method] for method in methods]
        table.add_row(
            kind, str(max(map(len, cells))), *(f"{_typical(values, figure):.{figure.digits}f}" if values else "–" for values in cells)
        )
    return table


def differences(rows: Sequence[Row], figures: Iterable[Figure], model: str) -> list[str]:
    """The model less the strongest baseline, case by case, in a sentence for each figure of which more or less is better."""
    of_model = _answered(rows, model)
    rivals = {name: answered for name in _in_order(row.method for row in rows) if name != model and (answered := _answered(rows, name))}
    if not of_model or not rivals:
        return []
    found = (_difference(of_model, rivals, figure, model) for figure in figures if figure.better)
    return [sentence for sentence in found if sentence]


def _difference(of_model: Answered, rivals: Mapping[str, Answered], figure: Figure, model: str) -> str | None:
    """A sentence on one figure; None without cases that both have answered."""
    towards = -1 if figure.better == "less" else 1
    strongest = max(rivals, key=lambda name: towards * _typical([row.figures[figure.name] for row in rivals[name].values()], figure))
    shared = [case for case in of_model if case in rivals[strongest]]
    if not shared:
        return None
    pairs = [(of_model[case].figures[figure.name], rivals[strongest][case].figures[figure.name]) for case in shared]
    apart = [0.0 if one == other else one - other for one, other in pairs]  # infinite both: they do not differ
    found = estimate(apart, [of_model[case].skull for case in shared], "median" if figure.statistic == "median" else "mean")
    interval = f"{found.low:+.{figure.digits}f} to {found.high:+.{figure.digits}f}, " if found.told else ""
    return (
        f"{figure.heading}, {model} less {strongest} (the strongest baseline), case by case: "
        f"{found.value:+.{figure.digits}f} ({interval}{len(shared)} cases)"
    )


def _typical(values: Sequence[float], figure: Figure) -> float:
    return median(values) if figure.statistic == "median" else fmean(values)


def _answered(rows: Sequence[Row], method: str) -> Answered:
    return {row.case: row for row in rows if row.method == method and not row.error}


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


def _caption(rows: Sequence[Row], shown: Sequence[Figure]) -> str:
    whole = [row for row in rows if not row.error] or rows  # what failed is in no figure
    skulls = len({row.skull for row in whole})
    cases = len({row.case for row in whole})
    of = f"{skulls} skulls" if skulls > 1 else f"{cases} cases of one head, which say nothing about other heads"
    medians = ", ".join(figure.heading.removesuffix(" mm") for figure in shown if figure.statistic == "median")
    means = f"Means ({medians}: medians)" if medians else "Means"
    where = " where none or all" if 1 < skulls < cases else ""
    exact = f"; shares: exact intervals{where}" if any(figure.statistic == "count" for figure in shown) else ""
    return f"{means}, {100 * LEVEL:.0f} % bootstrap intervals over {RESAMPLES:,} resamples of {of}{exact}."


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
