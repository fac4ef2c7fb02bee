"""The PDF's letters: fonts that are embedded, which of them has a letter, and which letters none has.

Roboto (the package font-roboto, Apache License 2.0) has Latin, Greek and Cyrillic. East Asian letters come from a font
of the system, where one of `EAST_ASIAN` is installed (Debian: fonts-droid-fallback). Right-to-left scripts are not
drawn: without shaping they would be wrong. What cannot be drawn becomes "?" and is reported.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

from carpal.optional import need

FONT, BOLD, EAST = "Roboto", "Roboto-Bold", "EastAsian"
EAST_ASIAN: Final = (
    Path("/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf"),
    Path("/usr/share/fonts/truetype/wqy/wqy-microhei.ttc"),
)
"""TrueType fonts with Chinese, Japanese and Korean letters, where Debian puts them. The first that exists is used."""
WIDE: Final = ("W", "F", "H", "A")
"""East Asian Width (UAX 11) of the letters that are looked for in such a font."""
RIGHT_TO_LEFT: Final = ("R", "AL", "AN")
MISSING: Final = "?"


@cache
def register(east_asian: tuple[Path, ...] = EAST_ASIAN) -> dict[str, frozenset[int]]:
    """Makes the fonts known to reportlab; returns the letters of each. Raises BackendError for a missing package."""
    settings: Any = need("reportlab.rl_config", feature="Writing a PDF", extra="pdf")
    settings.useA85 = 0  # streams as bytes, not as text: quicker and smaller
    roboto = need("font_roboto", feature="Writing a PDF", extra="pdf")
    metrics = need("reportlab.pdfbase.pdfmetrics", feature="Writing a PDF", extra="pdf")
    fonts = need("reportlab.pdfbase.ttfonts", feature="Writing a PDF", extra="pdf")
    paths = {FONT: roboto.Roboto, BOLD: roboto.RobotoBold}
    found = next((path for path in east_asian if path.is_file()), None)
    if found is not None:
        paths[EAST] = str(found)
    letters = {}
    for name, path in paths.items():
        font = fonts.TTFont(name, path, shapable=False)
        metrics.registerFont(font)
        letters[name] = frozenset(font.face.charToGlyph)
    metrics.registerFontFamily(FONT, normal=FONT, bold=BOLD, italic=FONT, boldItalic=BOLD)
    return letters


def clean(text: str) -> str:
    """Composed letters (NFC), and a space for each stretch of white space and control characters."""
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", unicodedata.normalize("NFC", text))


def runs(text: str, font: str = FONT) -> list[tuple[str, str]]:
    """The text in parts of one font each: (name of the font, letters), with "?" for what no font has."""
    placed = [_placed(letter, font) for letter in clean(text)]
    return [(name, "".join(letter for _, letter in part)) for name, part in groupby(placed, lambda each: each[0])]


def missing(texts: Iterable[str]) -> list[str]:
    """The letters of these texts that no font has, each once."""
    letters = dict.fromkeys(letter for text in texts for letter in clean(text))
    return [letter for letter in letters if letter != MISSING and _placed(letter, FONT)[1] == MISSING]


def markup(text: str) -> str:
    """Text for a reportlab paragraph: escaped, with a tag around each part in another font."""
    parts = []
    for name, part in runs(text):
        parts.append(escape(part) if name == FONT else f'<font name="{name}">{escape(part)}</font>')
    return "".join(parts)


def width(text: str, font: str, size: float) -> float:
    """Points from the first to the last letter."""
    metrics = need("reportlab.pdfbase.pdfmetrics", feature="Writing a PDF", extra="pdf")
    return float(sum(metrics.stringWidth(part, name, size) for name, part in runs(text, font)))


def write(canvas: Any, x: float, y: float, text: str, font: str, size: float) -> None:
    """Draws one line that begins at (x, y)."""
    for name, part in runs(text, font):
        canvas.setFont(name, size)
        canvas.drawString(x, y, part)
        x += canvas.stringWidth(part, name, size)


def _placed(letter: str, font: str) -> tuple[str, str]:
    """The font of a letter, and the letter itself, or "?"."""
    letters, code = register(), ord(letter)
    if unicodedata.bidirectional(letter) in RIGHT_TO_LEFT:
        return font, MISSING
    if code in letters[font]:
        return font, letter
    if code in letters.get(EAST, ()) and unicodedata.east_asian_width(letter) in WIDE:
        return EAST, letter
    return font, MISSING
