"""Lines of text in a PDF, in whatever script a name has: bidirectional order, joined letters, fonts that are embedded.

A paragraph is broken into lines in the order of its letters; each line is cut into runs of one direction and one font,
put in visual order (Unicode Standard Annex 9) and shaped by HarfBuzz. reportlab itself embeds letters, not glyphs, and
takes the order of right-to-left text from a library under the LGPL; therefore this module writes the glyphs itself, as
one composite font (ISO 32000-1, 9.7) for each file of `fonts/` that a document needs. What each glyph stands for is in
its ToUnicode map, so that a search for a name finds it. The same text gives the same bytes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache, cached_property, lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from carpal.errors import need

FONTS: Final = Path(__file__).with_name("fonts")
CHAIN: Final = (
    ("NotoSans-Regular", "NotoSans-Bold"),
    ("NotoSansMath-Regular", "NotoSansMath-Regular"),
    ("NotoSansHebrew-Regular", "NotoSansHebrew-Bold"),
    ("NotoSansArabic-Regular", "NotoSansArabic-Bold"),
    ("NotoSansArmenian-Regular", "NotoSansArmenian-Regular"),
    ("NotoSansGeorgian-Regular", "NotoSansGeorgian-Regular"),
    ("NotoSansDevanagari-Regular", "NotoSansDevanagari-Regular"),
    ("NotoSansThai-Regular", "NotoSansThai-Regular"),
    ("DroidSansFallback", "DroidSansFallback"),
)
"""The fonts in which a letter is looked for, in this order, each with its bold face, or itself where we ship none."""
TALL: Final = 1.5
"""Em between ascent and descent above which a font's lines need more room: Arabic and Thai with marks on marks."""
TALLER: Final = 1.25
"""How much more: Noto Sans Arabic's 2.11 em are for Quranic marks; at 1.25 lines of fully vocalised names are apart."""
Anchor = Literal["start", "middle", "end"]
Spans = Sequence[tuple[str, bool]]
"""Parts of a text, and whether each is bold."""

_DIRECTIONS: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Embeddings, overrides and isolates: they are invisible, and could show a number in a report in another order."""
_IGNORABLE: Final = re.compile("[\u00ad\u034f\u061c\u200b-\u200f\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0100-\U000e01ef]")
"""Letters without a shape of their own; some, as the zero-width non-joiner in Persian, shape their neighbours."""
_PAIRS: Final = {"(": ")", "[": "]", "{": "}", "\u3008": "\u3009", "\u300c": "\u300d", "\uff08": "\uff09"}
"""Brackets that are ordered as pairs: of the 60 pairs of BidiBrackets.txt those that a name or a remark may have."""
_NESTED: Final = 63
"""Depth of brackets beyond which UAX 9 (BD16) gives up."""
_OPENING: Final = "([{\N{LEFT DOUBLE QUOTATION MARK}\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}"


class Run(NamedTuple):
    """A part of a line, of one font and one direction; `start` and `end` count letters of the paragraph."""

    start: int
    end: int
    font: str
    level: int


class Glyph(NamedTuple):
    """A shaped glyph: its number in the font, the letters it stands for, advance and offset in units of the em."""

    number: int
    text: str
    advance: float
    x: float
    y: float


def clean(text: str) -> str:
    """Composed letters (NFC), a space for each stretch of white space or controls, and no directional controls."""
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", unicodedata.normalize("NFC", _DIRECTIONS.sub("", text)))


def missing(texts: Iterable[str]) -> list[str]:
    """The letters of these texts that no font has, each once."""
    letters = dict.fromkeys(letter for text in texts for letter in clean(text))
    return [letter for letter in letters if _place_of(letter) is None]


def drawable(text: str) -> str:
    """The text as it is drawn: `clean`, and [U+2D49] in place of a letter that no font has."""
    return "".join(letter if _place_of(letter) is not None else f"[U+{ord(letter):04X}]" for letter in clean(text))


@cache
def _font(name: str) -> Any:
    """One of our font files, opened by HarfBuzz once."""
    harfbuzz = need("uharfbuzz", feature="Writing a PDF", extra="pdf")
    return harfbuzz.Font(harfbuzz.Face(harfbuzz.Blob.from_file_path(str(FONTS / f"{name}.ttf"))))


@cache
def _letters(name: str) -> frozenset[int]:
    return frozenset(_font(name).face.unicodes)


@lru_cache(4096)
def _place_of(letter: str) -> int | None:
    """The place in CHAIN of the first font with the letter; 0 for one without a shape, None where no font has it."""
    if _IGNORABLE.match(letter):
        return 0
    return next((place for place, names in enumerate(CHAIN) if ord(letter) in _letters(names[0])), None)


def _fonts_of(text: str, bold: Sequence[bool]) -> list[str]:
    """The font of each letter; marks and joiners stay with the letter before them, whose shape they change."""
    found: list[str] = []
    place = 0
    for letter, heavy in zip(text, bold, strict=True):
        follows = unicodedata.category(letter) in ("Mn", "Mc", "Me") and ord(letter) in _letters(CHAIN[place][0])
        if not (found and (follows or _IGNORABLE.match(letter))):
            place = _place_of(letter) or 0
        name = CHAIN[place][heavy]
        found.append(name if ord(letter) in _letters(name) or _IGNORABLE.match(letter) else CHAIN[place][0])
    return found


def base_level(text: str) -> int:
    """0 for a paragraph from left to right, 1 for one from right to left, by its first strong letter (P2, P3)."""
    kinds = map(unicodedata.bidirectional, text)
    return next((int(kind != "L") for kind in kinds if kind in ("L", "R", "AL")), 0)


def levels_of(text: str, base: int) -> list[int]:
    """The embedding level of each letter by UAX 9, for a paragraph of that base level without directional controls.

    Odd levels run from right to left. The rules' names stand beside them; lines have their own part, `_visual`.
    """
    everything = [unicodedata.bidirectional(letter) or "L" for letter in text]
    kept = [place for place, kind in enumerate(everything) if kind != "BN"]  # X9: as if the others were not there
    kinds = _weak([everything[place] for place in kept], "R" if base else "L")
    _brackets([text[place] for place in kept], kinds, base)
    strong = {"L": "L", "R": "R", "EN": "R", "AN": "R"}
    edge = "R" if base else "L"
    place = 0
    while place < len(kinds):  # N1, N2: what is neutral takes the direction of both its sides, or else the base
        end = place
        while end < len(kinds) and kinds[end] not in strong:
            end += 1
        before = strong[kinds[place - 1]] if place else edge
        after = strong[kinds[end]] if end < len(kinds) else edge
        kinds[place:end] = [before if before == after else edge] * (end - place)
        place = end + 1
    raised = ({"L": 0, "R": 1, "EN": 2, "AN": 2}, {"L": 2, "R": 1, "EN": 2, "AN": 2})[base]  # I1, I2
    levels = [base] * len(text)
    for place, kind in zip(kept, kinds, strict=True):
        levels[place] = raised[kind]
    for place, kind in enumerate(everything):
        if kind == "BN" and place:
            levels[place] = levels[place - 1]
    return levels


def _weak(kinds: list[str], edge: str) -> list[str]:
    """Rules W1 to W7: marks, numbers and what stands around numbers."""
    strong = edge
    for place, kind in enumerate(kinds):
        if kind == "NSM":
            kinds[place] = kind = kinds[place - 1] if place else edge  # W1
        if kind in ("L", "R", "AL"):
            strong = kind
        elif kind == "EN" and strong == "AL":
            kinds[place] = "AN"  # W2
    kinds = ["R" if kind == "AL" else kind for kind in kinds]  # W3
    for place in range(1, len(kinds) - 1):  # W4
        before, kind, after = kinds[place - 1 : place + 2]
        if before == after and ((kind == "ES" and before == "EN") or (kind == "CS" and before in ("EN", "AN"))):
            kinds[place] = before
    place = 0
    for kind, part in [(kind, len(list(part))) for kind, part in groupby(kinds)]:
        end = place + part
        if kind == "ET" and "EN" in (kinds[place - 1 : place] + kinds[end : end + 1]):
            kinds[place:end] = ["EN"] * part  # W5
        place = end
    strong = edge
    for place, kind in enumerate(kinds):
        if kind in ("ES", "ET", "CS"):
            kinds[place] = "ON"  # W6
        elif kind in ("L", "R"):
            strong = kind
        elif kind == "EN" and strong == "L":
            kinds[place] = "L"  # W7
    return kinds


def _brackets(letters: Sequence[str], kinds: list[str], base: int) -> None:
    """Rule N0: both brackets of a pair take one direction, that of what they enclose, or of what stands before them."""
    opened: list[int] = []
    pairs = []
    for place, letter in enumerate(letters):
        if kinds[place] != "ON":
            continue
        if letter in _PAIRS:
            if len(opened) == _NESTED:
                return
            opened.append(place)
        elif letter in _PAIRS.values():
            match = next((each for each in reversed(opened) if _PAIRS[letters[each]] == letter), None)
            if match is not None:
                pairs.append((match, place))
                del opened[opened.index(match) :]
    direction = {"L": "L", "R": "R", "EN": "R", "AN": "R"}
    edge = "R" if base else "L"
    for start, end in sorted(pairs):
        inside = {direction[kind] for kind in kinds[start + 1 : end] if kind in direction}
        if edge in inside:
            chosen = edge
        elif inside:
            earlier = [direction[kind] for kind in kinds[:start] if kind in direction]
            chosen = "R" if base == 0 and earlier[-1:] == ["R"] else "L" if base and earlier[-1:] == ["L"] else edge
        else:
            continue
        for place in (start, end):
            kinds[place] = chosen
            follower = place + 1
            while follower < len(kinds) and unicodedata.bidirectional(letters[follower]) == "NSM":
                kinds[follower] = chosen
                follower += 1


@lru_cache(4096)
def _shape(text: str, font: str, rightwards: bool) -> tuple[Glyph, ...]:
    """The glyphs of a run, from left to right."""
    harfbuzz = need("uharfbuzz", feature="Writing a PDF", extra="pdf")
    opened = _font(font)
    buffer = harfbuzz.Buffer()
    buffer.cluster_level = harfbuzz.BufferClusterLevel.CHARACTERS
    buffer.add_str(text)
    buffer.direction = "ltr" if rightwards else "rtl"
    buffer.guess_segment_properties()
    harfbuzz.shape(opened, buffer, {})
    starts = sorted({info.cluster for info in buffer.glyph_infos})
    ends = dict(zip(starts, [*starts[1:], len(text)], strict=True))
    em, glyphs, told = opened.face.upem, [], set()
    for info, position in zip(buffer.glyph_infos, buffer.glyph_positions, strict=True):
        stands_for = "" if info.cluster in told else text[info.cluster : ends[info.cluster]]
        told.add(info.cluster)
        glyphs.append(
            Glyph(info.codepoint, stands_for, position.x_advance / em, position.x_offset / em, position.y_offset / em)
        )
    return tuple(glyphs)


class Paragraph:
    """A text with its fonts and levels, and the lines that it needs at a width; `size` is that of its letters, points.

    Outside text may stand in it as it is. `base` 0 keeps our own sentences from left to right whatever name they hold;
    by default the first strong letter decides.
    """

    def __init__(self, spans: str | Spans, size: float, bold: bool = False, base: int | None = None) -> None:
        parts = [(spans, bold)] if isinstance(spans, str) else spans
        parts = [(drawable(text), heavy) for text, heavy in parts]
        self.text = "".join(text for text, _ in parts)
        self.size = size
        self._base = base_level(self.text) if base is None else base
        heavy = [heavy for text, heavy in parts for _ in text]
        self._fonts = _fonts_of(self.text, heavy)
        self._levels = levels_of(self.text, self._base)

    def lines(self, width: float) -> list[tuple[int, int]]:
        """The first letter and the end of each line that is at most `width` points wide.

        A line ends where a word does; a word that is wider than a whole line is broken between letters.
        """
        lines, start, end, used = [], 0, 0, 0.0
        for stop in self._stops:
            word = self.width(end, stop)
            bare = self.width(end, len(self.text[:stop].rstrip(" ")))
            if used + bare > width and end > start:
                lines.append((start, end))
                start, used = end, 0.0
            if bare > width:
                for letter in range(end + 1, stop):
                    mark = unicodedata.category(self.text[letter]) in ("Mn", "Mc", "Me", "Cf")
                    if not mark and self.width(start, letter + 1) > width and letter > start:
                        lines.append((start, letter))
                        start = letter
                word = self.width(start, stop)
                used = 0.0
            used, end = used + word, stop
        return [*lines, (start, end)] if end > start or not lines else lines

    @cached_property
    def _stops(self) -> list[int]:
        """Where a line may end: after a space or a hyphen, and on both sides of an East Asian letter."""
        stops = []
        for place, (before, after) in enumerate(zip(self.text, self.text[1:], strict=False), 1):
            wide = "W" in (unicodedata.east_asian_width(before), unicodedata.east_asian_width(after))
            glued = before in _OPENING or unicodedata.category(after) in ("Pe", "Pf", "Po", "Mn", "Mc", "Lm")
            hyphen = (before == "-" and after.isalpha()) or (before == "]" and after == "[")
            if after != " " and (before == " " or hyphen or (wide and not glued)):
                stops.append(place)
        return [*stops, len(self.text)]

    def runs(self, start: int, end: int) -> list[Run]:
        """The runs of a line, from left to right."""
        shown = len(self.text[start:end].rstrip(" ")) + start
        places = list(range(start, shown))
        found: list[Run] = []
        for (font, level), part in groupby(places, lambda each: (self._fonts[each], self._levels[each])):
            run = list(part)
            found.append(Run(run[0], run[-1] + 1, font, level))
        for level in range(max((run.level for run in found), default=0), 0, -1):  # L2
            place = 0
            while place < len(found):
                stop = place
                while stop < len(found) and found[stop].level >= level:
                    stop += 1
                found[place:stop] = reversed(found[place:stop])
                place = stop + 1
        return found

    def _shaped(self, run: Run) -> tuple[Glyph, ...]:
        return _shape(self.text[run.start : run.end], run.font, run.level % 2 == 0)

    def width(self, start: int, end: int) -> float:
        """Points from the first to the last letter of a part, spaces at its end included."""
        spaces = end - start - len(self.text[start:end].rstrip(" "))
        glyphs = [glyph for run in self.runs(start, end) for glyph in self._shaped(run)]
        space = _shape(" ", CHAIN[0][0], True)[0].advance if spaces else 0.0
        return self.size * (sum(glyph.advance for glyph in glyphs) + spaces * space)

    def height(self, start: int, end: int, leading: float) -> float:
        """Points from this line to the next: `leading`, and more where a script needs it."""
        for font in set(self._fonts[start:end]):
            extents, em = _font(font).get_font_extents("ltr"), _font(font).face.upem
            if (extents.ascender - extents.descender) / em > TALL:
                return leading * TALLER
        return leading

    def draw(self, canvas: Any, x: float, y: float, line: tuple[int, int] | None = None) -> None:
        """Writes a line, or all of the text, from (x, y) on, in the canvas's colour.

        Runs are written in the order of their letters, whatever their place, which is the order that a search follows.
        A run from left to right whose glyphs stand in another order than its letters, as in Devanagari, says what it
        reads (ISO 32000-1, 14.9.4). One from right to left does not: readers of PDF turn its glyphs round themselves,
        and poppler turns such a saying round, too.
        """
        placed = []
        for run in self.runs(*(line or (0, len(self.text)))):
            glyphs = self._shaped(run)
            placed.append((run, x, glyphs))
            x += self.size * sum(glyph.advance for glyph in glyphs)
        for run, left, glyphs in sorted(placed):
            embedded = canvas.embedded(run.font)
            shown = embedded.show(glyphs, self.size)
            code = f"BT {embedded.resource} {self.size:g} Tf 1 0 0 1 {left:.3f} {y:.3f} Tm {shown} ET"
            text = self.text[run.start : run.end]
            if run.level % 2 == 0 and "".join(glyph.text for glyph in glyphs) != text:
                code = f"/Span <</ActualText <FEFF{text.encode('utf-16-be').hex()}>>> BDC {code} EMC"
            canvas.addLiteral(code)


class EmbeddedFont:
    """The glyphs of one font that a document uses: a code for each glyph and the letters that it stands for there."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.resource = f"/C{number}"
        self._tag = "".join(chr(65 + number // 26**power % 26) for power in range(5, -1, -1))
        self._codes: dict[tuple[int, str], int] = {(0, ""): 0}

    def show(self, glyphs: Sequence[Glyph], size: float) -> str:
        """The operators that show these glyphs at the present place, where their advances and offsets put them."""
        written, shown, rise, pending = [], "", 0.0, 0.0
        font = _font(self.name)
        for glyph in glyphs:
            if glyph.y != rise:
                written += [f"[{shown}] TJ"] if shown else []
                written.append(f"{glyph.y * size:.3f} Ts")
                shown, rise = "", glyph.y
            pending -= glyph.x * 1000
            code = self._codes.setdefault((glyph.number, glyph.text), len(self._codes))
            shown += (f"{pending:.0f} " if round(pending) else "") + f"<{code:04X}>"
            pending = (font.get_glyph_h_advance(glyph.number) / font.face.upem - glyph.advance + glyph.x) * 1000
        end = f"[{shown}{f' {pending:.0f}' if round(pending) else ''}] TJ"
        return " ".join([*written, end, *(["0 Ts"] if rise else [])])

    def addObjects(self, document: Any) -> None:
        """Called by reportlab when the document is complete: the font, its subset, widths and ToUnicode map."""
        documents = need("reportlab.pdfbase.pdfdoc", feature="Writing a PDF", extra="pdf")
        font = _font(self.name)
        content, numbers = self._subset()
        em, extents = font.face.upem, font.get_font_extents("ltr")
        up, down = round(extents.ascender * 1000 / em), round(extents.descender * 1000 / em)
        name = f"/{self._tag}+{self.name}"

        def stream(data: bytes, key: str, **entries: int) -> Any:
            made = documents.PDFStream(content=data, filters=[documents.PDFZCompress])
            made.dictionary.dict.update(entries)
            return document.Reference(made, f"{self.name} {key}")

        used = list(self._codes)
        widths = [round(font.get_glyph_h_advance(glyph) * 1000 / em) for glyph, _ in used]
        descriptor = {
            "Type": "/FontDescriptor", "FontName": name, "Flags": 4, "ItalicAngle": 0, "StemV": 80,
            "FontBBox": documents.PDFArray([-1000, down, 3000, up]), "Ascent": up, "Descent": down, "CapHeight": 714,
            "FontFile2": stream(content, "file", Length1=len(content)),
        }  # fmt: skip
        places = b"".join(numbers[glyph].to_bytes(2, "big") for glyph, _ in used)
        descendant = {
            "Type": "/Font", "Subtype": "/CIDFontType2", "BaseFont": name,
            "CIDSystemInfo": documents.PDFDictionary(
                {"Registry": documents.PDFString("Adobe"), "Ordering": documents.PDFString("Identity"), "Supplement": 0}
            ),
            "FontDescriptor": document.Reference(documents.PDFDictionary(descriptor), f"{self.name} descriptor"),
            "W": documents.PDFArray([0, documents.PDFArray(widths)]), "CIDToGIDMap": stream(places, "places"),
        }  # fmt: skip
        composite = {
            "Type": "/Font", "Subtype": "/Type0", "BaseFont": name, "Encoding": "/Identity-H",
            "DescendantFonts": documents.PDFArray(
                [document.Reference(documents.PDFDictionary(descendant), f"{self.name} descendant")]
            ),
            "ToUnicode": stream(_to_unicode([text for _, text in used]), "letters"),
        }  # fmt: skip
        reference = document.Reference(documents.PDFDictionary(composite), self.resource[1:])
        document.idToObject["BasicFonts"].dict[self.resource[1:]] = reference

    def _subset(self) -> tuple[bytes, dict[int, int]]:
        """A font file of the used glyphs alone, and their numbers in it."""
        harfbuzz = need("uharfbuzz", feature="Writing a PDF", extra="pdf")
        wanted = harfbuzz.SubsetInput()
        wanted.glyph_set.update({glyph for glyph, _ in self._codes})
        dropped = (b"GSUB", b"GPOS", b"GDEF", b"name", b"cmap", b"OS/2", b"post", b"gasp")
        wanted.drop_table_tag_set.update(int.from_bytes(tag, "big") for tag in dropped)
        wanted.flags = harfbuzz.SubsetFlags.NO_HINTING | harfbuzz.SubsetFlags.NOTDEF_OUTLINE
        plan = harfbuzz.SubsetPlan(_font(self.name).face, wanted)
        return bytes(plan.execute().blob.data), dict(plan.old_to_new_glyph_mapping)


def _to_unicode(texts: Sequence[str]) -> bytes:
    """The map from codes to letters (ISO 32000-1, 9.10.3); at most 100 entries stand in a block."""
    entries = [f"<{code:04X}> <{text.encode('utf-16-be').hex()}>" for code, text in enumerate(texts) if text]
    blocks = [entries[start : start + 100] for start in range(0, len(entries), 100)]
    lines = [
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap",
        "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def",
        "/CMapName /Adobe-Identity-UCS def /CMapType 2 def",
        "1 begincodespacerange <0000> <FFFF> endcodespacerange",
    ]
    for block in blocks:
        lines += [f"{len(block)} beginbfchar", *block, "endbfchar"]
    return "\n".join([*lines, "endcmap CMapName currentdict /CMap defineresource pop end end"]).encode()
