"""A chart as a list of marks, drawn once for the page (SVG) and once for the PDF (a reportlab canvas).

Coordinates are points with the origin at the top left. A mark has a role ("band", "axis", "child"), which is a class
in the SVG and a colour in the PDF: neither has a colour of its own here, so that the page can be dark.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Final, Literal

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


def draw(chart: Chart, canvas: Any, left: float, top: float, scale: float = 1.0, font: str = "Helvetica") -> None:
    """Draws the chart on a reportlab canvas (origin at the bottom left) with its upper left corner at (left, top)."""

    def place(point: Point) -> Point:
        return left + point[0] * scale, top - point[1] * scale

    for mark in chart.marks:
        canvas.setStrokeColor(_colour(mark.role))
        canvas.setFillColor(_colour(mark.role))
        canvas.setLineWidth(0.4 if mark.role == "grid" else 0.8 if mark.role == "axis" else 1.2)
        points = [place(point) for point in mark.points]
        if mark.kind == "dot":
            canvas.circle(*points[0], 2.6 * scale, stroke=0, fill=1)
        elif mark.kind == "text":
            canvas.setFont(font, FONT_SIZE * scale)
            _writer(canvas, mark.anchor)(*points[0], mark.text)
        else:
            path = canvas.beginPath()
            path.moveTo(*points[0])
            for point in points[1:]:
                path.lineTo(*point)
            if mark.kind == "area":
                path.close()
            canvas.drawPath(path, stroke=int(mark.kind == "line"), fill=int(mark.kind == "area"))


def _writer(canvas: Any, anchor: Anchor) -> Callable[[float, float, str], None]:
    writer: Callable[[float, float, str], None] = {
        "start": canvas.drawString,
        "middle": canvas.drawCentredString,
        "end": canvas.drawRightString,
    }[anchor]
    return writer


def _colour(role: str) -> tuple[float, float, float]:
    value = INK[role]
    return int(value[1:3], 16) / 255, int(value[3:5], 16) / 255, int(value[5:7], 16) / 255
