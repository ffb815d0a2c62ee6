"""Axes and curves of the page's plots."""

import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.charts import HEIGHT, WIDTH, Axis, Chart, Curve, log_ticks, svg, ticks

positive = st.floats(1e-4, 1e8)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 10], [0, 2, 4, 6, 8, 10]), ([3.2], [0, 1, 2, 3, 4]), ([0.0], [0]), ([250], [0, 50, 100, 150, 200, 250])],
)
def test_ticks(values, expected):
    assert ticks(values) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "expected"), [([3, 40], [2, 5, 10, 20, 50]), ([10, 10], [10]), ([0.3, 9e5], [0.1, 1, 10, 100, 1e3, 1e4, 1e5, 1e6])]
)
def test_log_ticks(values, expected):
    assert log_ticks(values) == pytest.approx(expected)


@given(st.lists(positive, min_size=1))
def test_ticks_enclose_the_values_and_are_few(values):
    for chosen in (ticks(values), log_ticks(values)):
        assert chosen[-1] >= max(values) * (1 - 1e-9)
        assert 1 <= len(chosen) <= 14
    assert log_ticks(values)[0] <= min(values) * (1 + 1e-9)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(0, 1e5), positive), min_size=1, max_size=30), st.booleans(), st.booleans(), st.floats(0, 1e6))
def test_everything_is_drawn_inside_and_the_markup_is_whole(points, log, dots, warmup):
    text = svg(Chart("A <title> & more", Axis("s"), Axis("ms", log=log), [Curve("<64>", points, dots)], warmup))
    root = ElementTree.fromstring(text)
    assert root.attrib["aria-label"] == "A <title> & more"
    (curve,) = [path.attrib["d"] for path in root.iter("path") if path.attrib["class"].startswith("c0")]
    places = [tuple(map(float, place)) for place in re.findall(r"[ML](\S+) ([\d.-]+)", curve)]
    assert len(places) == len(points)
    assert all(-0.1 <= x <= WIDTH + 0.1 and -0.1 <= y <= HEIGHT + 0.1 for x, y in places)


def test_larger_values_are_drawn_higher_and_further_right():
    text = svg(Chart("", Axis(""), Axis(""), [Curve("", [(0, 0), (1, 10), (2, 5)])]))
    (place,) = re.findall(r'line" d="M(\S+) (\S+)L(\S+) (\S+)L(\S+) (\S+)"', text)
    x0, y0, x1, y1, x2, y2 = map(float, place)
    assert x0 < x1 < x2
    assert y1 < y2 < y0


def test_without_values_a_sentence_stands_there():
    assert svg(Chart("Batches", Axis("s"), Axis("n"), [Curve("none", [])])) == "<p>Batches: nothing was recorded.</p>"
