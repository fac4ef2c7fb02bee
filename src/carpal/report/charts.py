"""The charts of a reading, as marks that are drawn once for the page (SVG) and once for the PDF.

The child among others, the network's distribution, readers against the machine.

Coordinates are points with the origin at the top left. A mark has a role ("band", "axis", "child"), which is a class
in the SVG and a colour in the PDF: neither has a colour of its own here, so that the page can be dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final, Literal

from carpal.report.language import Words
from carpal.types import Interval

Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]

FONT_SIZE: Final = 11.0
INK: Final = {
    "band": "#d7e3f1",
    "mean": "#3b6ea5",
    "interval": "#f3dfb4",
    "axis": "#555555",
    "grid": "#e3e3e3",
    "curve": "#1f3b57",
    "child": "#b3261e",
    "earlier": "#b3261e",
    "label": "#333333",
}
"""Colours of the roles on white paper."""


@dataclass(frozen=True)
class Mark:
    """A line, an area (closed and filled), a dot (one point) or a text (one point)."""

    kind: Literal["line", "area", "dot", "text"]
    role: str
    points: tuple[Point, ...]
    text: str = ""
    anchor: Anchor = "start"


@dataclass
class Chart:
    """Marks in their order; `title` is what a screen reader says of the picture."""

    width: float
    height: float
    title: str
    marks: list[Mark] = field(default_factory=list)

    def line(self, role: str, points: Sequence[Point]) -> None:
        """Adds an open line."""
        self.marks.append(Mark("line", role, tuple(points)))

    def area(self, role: str, points: Sequence[Point]) -> None:
        """Adds a filled outline."""
        self.marks.append(Mark("area", role, tuple(points)))

    def dot(self, role: str, point: Point) -> None:
        """Adds a dot."""
        self.marks.append(Mark("dot", role, (point,)))

    def text(self, role: str, point: Point, text: str, anchor: Anchor = "start") -> None:
        """Adds a text whose baseline runs through the point."""
        self.marks.append(Mark("text", role, (point,), text, anchor))


@dataclass(frozen=True)
class Frame:
    """The rectangle that data are drawn in, and the two ranges that it shows."""

    left: float
    top: float
    width: float
    height: float
    x_range: Point
    y_range: Point

    def at(self, x: float, y: float) -> Point:
        """The place of a value, cut off at the frame."""
        return self.left + self.width * self._share(x, self.x_range), self.bottom - self.height * self._share(
            y, self.y_range
        )

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.top + self.height

    @staticmethod
    def _share(value: float, ends: Point) -> float:
        return min(max((value - ends[0]) / (ends[1] - ends[0]), 0.0), 1.0)


Ticks = Sequence[tuple[float, str]]


def axes(chart: Chart, frame: Frame, x_ticks: Ticks, y_ticks: Ticks, names: tuple[str, str]) -> None:
    """Grid, ticks and the names of both axes: that of y stands above the frame, that of x below."""
    left, bottom = frame.left, frame.bottom
    right = left + frame.width
    for value, text in y_ticks:
        y = frame.at(frame.x_range[0], value)[1]
        chart.line("grid", [(left, y), (right, y)])
        chart.text("label", (left - 5, y + 4), text, "end")
    for value, text in x_ticks:
        x = frame.at(value, frame.y_range[0])[0]
        chart.line("axis", [(x, bottom), (x, bottom + 3)])
        chart.text("label", (x, bottom + 14), text, "middle")
    chart.line("axis", [(left, frame.top), (left, bottom), (right, bottom)])
    chart.text("label", (4, frame.top - 12), names[1])
    chart.text("label", (left + frame.width / 2, bottom + 29), names[0], "middle")


def svg(chart: Chart) -> str:
    """The chart as an SVG element without any colour or style: classes are the roles."""
    parts = [
        f'<svg class="chart" viewBox="0 0 {chart.width:g} {chart.height:g}" role="img" '
        f'aria-label="{escape(chart.title)}">'
    ]
    for mark in chart.marks:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in mark.points)
        x, y = mark.points[0]
        parts.append(
            {
                "line": f'<polyline class="{mark.role}" points="{points}"/>',
                "area": f'<polygon class="{mark.role}" points="{points}"/>',
                "dot": f'<circle class="{mark.role}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>',
                "text": f'<text class="{mark.role}" x="{x:.1f}" y="{y:.1f}" text-anchor="{mark.anchor}">'
                f"{escape(mark.text)}</text>",
            }[mark.kind]
        )
    return "".join([*parts, "</svg>"])


WIDTH: Final = 400.0
LEFT, RIGHT, TOP, BOTTOM = 34.0, 12.0, 24.0, 36.0


def frame_of(height: float, x_range: Point, y_range: Point) -> Frame:
    """The frame of a chart of this height, with room for ticks and names."""
    return Frame(LEFT, TOP, WIDTH - LEFT - RIGHT, height - TOP - BOTTOM, x_range, y_range)


def growth_chart(
    reference: Sequence[tuple[float, float, float]],
    point: Point,
    earlier: Sequence[Point],
    interval: Interval | None,
    words: Words,
) -> Chart:
    """Bone age over chronological age: the reference's mean ± 2 SD, the child's point, her earlier readings as a curve.

    `reference` holds (chronological age, mean, SD), all ages in months.
    """
    chart = Chart(WIDTH, 300, words.gettext("Bone age against chronological age, with mean and 2 SD of the reference"))
    frame = frame_of(300, (0, 228), (0, 228))
    above = [frame.at(age, mean + 2 * sd) for age, mean, sd in reference]
    below = [frame.at(age, mean - 2 * sd) for age, mean, sd in reference]
    chart.area("band", [*above, *reversed(below)])
    ticks = [(12.0 * year, str(year)) for year in range(0, 20, 2)]
    axes(
        chart,
        frame,
        ticks,
        ticks,
        (words.gettext("chronological age, years"), words.gettext("bone age, years")),
    )
    chart.line("mean", [frame.at(age, mean) for age, mean, _ in reference])
    low = point[1] if interval is None else interval.low
    delayed = any(age > 110 and bone < 34 for age, bone in [*earlier, point, (point[0], low)])
    named = words.gettext("line and band: mean ± 2 SD")
    if delayed:  # where the words stand otherwise
        chart.text("mean", frame.at(4, 204), named)
    else:
        chart.text("mean", frame.at(226, 14), named, "end")
    if earlier:
        chart.line("earlier", [frame.at(*each) for each in [*earlier, point]])
        for each in earlier:
            chart.dot("earlier", frame.at(*each))
    if interval is not None:
        chart.line("child", [frame.at(point[0], interval.low), frame.at(point[0], interval.high)])
    chart.dot("child", frame.at(*point))
    return chart


def distribution(probabilities: Sequence[float], months: float, interval: Interval | None, words: Words) -> Chart:
    """The network's P(age > k) over the months that matter, the age, and the interval where there is one."""
    chart = Chart(WIDTH, 190, words.gettext("The probability that the bone age is above each month"))
    low, high = _range_of(probabilities, interval)
    frame = frame_of(190, (low, high), (0, 1))
    if interval is not None:
        left, right = frame.at(interval.low, 0)[0], frame.at(interval.high, 0)[0]
        chart.area("interval", [(left, frame.top), (right, frame.top), (right, frame.bottom), (left, frame.bottom)])
    step = 12 if high - low <= 120 else 24
    x_ticks = [(month, f"{month // 12}") for month in range(math.ceil(low / step) * step, int(high) + 1, step)]
    y_ticks = [(share / 100, f"{share}") for share in (0, 50, 100)]
    axes(chart, frame, x_ticks, y_ticks, (words.gettext("bone age, years"), words.gettext("older than, %")))
    stairs = [frame.at(month, value) for month, value in enumerate(probabilities) if low <= month <= high]
    chart.line("curve", stairs)
    x = frame.at(months, 0)[0]
    chart.line("child", [(x, frame.top), (x, frame.bottom)])
    near_right = x > frame.left + frame.width * 0.7
    chart.text(
        "child", (x - 5 if near_right else x + 5, frame.top + 11), f"{months:.0f}", "end" if near_right else "start"
    )
    return chart


def _range_of(probabilities: Sequence[float], interval: Interval | None) -> tuple[float, float]:
    """Months between which the curve falls from 99 % to 1 %, the interval included, four years at least."""
    low = next((k for k, p in enumerate(probabilities) if p < 0.99), 0)
    high = next((k for k in reversed(range(len(probabilities))) if probabilities[k] > 0.01), len(probabilities) - 1)
    if interval is not None:
        low, high = min(low, math.floor(interval.low)), max(high, math.ceil(interval.high))
    spare = max(6, (48 - (high - low)) // 2)
    return max(low - spare, 0), min(high + spare, len(probabilities))


def bland_altman(pairs: Sequence[tuple[float, float]], bias: float, limits: Point | None, words: Words) -> Chart:
    """Difference (signed less machine's) over the mean of both, months, with bias and limits of agreement."""
    chart = Chart(WIDTH, 260, words.gettext("Differences over means, with bias and limits of agreement"))
    reach = _reach([second - first for first, second in pairs], limits)
    frame = frame_of(260, (0, 228), (-reach, reach))
    axes(
        chart,
        frame,
        [(12.0 * year, str(year)) for year in range(0, 20, 3)],
        _differences(reach),
        (words.gettext("mean of both, years"), words.gettext("signed less machine's, months")),
    )
    for value in limits or ():
        chart.line("earlier", [frame.at(0, value), frame.at(228, value)])
    chart.line("mean", [frame.at(0, bias), frame.at(228, bias)])
    for first, second in pairs:
        chart.dot("child", frame.at((first + second) / 2, second - first))
    return chart


def drift(differences: Sequence[float], running: int, words: Words) -> Chart:
    """Differences in the order of signature, and the mean of the last `running` at each place that has so many."""
    chart = Chart(WIDTH, 260, words.gettext("Differences in the order of signature"))
    reach = _reach(differences, None)
    last = max(len(differences), 2)
    frame = frame_of(260, (0.5, last + 0.5), (-reach, reach))
    axes(
        chart,
        frame,
        [(1, "1"), (last, str(last))],
        _differences(reach),
        (words.gettext("signed readings, in order"), words.gettext("signed less machine's, months")),
    )
    means = [sum(differences[end - running : end]) / running for end in range(running, len(differences) + 1)]
    if len(means) > 1:
        chart.line("mean", [frame.at(running + place, mean) for place, mean in enumerate(means)])
    for place, value in enumerate(differences, 1):
        chart.dot("child", frame.at(place, value))
    return chart


def _reach(differences: Sequence[float], limits: Point | None) -> float:
    """Half the range of differences: a whole number of half years that holds them all."""
    return 6.0 * math.ceil(max(6.0, *map(abs, differences), *map(abs, limits or (0.0,))) / 6)


def _differences(reach: float) -> list[tuple[float, str]]:
    """Three ticks of a range of differences: its ends, with their signs, and 0."""
    return [(-reach, f"\N{MINUS SIGN}{reach:.0f}"), (0.0, "0"), (reach, f"+{reach:.0f}")]
