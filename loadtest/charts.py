"""Line and dot charts as inline SVG, drawn with nothing but text. Colours are the page's: classes c0, c1 and so on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 44, 44
COLOURS = 7
WANTED_TICKS = 6
NOTHING = 1e-9


@dataclass(frozen=True)
class Curve:
    """`dots` instead of a line; `alarm` in the colour of what went wrong."""

    name: str
    points: Points
    dots: bool = False
    alarm: bool = False


@dataclass(frozen=True)
class Axis:
    """`ticks` are (value, label); made from the values where there are none. `log` needs values above zero."""

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


class _Scale:
    """Values along an axis to places in the picture."""

    def __init__(self, axis: Axis, values: Sequence[float], start: float, stop: float):
        self._log, self._start, self._stop = axis.log, start, stop
        self.ticks = list(axis.ticks) or [(tick, f"{tick:g}") for tick in (log_ticks(values) if axis.log else ticks(values))]
        reached = [*values, *(tick for tick, _ in self.ticks)]
        self._low, self._high = (self._moved(limit) for limit in (min(reached), max(reached)))

    def __call__(self, value: float) -> float:
        share = (self._moved(value) - self._low) / ((self._high - self._low) or 1.0)
        return self._start + share * (self._stop - self._start)

    def _moved(self, value: float) -> float:
        return math.log10(value) if self._log else value


def ticks(values: Sequence[float]) -> list[float]:
    """From zero to beyond the largest value (none below zero), in steps of 1, 2 or 5 times a power of ten."""
    if max(values) < NOTHING:
        return [0.0]
    rough = max(values) / WANTED_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return [number * step for number in range(math.ceil(max(values) / step) + 1)]


def log_ticks(values: Sequence[float]) -> list[float]:
    """Those of 1, 2 and 5 times the powers of ten that enclose the values; the powers alone where these are many."""
    powers = [10.0**power for power in range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)]
    fine = [factor * power for power in powers for factor in (1, 2, 5)] if len(powers) <= 4 else powers
    below = max((tick for tick in fine if tick <= min(values)), default=fine[0])
    above = min((tick for tick in fine if tick >= max(values)), default=fine[-1])
    return [tick for tick in fine if below <= tick <= above]


def svg(chart: Chart) -> str:
    """The whole chart as one element; a sentence in its place where there is nothing to draw."""
    points = [point for curve in chart.curves for point in curve.points]
    if not points:
        return f"<p>{escape(chart.title)}: nothing was recorded.</p>"
    x = _Scale(chart.x, [point[0] for point in points], LEFT, WIDTH - RIGHT)
    y = _Scale(chart.y, [point[1] for point in points], HEIGHT - BOTTOM, TOP)
    parts = [*_frame(chart, x, y), *_legend(chart.curves)]
    for number, curve in enumerate(chart.curves):
        parts.append(_drawn(curve, _colour(number, curve), x, y))
    body = "\n".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title)}">\n{body}\n</svg>'


def _frame(chart: Chart, x: _Scale, y: _Scale) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    if chart.shade_until > 0:
        width = min(x(chart.shade_until), right) - LEFT
        parts.append(f'<rect class="warmup" x="{LEFT}" y="{TOP}" width="{width:.1f}" height="{bottom - TOP}"/>')
    for value, label in y.ticks:
        parts.append(f'<path class="grid" d="M{LEFT} {y(value):.1f}H{right}"/>')
        parts.append(_text(LEFT - 6, y(value) + 4, label, "end"))
    parts += [_text(x(value), bottom + 18, label, "middle") for value, label in x.ticks]
    parts.append(f'<path class="axis" d="M{LEFT} {bottom}H{right}"/>')
    parts.append(_text(right, HEIGHT - 6, chart.x.label, "end"))
    parts.append(_text(0, 14, f"{chart.title} ({chart.y.label})", "start", "title"))
    return parts


def _legend(curves: Sequence[Curve]) -> list[str]:
    parts, left = [], float(LEFT)
    for number, curve in enumerate(curves):
        parts.append(f'<circle class="{_colour(number, curve)} dot" cx="{left:.1f}" cy="30" r="4"/>')
        parts.append(_text(left + 9, 34, curve.name, "start"))
        left += 26 + 6.6 * len(curve.name)
    return parts


def _drawn(curve: Curve, colour: str, x: _Scale, y: _Scale) -> str:
    places = [f"{x(a):.1f} {y(b):.1f}" for a, b in curve.points]
    if curve.dots or len(places) == 1:
        return f'<path class="{colour} dots" d="{"".join(f"M{place}h0" for place in places)}"/>'
    return f'<path class="{colour} line" d="M{"L".join(places)}"/>' if places else ""


def _colour(number: int, curve: Curve) -> str:
    return "alarm" if curve.alarm else f"c{number % COLOURS}"


def _text(x: float, y: float, text: str, anchor: str, kind: str = "label") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
