"""What the report's page is drawn with: lines of text, rules, cells, paragraphs, in the fonts of `letters.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from carpal.optional import need
from carpal.report import letters
from carpal.report.letters import FONT

PAGE: Final = (595.28, 841.89)
MARGIN: Final = 36.0
WIDTH: Final = PAGE[0] - 2 * MARGIN
INK, SOFT, LINE, ACCENT = "#17212b", "#4d5b68", "#c9d1d8", "#14506f"


def text(
    canvas: Any, x: float, y: float, words: str, font: str, size: float, colour: str = INK, anchor: str = "start"
) -> None:
    """One line that begins, or ends, at (x, y)."""
    canvas.setFillColor(_colour(colour))
    letters.write(canvas, x - letters.width(words, font, size) if anchor == "end" else x, y, words, font, size)


def fitted(
    canvas: Any,
    x: float,
    y: float,
    words: str,
    width: float,
    font: str,
    size: float,
    colour: str = INK,
    smallest: float | None = None,
) -> None:
    """One line, in smaller letters down to `smallest`, and cut where it does not fit even so."""
    shown = words = letters.clean(words)
    while smallest is not None and size > smallest and letters.width(words, font, size) > width:
        size -= 0.5
    while shown and letters.width(shown, font, size) > width:
        shown = shown[:-1]
    text(canvas, x, y, shown if shown == words else f"{shown[:-1]}…", font, size, colour)


def cells(canvas: Any, stops: Sequence[float], y: float, words: Sequence[str], colour: str, numbers: int = 2) -> None:
    """A row of a table: the first cells begin at their stop, the last `numbers` end there."""
    first = len(words) - numbers
    for place, (x, word) in enumerate(zip(stops, words, strict=True)):
        text(canvas, x, y, word, FONT, 8.5, colour, "end" if place >= first else "start")


def rule(canvas: Any, y: float, left: float = MARGIN, width: float = WIDTH) -> None:
    """A thin line across."""
    canvas.setStrokeColor(_colour(LINE))
    canvas.setLineWidth(0.5)
    canvas.line(left, y, left + width, y)


def paragraph(canvas: Any, top: float, marked: str, bottom: float) -> float | None:
    """A paragraph over the page's width; returns where the next begins, or None where it would reach below `bottom`."""
    styles = need("reportlab.lib.styles", feature="Writing a PDF", extra="pdf")
    platypus = need("reportlab.platypus", feature="Writing a PDF", extra="pdf")
    style = styles.ParagraphStyle("note", fontName=FONT, fontSize=8.5, leading=10.5, textColor=INK)
    drawn = platypus.Paragraph(marked, style)
    _, height = drawn.wrap(WIDTH, PAGE[1])
    if top - height < bottom:
        return None
    drawn.drawOn(canvas, MARGIN, top - height)
    return float(top - height - 3)


def _colour(value: str) -> tuple[float, float, float]:
    return int(value[1:3], 16) / 255, int(value[3:5], 16) / 255, int(value[5:7], 16) / 255
