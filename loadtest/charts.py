"""Line and dot charts as inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import StringIO

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

Points = Sequence[tuple[float, float]]

INCHES = 7.2, 3.4
COLOURS = "#0072b2", "#d55e00", "#009e73", "#b86092", "#b8860b", "#56a0d3", "#7b6bd6"
ALARM = "#d6283a"
INK = "#1c2430"
"""Stands for the page's own colour of text, light or dark."""

STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), INK),
}


@dataclass(frozen=True)
class Curve:
    """`dots` instead of a line; `alarm` in the colour of what went wrong."""

    name: str
    points: Points
    dots: bool = False
    alarm: bool = False


@dataclass(frozen=True)
class Axis:
    """`ticks` are (value, label); made from the values where there are none. `log`, along y, needs values above zero."""

    label: str
    log: bool = False
    ticks: Sequence[tuple[float, str]] = ()


@dataclass(frozen=True)
class Chart:
    """`shade_until`: what lies before this x is the warm-up."""

    title: str
    x: Axis
    y: Axis
    curves: Sequence[Curve]
    shade_until: float = 0.0


def svg(chart: Chart) -> str:
    """The whole chart as one element; a sentence in its place where there is nothing to draw."""
    if not any(curve.points for curve in chart.curves):
        return f"<p>{escape(chart.title)}: nothing was recorded.</p>"
    text = StringIO()
    with rc_context(STYLE):  # type: ignore[arg-type]
        _drawn(chart).savefig(text, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    element = text.getvalue().partition("<svg ")[2].replace(INK, "currentColor")
    return f'<svg role="img" aria-label="{escape(chart.title)}" {element}'


def _drawn(chart: Chart) -> Figure:
    figure = Figure(INCHES, layout="constrained")
    axes = figure.subplots()
    axes.set(title=_plain(chart.title), xlabel=_plain(chart.x.label), ylabel=_plain(chart.y.label))
    if chart.y.log:
        axes.set_yscale("log", subs=())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
    for number, curve in enumerate(chart.curves):
        dots = curve.dots or len(curve.points) == 1
        x, y = np.reshape(curve.points, (-1, 2)).T  # a curve may have no points
        colour = ALARM if curve.alarm else COLOURS[number % len(COLOURS)]
        axes.plot(x, y, "." if dots else "-", color=colour, alpha=0.7 if dots else 1.0, label=_plain(curve.name))
    if not chart.y.log:
        axes.set_ylim(0)
    if chart.x.ticks:
        axes.set_xticks(*zip(*chart.x.ticks, strict=True))
    axes.set_xlim(0)
    axes.axvspan(0, chart.shade_until, color="#80868f", alpha=0.2, linewidth=0)
    axes.grid(axis="y", alpha=0.2)
    figure.legend(loc="outside lower center", ncols=len(chart.curves), frameon=False)
    return figure


def _plain(text: str) -> str:
    """Dollars are no formula."""
    return text.replace("$", r"\$")
