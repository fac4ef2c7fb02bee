"""The report that a hospital would file: one A4 page with the picture, the comparison, the table and what it rests on.

Two hands in a picture get a page each; where the sex is unknown, a page has both ages. The same input gives the same
bytes (reportlab's invariant mode: no clock, no random file identifier; fonts are embedded). Text that came from outside
(names, reasons, warnings) is escaped and drawn as text; letters that no font has are named at the end of the page.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import carpal
from carpal.optional import need
from carpal.report import chart, letters, overlay
from carpal.report.child import Child, Signature
from carpal.report.language import Words, words_of
from carpal.report.letters import BOLD, FONT, markup
from carpal.report.sheet import ACCENT, INK, MARGIN, PAGE, SOFT, WIDTH, cells, fitted, paragraph, rule, text
from carpal.report.sides import as_sex, for_sex, hand_name, spoken
from carpal.report.summary import Summary, summarise
from carpal.report.text import signed, years
from carpal.types import Radiograph, Result, each_of, has_age

PICTURE_WIDTH, PICTURE_HEIGHT = 268.0, 300.0
LOWER: Final = 206.0
"""Height of the pictures on a page with two ages, which has more to say."""
GAP: Final = 14.0
ROW: Final = 12.2
FOOT: Final = 64.0
"""Height of what stands at the bottom of the page."""
MOST_NAMED: Final = 6
"""Letters without a font that are named; there may be more."""


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
    """The PDF's bytes, a page for each hand that has an age; each comes with the radiograph that shows it alone.

    Raises ValueError where no hand has an age, BackendError where a package is missing, ConfigError for an unknown
    language.
    """
    if not any(has_age(result) for _, result in hands):
        raise ValueError("a report needs an age")
    canvases = need("reportlab.pdfgen.canvas", feature="Writing a PDF", extra="pdf")
    letters.register()
    words = words_of(language)
    buffer = io.BytesIO()
    canvas = canvases.Canvas(buffer, pagesize=PAGE, invariant=1, pageCompression=1, lang=language, initialFontName=FONT)
    canvas.setTitle(words.gettext("Bone age report"))
    canvas.setSubject(words.gettext("Research only, not a medical device."))
    canvas.setCreator(f"carpal {carpal.__version__}")
    for radiograph, result in hands:
        if has_age(result):
            summaries = tuple(summarise(each, child, words) for each in each_of(result))
            others = tuple(other for _, other in hands if other is not result)
            _page(canvas, Hand(radiograph, result, summaries, others, words), signature)
    canvas.save()
    return buffer.getvalue()


def _page(canvas: Any, hand: Hand, signature: Signature | None) -> None:
    top = _head(canvas, hand)
    top = _ages(canvas, hand, top)
    top = _pictures(canvas, hand, top)
    top = _table(canvas, hand, top)
    _notes(canvas, hand, signature, top)
    _foot(canvas, hand)
    canvas.showPage()


def _head(canvas: Any, hand: Hand) -> float:
    """Title and the child's facts; returns where the next part begins."""
    child, words = hand.first.child, hand.words
    top = PAGE[1] - MARGIN
    research = words.gettext("Research only, not a medical device.")
    text(canvas, MARGIN, top - 14, words.gettext("Bone age report"), BOLD, 17, ACCENT)
    text(canvas, PAGE[0] - MARGIN, top - 12, research, FONT, 9, SOFT, "end")
    rule(canvas, top - 22)
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
    for place, (name, value) in enumerate(facts):
        left = MARGIN + (place % 3) * WIDTH / 3
        y = top - 36 - (place // 3) * 26
        text(canvas, left, y, name, FONT, 8, SOFT)
        fitted(canvas, left, y - 11, value, WIDTH / 3 - 8, BOLD, 10, smallest=7)
    rule(canvas, top - 94)
    return top - 94


def _ages(canvas: Any, hand: Hand, top: float) -> float:
    """The age with its interval; both ages side by side where the sex is unknown; what else is to be known at once."""
    words, half = hand.words, MARGIN + PICTURE_WIDTH + GAP
    for summary, left in zip(hand.summaries, (MARGIN, half), strict=False):
        assessment = summary.assessment
        title = as_sex(assessment.sex, words) if hand.unknown else words.gettext("Bone age")
        text(canvas, left, top - 16, title, FONT, 9, SOFT)
        if assessment.months is None:
            refused = assessment.refused.message if assessment.refused else ""
            fitted(canvas, left, top - 36, refused, WIDTH - half + MARGIN, FONT, 10)
            continue
        age = years(assessment.months, words)
        text(canvas, left, top - 36, age, BOLD, 17)
        beside = left + letters.width(age, BOLD, 17) + 8
        months = words.gettext("months")
        text(canvas, beside, top - 36, f"{assessment.months:.1f} {months}", FONT, 11, SOFT)
        first, x = (top - 52, left) if hand.unknown else (top - 20, half)
        for place, line in enumerate(_judged(summary, words)):
            text(canvas, x, first - 15 * place, line, BOLD if place else FONT, 10)
    top -= 74 if hand.unknown else 46
    for line in _said_at_once(hand):
        fitted(canvas, MARGIN, top - 4, line, WIDTH, FONT, 9)
        top -= 13
    return top


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


def _pictures(canvas: Any, hand: Hand, top: float) -> float:
    """The radiograph with its regions on the left, the charts on the right."""
    readers = need("reportlab.lib.utils", feature="Writing a PDF", extra="pdf")
    picture = overlay.draw(hand.radiograph, hand.result, strips=False)
    most = LOWER if hand.unknown else PICTURE_HEIGHT
    scale = min(PICTURE_WIDTH / picture.width, most / picture.height)
    width, height = picture.width * scale, picture.height * scale
    canvas.drawImage(readers.ImageReader(picture), MARGIN, top - height, width, height)
    left = MARGIN + PICTURE_WIDTH + GAP
    room = PAGE[0] - MARGIN - left
    below = top
    for title, each in _charts(hand):
        size = min(room / each.width, (LOWER / 2 - 15) / each.height) if hand.unknown else room / each.width
        if title:
            text(canvas, left, below - 8, title, BOLD, 8.5)
            below -= 11
        chart.draw(each, canvas, left, below, size, FONT)
        below -= each.height * size + 4
    return min(top - height, below) - 6


def _charts(hand: Hand) -> list[tuple[str, chart.Chart]]:
    """Growth chart and distribution; for an unknown sex both growth charts, each with its title."""
    if hand.unknown:
        found = [(for_sex(each.assessment.sex, hand.words), each.growth) for each in hand.summaries]
    else:
        found = [("", hand.first.growth), ("", hand.first.distribution)]
    return [(title, each) for title, each in found if each is not None]


def _table(canvas: Any, hand: Hand, top: float) -> float:
    """The 17 regions in two halves beside each other; each region has one age, or for an unknown sex two."""
    words, shown = hand.words, [each.assessment for each in hand.summaries if each.assessment.regions]
    if not shown:
        return top
    apart = len({tuple(region.months for region in each.regions) for each in shown}) > 1
    rows = list(zip(*(each.regions for each in (shown if apart else shown[:1])), strict=True))
    own = [for_sex(each.sex, words) for each in shown] if apart else [words.gettext("Its own age")]
    own = own if apart else [*own, words.gettext("months")]
    names = (words.gettext("Region"), *own, words.gettext("score"))
    places = (0, 0.5, 0.78, 1.0) if apart else (0, 0.27, 0.83, 1.0)
    half = (len(rows) + 1) // 2
    for column, part in enumerate((rows[:half], rows[half:])):
        left, width = MARGIN + column * (WIDTH + GAP) / 2, (WIDTH - GAP) / 2
        stops = [left + width * place for place in places]
        cells(canvas, stops, top - 9, names, SOFT, 3 if apart else 2)
        rule(canvas, top - 12, left, width)
        for row, regions in enumerate(part):
            months = [f"{region.months:.0f}" for region in regions]
            ages = months if apart else [years(regions[0].months, words), *months]
            line = top - 12 - ROW * (row + 1)
            cells(canvas, stops, line + 3, (regions[0].name, *ages, f"{regions[0].score:.2f}"), INK, 3 if apart else 2)
            rule(canvas, line, left, width)
    return top - 12 - ROW * half - 4


def _notes(canvas: Any, hand: Hand, signature: Signature | None, top: float) -> None:
    """Signature, comparison, asynchrony, height and warnings, as far as the page reaches; letters without a font."""
    words, parts = hand.words, []
    if signature is not None:
        parts.append(signature_text(signature, words))
    explained = [_explained(summary, words) for summary in hand.summaries]
    for notes in zip(*explained, strict=True):
        if len(set(notes)) == 1:  # what does not depend on the sex is said once
            parts += [markup(notes[0])] if notes[0] else []
            continue
        for summary, note in zip(hand.summaries, notes, strict=True):
            parts += [f"<b>{markup(for_sex(summary.assessment.sex, words))}:</b> {markup(note)}"] if note else []
    warnings = dict.fromkeys(warning for each in each_of(hand.result) for warning in each.warnings)
    if warnings:
        title, said = words.gettext("Be careful"), "; ".join(warnings)
        parts.append(f"<b>{markup(title)}:</b> {markup(said)}")
    without = _without_font(hand, signature)
    bottom = MARGIN + FOOT
    if without:
        fitted(canvas, MARGIN, bottom - 8, without, WIDTH, BOLD, 8.5)
        bottom += 11
    for part in parts:
        below = paragraph(canvas, top, part, bottom)
        if below is None:
            more = words.gettext("More than fits on the page was left out here; the JSON report holds all of it.")
            text(canvas, MARGIN, bottom - 8, more, BOLD, 8.5)
            return
        top = below


def _explained(summary: Summary, words: Words) -> list[str]:
    groups = summary.groups_note
    if summary.groups:
        ages = ", ".join(f"{name}: {years(months, words)}" for name, months in summary.groups)
        groups = f"{ages}. {groups}"
    return [summary.score_note, summary.velocity_note, groups, summary.height_sentence]


def _without_font(hand: Hand, signature: Signature | None) -> str:
    """A sentence that names the letters which stand as "?"; empty where there are none."""
    child = hand.first.child
    outside = [child.name, child.identifier, *(w for each in each_of(hand.result) for w in each.warnings)]
    outside += [signature.reader, signature.reason] if signature else []
    found = letters.missing([*outside, *(each.site or "" for each in each_of(hand.result))])
    if not found:
        return ""
    named = [f"U+{ord(each):04X} {unicodedata.name(each, '').title()}".strip() for each in found[:MOST_NAMED]]
    named += ["…"] if len(found) > MOST_NAMED else []
    return hand.words.gettext("Letters without a font here stand as ?: %s.") % ", ".join(named)


def signature_text(signature: Signature, words: Words) -> str:
    """Who decided what, as markup."""
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
    return f"<b>{markup(decided)}</b>, " + ". ".join(markup(part) for part in parts) + "."


def spoken_time(moment: str) -> str:
    """ "2026-11-27T21:08:41+00:00" -> "2026-11-27 21:08 UTC"; what is written in another way stays."""
    try:
        found = datetime.fromisoformat(moment)
    except ValueError:
        return moment
    return moment if found.tzinfo is None else f"{found.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _foot(canvas: Any, hand: Hand) -> None:
    words, model = hand.words, hand.first.assessment.model
    lines = (
        words.gettext("Research only, not a medical device.")
        + " "
        + words.gettext("Not for diagnosis, treatment or legal age."),
        f"carpal {carpal.__version__}, {model.name} {model.version}, SHA-256 {model.sha256}",
        words.gettext("What the weights were trained on and how far they err: docs/cards/%s.md of carpal.")
        % model.name,
    )
    rule(canvas, MARGIN + 38)
    for place, line in enumerate(lines):
        fitted(canvas, MARGIN, MARGIN + 26 - 11 * place, line, WIDTH, FONT if place else BOLD, 8)
