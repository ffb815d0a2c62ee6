"""Results as tables for a person."""

from collections.abc import Iterable, Sequence

from rich.table import Table

from calvaria.evaluation.intervals import LEVEL, RESAMPLES, Estimate, estimate, share
from calvaria.evaluation.records import Row
from calvaria.evaluation.scoring import Figure


def summary(rows: Sequence[Row], figures: Sequence[Figure], title: str) -> Table:
    """One line per method, figures with their intervals below; failed cases are counted and not in the figures."""
    table = Table(title=title, caption=_caption(rows), show_lines=True)
    table.add_column("method", no_wrap=True)
    shown = [figure for figure in figures if figure.shown]
    for heading in ("cases", *(figure.heading for figure in shown), "s"):
        table.add_column(heading, justify="right")
    for method in _in_order(row.method for row in rows):
        of_method = [row for row in rows if row.method == method]
        whole = [row for row in of_method if not row.error]
        failed = len(of_method) - len(whole)
        cells = [_cell(whole, figure) if whole else "–" for figure in shown]
        seconds = f"{sum(row.seconds for row in whole) / len(whole):.2f}" if whole else "–"
        table.add_row(method, f"{len(whole)}" + (f"\n{failed} failed" if failed else ""), *cells, seconds)
    return table


def by_kind(rows: Sequence[Row], figure: Figure) -> Table:
    """One line per kind, one column per method: the mean of one figure."""
    table = Table(title=f"{figure.heading} by kind")
    methods = _in_order(row.method for row in rows)
    table.add_column("kind", no_wrap=True)
    for heading in ("cases", *methods):
        table.add_column(heading, justify="right")
    for kind in _in_order(row.kind for row in rows):
        of_kind = [row for row in rows if row.kind == kind and not row.error]
        cells = [[row.figures[figure.name] for row in of_kind if row.method == method] for method in methods]
        means = [f"{sum(values) / len(values):.{figure.digits}f}" if values else "–" for values in cells]
        table.add_row(kind, str(max(map(len, cells))), *means)
    return table


def difference(rows: Sequence[Row], figure: Figure, model: str, baselines: Sequence[str]) -> str | None:
    """The model less the strongest baseline, case by case, in a sentence; None without cases that both have answered."""
    of_model = _answered(rows, model)
    rivals = {name: answered for name in baselines if (answered := _answered(rows, name))}
    if not of_model or not rivals:
        return None
    strongest = max(rivals, key=lambda name: sum(row.figures[figure.name] for row in rivals[name].values()) / len(rivals[name]))
    shared = [case for case in of_model if case in rivals[strongest]]
    if not shared:
        return None
    apart = [of_model[case].figures[figure.name] - rivals[strongest][case].figures[figure.name] for case in shared]
    found = estimate(apart, [of_model[case].skull for case in shared])
    return (
        f"{figure.heading}, {model} less {strongest} (the strongest baseline), case by case: "
        f"{found.value:+.{figure.digits}f} ({found.low:+.{figure.digits}f} to {found.high:+.{figure.digits}f}, {len(shared)} cases)"
    )


def _answered(rows: Sequence[Row], method: str) -> dict[str, Row]:
    return {row.case: row for row in rows if row.method == method and not row.error}


def _cell(rows: Sequence[Row], figure: Figure) -> str:
    values = [row.figures[figure.name] for row in rows]
    if figure.statistic == "count":
        count = sum(value != 0 for value in values)
        found = share(count, len(values))
        return f"{count} of {len(values)}\n{100 * found.low:.1f}–{100 * found.high:.1f} %"
    return _spelled(estimate(values, [row.skull for row in rows], figure.statistic), figure.digits)


def _spelled(found: Estimate, digits: int) -> str:
    return f"{found.value:.{digits}f}\n{found.low:.{digits}f}–{found.high:.{digits}f}"


def _caption(rows: Sequence[Row]) -> str:
    skulls = len({row.skull for row in rows})
    cases = len({row.case for row in rows})
    of = f"{skulls} skulls" if skulls > 1 else f"{cases} defects of one head, which say nothing about other heads"
    return f"Means (HD95: medians), {100 * LEVEL:.0f} % bootstrap intervals over {RESAMPLES:,} resamples of {of}; shares: exact intervals."


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
