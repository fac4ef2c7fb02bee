"""Charts: marks lie where their values say, in SVG as in the PDF; nothing leaves the frame."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpal.report import charts
from carpal.report.charts import INK, Chart, Frame, svg
from carpal.report.language import Words
from carpal.types import Interval

REFERENCE = [(3.0, 3.0, 0.7), (60.0, 62.0, 9.0), (120.0, 126.0, 10.0), (204.0, 206.0, 13.0)]
months = st.floats(0, 228)


def test_a_value_lies_where_the_ticks_say() -> None:
    frame = Frame(10, 20, 100, 50, (0, 200), (0, 10))
    assert frame.at(0, 0) == (10, 70)
    assert frame.at(200, 10) == (110, 20)
    assert frame.at(50, 5) == (35, 45)
    assert frame.at(-5, 99) == (10, 20), "what lies outside is cut off at the frame"


def test_svg_is_xml_and_text_stays_text() -> None:
    chart = Chart(100, 50, 'a "title" & <more>')
    chart.text("label", (1, 2), "<script>x</script>", "end")
    chart.dot("child", (3, 4))
    root = ElementTree.fromstring(svg(chart))
    assert root.attrib["aria-label"] == 'a "title" & <more>'
    assert root[0].text == "<script>x</script>"
    assert root[1].attrib == {"class": "child", "cx": "3.0", "cy": "4.0", "r": "4"}


@given(point=st.tuples(months, months), earlier=st.lists(st.tuples(months, months), max_size=3))
def test_the_growth_chart_holds_every_reading_within_itself(
    point: tuple[float, float], earlier: list[tuple[float, float]]
) -> None:
    chart = charts.growth_chart(REFERENCE, point, earlier, Interval(100, 140, 0.9), Words())
    dots = [mark.role for mark in chart.marks if mark.kind == "dot"]
    assert dots == ["earlier"] * len(earlier) + ["child"]
    assert {mark.role for mark in chart.marks} <= set(INK)
    for mark in chart.marks:
        assert all(0 <= x <= chart.width and 0 <= y <= chart.height for x, y in mark.points)


def test_the_band_is_two_standard_deviations_wide() -> None:
    chart = charts.growth_chart(REFERENCE, (120, 126), [], None, Words())
    (band,) = (mark for mark in chart.marks if mark.role == "band")
    (mean,) = (mark for mark in chart.marks if mark.role == "mean" and mark.kind == "line")
    frame = charts.frame_of(chart.height, (0, 228), (0, 228))
    assert band.points[2] == pytest.approx(frame.at(120, 146))
    assert band.points[5] == pytest.approx(frame.at(120, 106))
    assert mean.points[2] == pytest.approx(frame.at(120, 126))


@given(age=months, bone=months, low=months)
def test_the_words_of_the_band_never_cover_a_child(age: float, bone: float, low: float) -> None:
    """A delayed child of school age lies where they stand otherwise."""
    interval = Interval(min(low, bone), bone, 0.9)
    chart = charts.growth_chart(REFERENCE, (age, bone), [], interval, Words())
    (words,) = (mark for mark in chart.marks if mark.kind == "text" and mark.role == "mean")
    (x, y), wide = words.points[0], 6.2 * len(words.text)
    left = x - wide if words.anchor == "end" else x
    frame = charts.frame_of(chart.height, (0, 228), (0, 228))
    upper, lower = frame.at(age, bone), frame.at(age, interval.low)
    beside = not left - 4 <= upper[0] <= left + wide + 4
    assert beside or lower[1] < y - 10 or upper[1] > y + 3 or age < 110


@given(st.floats(0, 228), st.integers(1, 60))
def test_the_distribution_is_drawn_wherever_the_age_lies(age: float, width: int) -> None:
    probabilities = [min(max((age + width - k) / (2 * width), 0.0), 1.0) for k in range(228)]
    chart = charts.distribution(probabilities, age, None, Words())
    (curve,) = (mark for mark in chart.marks if mark.role == "curve")
    heights = [y for _, y in curve.points]
    assert heights == sorted(heights), "P(older) falls with the month"
    assert len(curve.points) > 20


@given(st.lists(st.tuples(months, months), min_size=2, max_size=30))
def test_the_agreement_charts_hold_every_pair(pairs: list[tuple[float, float]]) -> None:
    for chart in (
        charts.bland_altman(pairs, 0.0, (-1.0, 1.0), Words()),
        charts.drift([b - a for a, b in pairs], 20, Words()),
    ):
        assert sum(mark.kind == "dot" for mark in chart.marks) == len(pairs)
        assert all(0 <= y <= chart.height for mark in chart.marks for _, y in mark.points)
