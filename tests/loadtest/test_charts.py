"""The page's plots."""

import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.charts import ALARM, INK, Axis, Chart, Curve, svg

SVG = "{http://www.w3.org/2000/svg}"


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1e5), st.floats(1e-4, 1e8)), min_size=1, max_size=30),
    st.booleans(),
    st.booleans(),
    st.floats(0, 1e6),
)
def test_the_markup_is_whole_whatever_is_drawn(points, log, dots, warmup):
    root = ElementTree.fromstring(
        svg(Chart("A <title> & more: 5 $", Axis("s"), Axis("ms", log=log), [Curve("<64>", points, dots)], warmup))
    )
    assert root.attrib["aria-label"] == "A <title> & more: 5 $"
    assert {"A <title> & more: 5 $", "<64>", "ms"} <= {"".join(text.itertext()) for text in root.iter(f"{SVG}text")}


@pytest.mark.parametrize("dots", [False, True])
def test_text_has_the_colour_of_the_page_and_what_went_wrong_its_own(dots):
    text = svg(Chart("", Axis(""), Axis("", log=True), [Curve("a", [(0, 1), (1, 10)]), Curve("b", [(0, 2), (1, 20)], dots, alarm=True)]))
    assert "currentColor" in text
    assert INK not in text
    assert ALARM in text


def test_every_dot_is_drawn_and_one_point_is_a_dot():
    def uses(curve: Curve) -> int:
        return svg(Chart("", Axis(""), Axis(""), [curve])).count("<use ")

    line = uses(Curve("a", [(0, 0), (1, 1)]))
    assert uses(Curve("a", [(number, number) for number in range(50)], dots=True)) >= line + 50
    assert uses(Curve("a", [(1, 1)])) > line


def test_a_curve_without_points_adds_its_name_alone():
    def said(*curves: Curve) -> list[str]:
        root = ElementTree.fromstring(svg(Chart("", Axis("s"), Axis("n"), curves)))
        return sorted("".join(text.itertext()) for text in root.iter(f"{SVG}text"))

    drawn = Curve("a", [(5, 3), (6, 4)])
    assert said(drawn, Curve("b", [])) == sorted([*said(drawn), "b"])


def test_without_values_a_sentence_stands_there():
    assert svg(Chart("Batches", Axis("s"), Axis("n"), [Curve("none", [])])) == "<p>Batches: nothing was recorded.</p>"
