"""The report that a hospital would file: one A4 page with the picture, the comparison, the table and what it rests on.

The same input gives the same bytes (reportlab's invariant mode: no clock, no random file identifier). Text that came
from outside (names, reasons, warnings) is escaped and drawn as text; letters that the standard fonts lack become "?".
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final
from xml.sax.saxutils import escape

import carpal
from carpal.optional import need
from carpal.report import chart, overlay
from carpal.report.child import Child, Signature
from carpal.report.language import Words, words_of
from carpal.report.summary import Summary, summarise
from carpal.report.text import years
from carpal.types import Assessment, Radiograph

PAGE: Final = (595.28, 841.89)
MARGIN: Final = 36.0
WIDTH: Final = PAGE[0] - 2 * MARGIN
PICTURE_WIDTH, PICTURE_HEIGHT = 268.0, 300.0
GAP: Final = 14.0
ROW: Final = 12.2
FOOT: Final = 64.0
"""Height of what stands at the bottom of the page."""
INK, SOFT, LINE, ACCENT = "#17212b", "#4d5b68", "#c9d1d8", "#14506f"
FONT, BOLD = "Helvetica", "Helvetica-Bold"


def render(
    assessment: Assessment,
    radiograph: Radiograph,
    child: Child | None = None,
    language: str = "en",
    signature: Signature | None = None,
) -> bytes:
    """The PDF's bytes. `child` is by default what the file states; ValueError for an assessment without an age.

    Raises BackendError where reportlab is not installed, ConfigError for an unknown language.
    """
    return render_each([assessment], radiograph, child, language, signature)


def render_each(
    assessments: Sequence[Assessment],
    radiograph: Radiograph,
    child: Child | None = None,
    language: str = "en",
    signature: Signature | None = None,
    labels: Sequence[str] = ("",),
) -> bytes:
    """A page for each reading of a radiograph: of two hands, for both sexes. Its label stands above it."""
    if any(assessment.months is None for assessment in assessments):
        raise ValueError("a report needs an age")
    canvases = need("reportlab.pdfgen.canvas", feature="Writing a PDF", extra="pdf")
    words = words_of(language)
    buffer = io.BytesIO()
    canvas = canvases.Canvas(buffer, pagesize=PAGE, invariant=1, pageCompression=1, lang=language)
    canvas.setTitle(words.gettext("Bone age report"))
    canvas.setSubject(words.gettext("Research only, not a medical device."))
    canvas.setCreator(f"carpal {carpal.__version__}")
    for assessment, label in zip(assessments, labels, strict=True):
        summary = summarise(assessment, child or Child.of(radiograph), words)
        top = _head(canvas, summary, words, label)
        top = _pictures(canvas, summary, radiograph, top, words)
        top = _table(canvas, summary, top, words)
        _notes(canvas, summary, signature, top, words)
        _foot(canvas, summary, words)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def _head(canvas: Any, summary: Summary, words: Words, label: str = "") -> float:
    """Title, the child's facts and the age; returns where the next part begins."""
    child, assessment = summary.child, summary.assessment
    top = _title(canvas, words, label)
    sex = {"female": words.gettext("female"), "male": words.gettext("male")}[assessment.sex]
    unknown = words.gettext("not known")
    facts = [
        (words.gettext("Name"), child.name or "-"),
        (words.gettext("Patient ID"), child.identifier or "-"),
        (words.gettext("Sex"), sex),
        (words.gettext("Date of birth"), child.birth_date.isoformat() if child.birth_date else unknown),
        (words.gettext("Date of the radiograph"), child.study_date.isoformat() if child.study_date else unknown),
        (words.gettext("Chronological age"), unknown if child.months is None else years(child.months, words)),
    ]
    for place, (name, value) in enumerate(facts):
        left = MARGIN + (place % 3) * WIDTH / 3
        y = top - 36 - (place // 3) * 26
        _text(canvas, left, y, name, FONT, 8, SOFT)
        _fitted(canvas, left, y - 11, value, WIDTH / 3 - 8, BOLD, 10)
    top -= 94
    _rule(canvas, top)
    _text(canvas, MARGIN, top - 16, words.gettext("Bone age"), FONT, 9, SOFT)
    age, unit = years(assessment.months or 0, words), words.gettext("months")
    _text(canvas, MARGIN, top - 36, age, BOLD, 17)
    beside = MARGIN + canvas.stringWidth(_latin(age), BOLD, 17) + 8
    _text(canvas, beside, top - 36, f"{assessment.months:.1f} {unit}", FONT, 11, SOFT)
    left = MARGIN + PICTURE_WIDTH + GAP
    lines = [summary.interval_note]
    if summary.score is not None:
        title = words.gettext("z-score")
        lines.append(f"{title} {summary.score.z:+.1f}: {summary.verdict}")
    for place, text in enumerate(lines):
        _text(canvas, left, top - 20 - 15 * place, text, BOLD if place else FONT, 10)
    return top - 46


def _title(canvas: Any, words: Words, label: str) -> float:
    """The title, and which of several readings this is."""
    top, notice = PAGE[1] - MARGIN, words.gettext("Research only, not a medical device.")
    _text(canvas, MARGIN, top - 14, words.gettext("Bone age report"), BOLD, 17, ACCENT)
    _text(canvas, PAGE[0] - MARGIN, top - 12, notice, FONT, 9, SOFT, "end")
    if label:
        top -= 16
        _fitted(canvas, MARGIN, top - 14, label, WIDTH, BOLD, 10)
    _rule(canvas, top - 22)
    return top


def _pictures(canvas: Any, summary: Summary, radiograph: Radiograph, top: float, words: Words) -> float:
    """The radiograph with its regions on the left, the charts on the right."""
    readers = need("reportlab.lib.utils", feature="Writing a PDF", extra="pdf")
    picture = overlay.draw(radiograph, summary.assessment)
    scale = min(PICTURE_WIDTH / picture.width, PICTURE_HEIGHT / picture.height)
    width, height = picture.width * scale, picture.height * scale
    canvas.drawImage(readers.ImageReader(picture), MARGIN, top - height, width, height)
    left = MARGIN + PICTURE_WIDTH + GAP
    room = PAGE[0] - MARGIN - left
    below = top
    for each in (summary.growth, summary.distribution):
        if each is not None:
            size = room / each.width
            chart.draw(each, canvas, left, below, size, FONT)
            below -= each.height * size + 4
    return min(top - height, below) - 6


def _table(canvas: Any, summary: Summary, top: float, words: Words) -> float:
    """The 17 regions in two halves beside each other."""
    regions = summary.assessment.regions
    if not regions:
        return top
    names = (words.gettext("Region"), words.gettext("Its own age"), words.gettext("months"), words.gettext("score"))
    half = (len(regions) + 1) // 2
    for column, part in enumerate((regions[:half], regions[half:])):
        left = MARGIN + column * (WIDTH + GAP) / 2
        width = (WIDTH - GAP) / 2
        stops = (left, left + width * 0.27, left + width * 0.83, left + width)
        _cells(canvas, stops, top - 9, names, FONT, SOFT)
        _rule(canvas, top - 12, left, width)
        for row, region in enumerate(part):
            cells = (region.name, years(region.months, words), f"{region.months:.0f}", f"{region.score:.2f}")
            _cells(canvas, stops, top - 12 - ROW * (row + 1) + 3, cells, FONT, INK)
            _rule(canvas, top - 12 - ROW * (row + 1), left, width)
    return top - 12 - ROW * half - 4


def _notes(canvas: Any, summary: Summary, signature: Signature | None, top: float, words: Words) -> None:
    """Comparison, asynchrony, height, warnings and signature, as far as the page reaches."""
    paragraphs = [summary.score_note, summary.velocity_note, summary.groups_note]
    if summary.groups:
        paragraphs[-1] = ", ".join(f"{name}: {years(months, words)}" for name, months in summary.groups) + (
            f". {summary.groups_note}"
        )
    paragraphs.append(summary.height_sentence)
    texts = [escape(_latin(text)) for text in paragraphs if text]
    if signature is not None:
        texts.insert(0, _signature_text(signature, words))
    if summary.assessment.warnings:
        careful = escape(_latin("; ".join(summary.assessment.warnings)))
        title = escape(words.gettext("Be careful"))
        texts.append(f"<b>{title}:</b> {careful}")
    styles = need("reportlab.lib.styles", feature="Writing a PDF", extra="pdf")
    platypus = need("reportlab.platypus", feature="Writing a PDF", extra="pdf")
    style = styles.ParagraphStyle("note", fontName=FONT, fontSize=8.5, leading=10.5, textColor=INK)
    for text in texts:
        paragraph = platypus.Paragraph(text, style)
        _, height = paragraph.wrap(WIDTH, PAGE[1])
        if top - height < MARGIN + FOOT:
            more = words.gettext("More than fits on the page was left out here; the JSON report holds all of it.")
            _text(canvas, MARGIN, MARGIN + FOOT - 8, more, BOLD, 8.5)
            return
        paragraph.drawOn(canvas, MARGIN, top - height)
        top -= height + 3


def _signature_text(signature: Signature, words: Words) -> str:
    verdict = {
        "accept": words.gettext("Accepted"),
        "adjust": words.gettext("Adjusted"),
        "reject": words.gettext("Rejected"),
    }[signature.decision]
    parts = [verdict if signature.months is None else f"{verdict}: {years(signature.months, words)}"]
    parts.append(
        words.gettext("signed by %(reader)s on %(day)s") % {"reader": signature.reader, "day": signature.signed}
    )
    if signature.reason:
        parts.append(" ".join((words.gettext("Reason:"), signature.reason)))
    if signature.own_months is not None:
        parts.append(" ".join((words.gettext("Read blind first:"), years(signature.own_months, words))))
    if signature.machine_months is not None:
        machine = f"{signature.machine_months:.1f}", words.gettext("months"), f"({signature.machine[:12]})"
        parts.append(" ".join((words.gettext("The machine read:"), *machine)))
    first, *rest = (escape(_latin(part)) for part in parts)
    return f"<b>{first}</b>. " + ". ".join(rest) + "."


def _foot(canvas: Any, summary: Summary, words: Words) -> None:
    model = summary.assessment.model
    lines = (
        words.gettext("Research only, not a medical device.")
        + " "
        + words.gettext("Not for diagnosis, treatment or legal age."),
        f"carpal {carpal.__version__}, {model.name} {model.version}, SHA-256 {model.sha256}",
        words.gettext("What the weights were trained on and how far they err: docs/cards/%s.md of carpal.")
        % model.name,
    )
    _rule(canvas, MARGIN + 38)
    for place, text in enumerate(lines):
        _fitted(canvas, MARGIN, MARGIN + 26 - 11 * place, text, WIDTH, FONT if place else BOLD, 8)


def _cells(canvas: Any, stops: Sequence[float], y: float, cells: Sequence[str], font: str, colour: str) -> None:
    for place, (x, text) in enumerate(zip(stops, cells, strict=True)):
        _text(canvas, x, y, text, font, 8.5, colour, "end" if place > 1 else "start")


def _fitted(canvas: Any, x: float, y: float, text: str, width: float, font: str, size: float) -> None:
    """One line, cut where it does not fit."""
    text = _latin(text)
    shown = text
    while shown and canvas.stringWidth(shown, font, size) > width:
        shown = shown[:-1]
    _text(canvas, x, y, shown if shown == text else f"{shown[:-1]}…", font, size)


def _text(
    canvas: Any, x: float, y: float, text: str, font: str, size: float, colour: str = INK, anchor: str = "start"
) -> None:
    canvas.setFont(font, size)
    canvas.setFillColor(_colour(colour))
    (canvas.drawRightString if anchor == "end" else canvas.drawString)(x, y, _latin(text))


def _rule(canvas: Any, y: float, left: float = MARGIN, width: float = WIDTH) -> None:
    canvas.setStrokeColor(_colour(LINE))
    canvas.setLineWidth(0.5)
    canvas.line(left, y, left + width, y)


def _colour(value: str) -> tuple[float, float, float]:
    return int(value[1:3], 16) / 255, int(value[3:5], 16) / 255, int(value[5:7], 16) / 255


def _latin(text: str) -> str:
    """Letters of the standard fonts (Windows-1252); others become "?"."""
    return text.encode("cp1252", "replace").decode("cp1252")
