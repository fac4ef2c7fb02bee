"""The report that a hospital would file: the picture, the comparison, the table and what they rest on, on A4.

A hand begins a page of its own; what does not fit on it stands on the next, under the child's name, and nothing is left
out. Where the sex is unknown, a page has both ages. Warnings and a reader's signature stand under the age, above the
picture. The same input gives the same bytes (reportlab's invariant mode: no clock, no random file identifier; fonts are
embedded). Text that came from outside (names, reasons, warnings) is drawn as text, in its own script (`typeset`).
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import carpal
from carpal.errors import need
from carpal.report import charts, overlay, typeset
from carpal.report.child import Child, Signature
from carpal.report.content import Summary, summarise
from carpal.report.language import Words, words_of
from carpal.report.text import as_sex, for_sex, hand_name, signed, spoken, years
from carpal.report.typeset import EmbeddedFont, Paragraph, Spans
from carpal.types import Radiograph, Result, each_of, has_age

_platypus: Any = need("reportlab.platypus", feature="Writing a PDF", extra="pdf")
_canvases: Any = need("reportlab.pdfgen.canvas", feature="Writing a PDF", extra="pdf")
_settings: Any = need("reportlab.rl_config", feature="Writing a PDF", extra="pdf")
_settings.useA85 = 0  # streams as bytes, not as text: quicker and smaller

PAGE: Final = (595.28, 841.89)
MARGIN: Final = 36.0
WIDTH: Final = PAGE[0] - 2 * MARGIN
INK, SOFT, LINE, ACCENT = "#17212b", "#4d5b68", "#c9d1d8", "#14506f"
PICTURE_WIDTH, PICTURE_HEIGHT = 268.0, 300.0
LOWER: Final = 206.0
"""Height of the pictures on a page with two ages, which has more to say."""
GAP: Final = 14.0
FOOT: Final = 20.0
RUNNING_HEAD: Final = 34.0
"""Height of what stands at the bottom of each page, and at the top of each that goes on."""
MOST_LINES: Final = 6
"""Lines of a name in its column; a longer one gets the page's whole width, and as many lines as it needs."""


@dataclass(frozen=True)
class Hand:
    """What one page shows: the radiograph (of two hands its half), and one summary, or a girl's and a boy's."""

    radiograph: Radiograph
    result: Result
    summaries: tuple[Summary, ...]
    others: tuple[Result, ...]
    words: Words

    @property
    def first(self) -> Summary:
        """What does not depend on the sex: the child, the boxes, the weights."""
        return self.summaries[0]

    @property
    def unknown(self) -> bool:
        """Whether nobody knows the sex."""
        return len(self.summaries) > 1


class Text(_platypus.Flowable):  # type: ignore[misc]
    """A paragraph in the flow of a page; the lines that do not fit go on with the next page."""

    def __init__(
        self,
        spans: str | Spans,
        size: float = 8.0,
        colour: str = INK,
        bold: bool = False,
        anchor: typeset.Anchor = "start",
        base: int | None = 0,
        after: float = 3.0,
    ) -> None:
        super().__init__()
        self.paragraph = Paragraph(spans, size, bold, base)
        self.colour, self.anchor, self.spaceAfter = colour, anchor, after
        self.lines: list[tuple[int, int]] = []
        self._whole = True

    def wrap(self, available: float, _: float) -> tuple[float, float]:
        """Breaks the lines; returns the room that they need, points."""
        if self._whole:
            self.lines = self.paragraph.lines(available)
        self.width, self.height = available, sum(self._heights())
        return self.width, self.height

    def split(self, available: float, height: float) -> list[Text]:
        """The lines that fit into `height`, and the others; nothing where not even one does."""
        self.wrap(available, height)
        fitting, room = 0, height
        for each in self._heights():
            room -= each
            fitting += int(room >= 0)
        if not 0 < fitting < len(self.lines):
            return []
        return [self._part(self.lines[:fitting], 0.0), self._part(self.lines[fitting:], self.spaceAfter)]

    def draw(self) -> None:
        """Writes the lines from the top of the room down."""
        self.canv.setFillColor(self.colour)
        top = self.height
        for line, height in zip(self.lines, self._heights(), strict=True):
            free = self.width - self.paragraph.width(*line)
            left = {"start": 0.0, "middle": free / 2, "end": free}[self.anchor]
            self.paragraph.draw(self.canv, left, top - 0.78 * height, line)
            top -= height

    def _heights(self) -> list[float]:
        return [self.paragraph.height(*line, leading=1.25 * self.paragraph.size) for line in self.lines]

    def _part(self, lines: list[tuple[int, int]], after: float) -> Text:
        part = Text("", colour=self.colour, anchor=self.anchor, after=after)
        part.paragraph, part.lines, part._whole = self.paragraph, lines, False
        return part


class Drawn(_platypus.Flowable):  # type: ignore[misc]
    """A picture, a chart or a rule: a box of a known size that something paints from its lower left corner on."""

    def __init__(self, width: float, height: float, paint: Callable[[Any], object]) -> None:
        super().__init__()
        self.width, self.height, self._paint = width, height, paint

    def draw(self) -> None:
        """Paints it."""
        self._paint(self.canv)


class Pages(_canvases.Canvas):  # type: ignore[misc]
    """A canvas that embeds glyphs, and that writes the foot of each page when it knows how many there are."""

    def __init__(self, *arguments: Any, words: Words, **named: Any) -> None:
        self._fonts: dict[str, EmbeddedFont] = {}
        self._pages: list[dict[str, Any]] = []
        self._words = words
        super().__init__(*arguments, **named)

    def embedded(self, font: str) -> EmbeddedFont:
        """This document's part of a font."""
        if font not in self._fonts:
            self._fonts[font] = EmbeddedFont(font, len(self._fonts))
            self._doc.delayedFonts.append(self._fonts[font])
        return self._fonts[font]

    def showPage(self) -> None:
        """Keeps the page until its foot can be written."""
        self._pages.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        """Writes the feet, and the document."""
        for place, page in enumerate(self._pages, 1):
            self.__dict__.update(page)
            self._foot(self._words.gettext("Page %(page)d of %(pages)d") % {"page": place, "pages": len(self._pages)})
            super().showPage()
        super().save()

    def _foot(self, number: str) -> None:
        words = self._words
        notice = (
            words.gettext("Research only, not a medical device."),
            words.gettext("Not for diagnosis, treatment or legal age."),
        )
        _rule(self, MARGIN, MARGIN + 14)
        self.setFillColor(INK)
        Paragraph(" ".join(notice), 8, bold=True, base=0).draw(self, MARGIN, MARGIN + 3)
        said = Paragraph(number, 8, base=0)
        said.draw(self, PAGE[0] - MARGIN - said.width(0, len(said.text)), MARGIN + 3)

    def setFont(self, *_: Any) -> None:
        """Nothing: reportlab's tables set Helvetica, which would not be embedded, and our cells bring their own."""

    def _make_preamble(self) -> None:
        self._preamble = "1 0 0 1 0 0 cm"  # reportlab's own begins with Helvetica, too


def _rule(canvas: Any, left: float, y: float, width: float = WIDTH) -> None:
    canvas.setStrokeColor(LINE)
    canvas.setLineWidth(0.5)
    canvas.line(left, y, left + width, y)


def render(
    result: Result,
    radiograph: Radiograph,
    child: Child | None = None,
    language: str = "en",
    signature: Signature | None = None,
) -> bytes:
    """The PDF's bytes for one hand. `child` is by default what the file states; otherwise as `render_hands`."""
    return render_hands([(radiograph, result)], child or Child.of(radiograph), language, signature)


def render_hands(
    hands: Sequence[tuple[Radiograph, Result]], child: Child, language: str = "en", signature: Signature | None = None
) -> bytes:
    """The PDF's bytes, a page or more for each hand with an age; each comes with the radiograph that shows it alone.

    Raises ValueError where no hand has an age, BackendError where a package is missing, ConfigError for an unknown
    language.
    """
    if not any(has_age(result) for _, result in hands):
        raise ValueError("a report needs an age")
    words, shown = words_of(language), []
    for radiograph, result in hands:
        if has_age(result):
            summaries = tuple(summarise(each, child, words) for each in each_of(result))
            others = tuple(other for _, other in hands if other is not result)
            shown.append(Hand(radiograph, result, summaries, others, words))
    buffer, templates, story = io.BytesIO(), [], []
    for place, hand in enumerate(shown):
        templates += _templates(hand, place)
        story += [_platypus.NextPageTemplate(f"first {place}"), _platypus.PageBreak()] if place else []
        story += _story(hand, signature)
    document = _platypus.BaseDocTemplate(
        buffer,
        pagesize=PAGE,
        pageTemplates=templates,
        title=words.gettext("Bone age report"),
        subject=words.gettext("Research only, not a medical device."),
        creator=f"carpal {carpal.__version__}",
        lang=language,
        invariant=1,
        pageCompression=1,
    )
    document.build(story, canvasmaker=partial(Pages, words=words))
    return buffer.getvalue()


def _templates(hand: Hand, place: int) -> list[Any]:
    """The first page of a hand, and those that go on: their head says whose they are, cut to two lines if need be."""
    words, child = hand.words, hand.first.child
    name, identifier = words.gettext("Name"), words.gettext("Patient ID")
    said = [
        words.gettext("Bone age report"),
        f"{name}: {child.name or '-'}",
        f"{identifier}: {child.identifier or '-'}",
    ]
    side = hand.first.assessment.side_in_image
    said += [hand_name(side, words)] if side is not None else []

    def head(canvas: Any, _: Any) -> None:
        whole = Paragraph(" \N{MIDDLE DOT} ".join(said), 9, bold=True, base=0)
        lines = whole.lines(WIDTH)
        if len(lines) > 2:
            whole = Paragraph(f"{whole.text[: lines[1][1] - 3]}…", 9, bold=True, base=0)
            lines = whole.lines(WIDTH)[:2]
        canvas.setFillColor(INK)
        for number, line in enumerate(lines):
            whole.draw(canvas, MARGIN, PAGE[1] - MARGIN - 9 - 12 * number, line)
        _rule(canvas, MARGIN, PAGE[1] - MARGIN - RUNNING_HEAD + 6)

    made = []
    for name, top, paint in ((f"first {place}", 0.0, None), (f"later {place}", RUNNING_HEAD, head)):
        height = PAGE[1] - 2 * MARGIN - FOOT - top
        frame = _platypus.Frame(MARGIN, MARGIN + FOOT, WIDTH, height, 0, 0, 0, 0)
        painted = {} if paint is None else {"onPage": paint}
        made.append(_platypus.PageTemplate(name, [frame], autoNextPageTemplate=f"later {place}", **painted))
    return made


def _story(hand: Hand, signature: Signature | None) -> Iterator[Any]:
    """What a hand's pages say, in this order."""
    words = hand.words
    yield from _head(hand)
    yield from _ages(hand)
    yield from (Text(line, 9, after=2) for line in _said_at_once(hand))
    warnings = dict.fromkeys(warning for each in each_of(hand.result) for warning in each.warnings)
    title = words.gettext("Be careful")
    yield from (Text([(f"{title}: ", True), (warning, False)], 9, after=2) for warning in warnings)
    if signature is not None:
        yield Text(signature_text(signature, words), 9, after=2)
    without = _without_font(hand, signature)
    if without:
        yield Text(without, bold=True)
    yield _platypus.Spacer(WIDTH, 4)
    yield _pictures(hand)
    yield from _table(hand)
    explained = [_explained(summary, words) for summary in hand.summaries]
    for notes in zip(*explained, strict=True):
        if len(set(notes)) == 1:  # what does not depend on the sex is said once
            yield from [Text(notes[0])] if notes[0] else []
            continue
        for summary, note in zip(hand.summaries, notes, strict=True):
            if note:
                yield Text([(f"{for_sex(summary.assessment.sex, words)}: ", True), (note, False)])
    model = hand.first.assessment.model
    yield Text(f"carpal {carpal.__version__}, {model.name} {model.version}, SHA-256 {model.sha256}", 8, SOFT, after=1)
    card = words.gettext("What the weights were trained on and how far they err: docs/cards/%s.md of carpal.")
    yield Text(card % model.name, 8, SOFT)


def _columns(rows: Sequence[Sequence[Any]], widths: Sequence[float], *style: tuple[Any, ...]) -> Any:
    """A table without any padding of its own; a cell is a flowable or a list of them."""
    plain = [("LEFTPADDING", 0), ("RIGHTPADDING", 0), ("TOPPADDING", 0), ("BOTTOMPADDING", 0), ("VALIGN", "TOP")]
    commands = [(name, (0, 0), (-1, -1), value) for name, value in plain]
    return _platypus.Table(rows, colWidths=widths, style=[*commands, *style], hAlign="LEFT")


def _head(hand: Hand) -> Iterator[Any]:
    """Title and the child's facts."""
    child, words = hand.first.child, hand.words
    research = Text(words.gettext("Research only, not a medical device."), 9, SOFT, anchor="end")
    title = Text(words.gettext("Bone age report"), 17, ACCENT, bold=True)
    style = ("BOTTOMPADDING", (0, 0), (-1, -1), 3), ("LINEBELOW", (0, 0), (-1, -1), 0.5, LINE)
    yield _columns([[title, research]], [WIDTH / 2, WIDTH / 2], *style)
    unknown = words.gettext("not known")
    sex = {"female": words.gettext("female"), "male": words.gettext("male")}[hand.first.assessment.sex]
    facts = [
        (words.gettext("Name"), child.name or "-"),
        (words.gettext("Patient ID"), child.identifier or "-"),
        (words.gettext("Sex"), unknown if hand.unknown else sex),
        (words.gettext("Date of birth"), child.birth_date.isoformat() if child.birth_date else unknown),
        (words.gettext("Date of the radiograph"), child.study_date.isoformat() if child.study_date else unknown),
        (words.gettext("Chronological age"), unknown if child.months is None else years(child.months, words)),
    ]
    yield _platypus.Spacer(WIDTH, 5)
    cells = []
    for name, value in facts:
        label, said = Text(name, 8, SOFT, after=0), Text(value, 10, bold=True, base=None)
        said.wrap(WIDTH / 3 - 8, 0)
        if len(said.lines) > MOST_LINES:
            yield from (label, said)
        else:
            cells.append([label, said])
    rows = [cells[start : start + 3] for start in range(0, len(cells), 3)]
    rows[-1] += [[]] * (3 - len(rows[-1]))
    yield _columns(
        rows, [WIDTH / 3] * 3, ("RIGHTPADDING", (0, 0), (-1, -1), 8), ("LINEBELOW", (0, -1), (-1, -1), 0.5, LINE)
    )
    yield _platypus.Spacer(WIDTH, 5)


def _ages(hand: Hand) -> Iterator[Any]:
    """The age with its interval; both ages side by side where the sex is unknown."""
    words, half = hand.words, PICTURE_WIDTH + GAP
    cells = []
    for summary in hand.summaries:
        assessment = summary.assessment
        title = as_sex(assessment.sex, words) if hand.unknown else words.gettext("Bone age")
        cell = [Text(title, 9, SOFT, after=0)]
        cells.append(cell)
        if assessment.months is None:
            cell.append(Text(assessment.refused.message if assessment.refused else "", 10))
            continue
        age = Text(years(assessment.months, words), 17, bold=True, after=0)
        months = Text(" ".join((f"{assessment.months:.1f}", words.gettext("months"))), 11, SOFT)
        wide = age.paragraph.width(0, len(age.paragraph.text)) + 8
        cell.append(_columns([[age, months]], [wide, half - wide], ("TOPPADDING", (1, 0), (1, 0), 5.8)))
        judged = [Text(line, 10, bold=bool(place), after=2) for place, line in enumerate(_judged(summary, words))]
        if hand.unknown:
            cell += judged
        else:
            cells.append(judged)
    yield _columns([cells], [half, WIDTH - half])
    yield _platypus.Spacer(WIDTH, 4)


def _judged(summary: Summary, words: Words) -> list[str]:
    lines = [summary.interval_note]
    if summary.score is not None:
        title = words.gettext("z-score")
        lines.append(f"{title} {signed(summary.score.numbers[2])}: {summary.verdict}")
    return lines


def _said_at_once(hand: Hand) -> list[str]:
    """Which of two hands this is and how old the other, that the sex is unknown, who calibrated the age."""
    words, lines = hand.words, []
    side = hand.first.assessment.side_in_image
    if side is not None:
        others = [f"{hand_name(one.side_in_image or '', words)}: {spoken(other, words)}" for other in hand.others
                  for one in each_of(other)[:1]]  # fmt: skip
        this = words.gettext("%s (this page)") % hand_name(side, words)
        lines.append(". ".join([this, *others]) + ".")
    if hand.unknown:
        lines.append(words.gettext("The sex is not known: of the two ages, only one can be this child's."))
    notes = [summary.site_note for summary in hand.summaries if summary.site_note]
    titles = [for_sex(summary.assessment.sex, words) for summary in hand.summaries]
    lines += [f"{title}: {note}" if hand.unknown else note for title, note in zip(titles, notes, strict=False)]
    return lines


def _pictures(hand: Hand) -> Any:
    """The radiograph with its regions on the left, the charts on the right."""
    readers = need("reportlab.lib.utils", feature="Writing a PDF", extra="pdf")
    picture = overlay.draw(hand.radiograph, hand.result, strips=False)
    most = LOWER if hand.unknown else PICTURE_HEIGHT
    scale = min(PICTURE_WIDTH / picture.width, most / picture.height)
    width, height = picture.width * scale, picture.height * scale
    image = Drawn(width, height, lambda canvas: canvas.drawImage(readers.ImageReader(picture), 0, 0, width, height))
    room = WIDTH - PICTURE_WIDTH - GAP
    beside: list[Any] = []
    for title, each in _charts(hand):
        size = min(room / each.width, (LOWER / 2 - 15) / each.height) if hand.unknown else room / each.width
        beside += [Text(title, 8.5, bold=True, after=0)] if title else []
        beside.append(Drawn(each.width * size, each.height * size + 4, partial(_paint, each, size)))
    return _columns([[image, beside]], [PICTURE_WIDTH + GAP, room], ("BOTTOMPADDING", (0, 0), (-1, -1), 6))


def _charts(hand: Hand) -> list[tuple[str, charts.Chart]]:
    """Growth chart and distribution; for an unknown sex both growth charts, each with its title."""
    if hand.unknown:
        found = [(for_sex(each.assessment.sex, hand.words), each.growth) for each in hand.summaries]
    else:
        found = [("", hand.first.growth), ("", hand.first.distribution)]
    return [(title, each) for title, each in found if each is not None]


def _paint(chart: charts.Chart, scale: float, canvas: Any) -> None:
    """Draws a chart whose lower left corner is the canvas's origin, with 4 points of room below it."""

    def place(point: charts.Point) -> charts.Point:
        return point[0] * scale, 4 + (chart.height - point[1]) * scale

    for mark in chart.marks:
        canvas.setStrokeColor(charts.INK[mark.role])
        canvas.setFillColor(charts.INK[mark.role])
        canvas.setLineWidth(0.4 if mark.role == "grid" else 0.8 if mark.role == "axis" else 1.2)
        points = [place(point) for point in mark.points]
        if mark.kind == "dot":
            canvas.circle(*points[0], 2.6 * scale, stroke=0, fill=1)
        elif mark.kind == "text":
            said = Paragraph(mark.text, charts.FONT_SIZE * scale, base=0)
            width = said.width(0, len(said.text))
            said.draw(canvas, points[0][0] - {"start": 0, "middle": width / 2, "end": width}[mark.anchor], points[0][1])
        else:
            path = canvas.beginPath()
            path.moveTo(*points[0])
            for point in points[1:]:
                path.lineTo(*point)
            if mark.kind == "area":
                path.close()
            canvas.drawPath(path, stroke=int(mark.kind == "line"), fill=int(mark.kind == "area"))


def _table(hand: Hand) -> Iterator[Any]:
    """The 17 regions in two halves beside each other; each region has one age, or for an unknown sex two."""
    words, shown = hand.words, [each.assessment for each in hand.summaries if each.assessment.regions]
    if not shown:
        return
    apart = len({tuple(region.months for region in each.regions) for each in shown}) > 1
    own = (
        [for_sex(each.sex, words) for each in shown]
        if apart
        else [words.gettext("Its own age"), words.gettext("months")]
    )
    table = [(words.gettext("Region"), *own, words.gettext("score"))]
    for regions in zip(*(each.regions for each in (shown if apart else shown[:1])), strict=True):
        months = [f"{region.months:.0f}" for region in regions]
        ages = months if apart else [years(regions[0].months, words), *months]
        table.append((regions[0].name, *ages, f"{regions[0].score:.2f}"))
    numbers = 3 if apart else 2
    half = len(table) // 2
    rows = []
    for left, right in zip(range(half + 1), (0, *range(half + 1, 2 * half + 1)), strict=True):
        row: list[Any] = []
        for place in (left, right):
            texts = table[place] if place < len(table) else ("",) * len(table[0])
            row += [
                Text(text, 8, SOFT if left == 0 else INK, anchor="end" if column >= 4 - numbers else "start")
                for column, text in enumerate(texts)
            ]
            row += [[]] if place == left else []
        rows.append(row)
    side = (WIDTH - GAP) / 2
    shares = (0.25, 0.27, 0.28, 0.2) if apart else (0.25, 0.43, 0.17, 0.15)
    widths = [side * share for share in shares]
    lines: list[tuple[Any, ...]] = [("BOTTOMPADDING", (0, 0), (-1, -1), 1)]
    lines += [("LINEBELOW", ends[0], ends[1], 0.5, LINE) for ends in (((0, 0), (3, -1)), ((5, 0), (8, -1)))]
    yield _platypus.KeepTogether(_columns(rows, [*widths, GAP, *widths], *lines))
    yield _platypus.Spacer(WIDTH, 5)


def _explained(summary: Summary, words: Words) -> list[str]:
    groups = summary.groups_note
    if summary.groups:
        ages = ", ".join(f"{name}: {years(months, words)}" for name, months in summary.groups)
        groups = f"{ages}. {groups}"
    return [summary.score_note, summary.velocity_note, groups, summary.height_sentence]


def _without_font(hand: Hand, signature: Signature | None) -> str:
    """A sentence that names the letters which stand as their numbers; empty where there are none."""
    child, model = hand.first.child, hand.first.assessment.model
    outside = [child.name, child.identifier, *(w for each in each_of(hand.result) for w in each.warnings)]
    outside += [signature.reader, signature.reason] if signature else []
    outside += [model.name, model.version, *(each.site or "" for each in each_of(hand.result))]
    named = [f"U+{ord(each):04X} {unicodedata.name(each, '').title()}".strip() for each in typeset.missing(outside)]
    if not named:
        return ""
    return hand.words.gettext("Letters without a font stand here as their Unicode numbers: %s.") % ", ".join(named)


def signature_text(signature: Signature, words: Words) -> Spans:
    """Who decided what; the decision is bold."""
    verdict = {
        "accept": words.gettext("Accepted"),
        "adjust": words.gettext("Adjusted"),
        "reject": words.gettext("Rejected"),
    }[signature.decision]
    decided = verdict if signature.months is None else f"{verdict}: {years(signature.months, words)}"
    who = words.gettext("signed by %(reader)s on %(day)s") % {
        "reader": signature.reader,
        "day": spoken_time(signature.signed),
    }
    hand = [hand_name(signature.hand, words)] if signature.hand else []
    parts = [", ".join([*hand, who])]
    if signature.reason:
        parts.append(" ".join((words.gettext("Reason:"), signature.reason)))
    if signature.own_months is not None:
        parts.append(" ".join((words.gettext("Read blind first:"), years(signature.own_months, words))))
    if signature.machine_months is not None:
        machine = f"{signature.machine_months:.1f}", words.gettext("months"), f"({signature.machine[:12]})"
        parts.append(" ".join((words.gettext("The machine read:"), *machine)))
    return [(decided, True), (", " + ". ".join(parts) + ".", False)]


def spoken_time(moment: str) -> str:
    """ "2026-11-27T21:08:41+00:00" -> "2026-11-27 21:08 UTC"; what is written in another way stays."""
    try:
        found = datetime.fromisoformat(moment)
    except ValueError:
        return moment
    return moment if found.tzinfo is None else f"{found.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
