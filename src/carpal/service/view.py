"""What the pages show, as plain values; what is withheld from a blind reader is not among them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from carpal.anatomy import group_of
from carpal.report import charts
from carpal.report.language import Words, words_of
from carpal.report.sides import as_sex, for_sex, hand_name, spoken
from carpal.report.summary import Summary, summarise
from carpal.report.text import years
from carpal.service import reports
from carpal.service.access import Desk, may_see
from carpal.service.agreement import RECENT, Agreement
from carpal.service.api import STATES
from carpal.service.auth import User
from carpal.service.readings import Study
from carpal.service.reports import signature_of
from carpal.service.studies import single
from carpal.types import Region, Result, each_of, has_age


@dataclass(frozen=True)
class Row:
    """A line of the list; `age` is empty where there is none, or none to be seen yet.

    `refused`: it was read, and no hand in it has an age.
    """

    study: Study
    state: str
    age: str
    withheld: bool
    signed: bool
    refused: bool


@dataclass(frozen=True)
class Hand:
    """One hand of a picture: its summary, or a girl's and a boy's where the sex is unknown.

    `side` and `title` are empty for a hand that has the picture to itself.
    """

    side: str
    title: str
    result: Result
    summaries: tuple[Summary, ...]
    words: Words

    @property
    def unknown(self) -> bool:
        """Whether nobody knows the sex."""
        return len(self.summaries) > 1

    @property
    def aged(self) -> bool:
        """Whether there is an age."""
        return has_age(self.result)

    @property
    def spoken(self) -> str:
        """The age or ages in words."""
        return spoken(self.result, self.words)

    @property
    def regions(self) -> list[tuple[Region, ...]]:
        """The 17, each with one age of its own, or with two where it depends on the sex."""
        found = [each.regions for each in each_of(self.result) if each.regions]
        apart = len({tuple(region.months for region in regions) for regions in found}) > 1
        return list(zip(*(found if apart else found[:1]), strict=True))

    def title_of(self, summary: Summary) -> str:
        """What stands above one of its ages."""
        if self.unknown:
            return as_sex(summary.assessment.sex, self.words)
        return self.words.gettext("Bone age") if self.aged else self.words.gettext("No bone age")

    def for_sex(self, summary: Summary) -> str:
        """ "As a girl" above what holds for one sex only, and the hand where there are two; empty for a plain one."""
        sex = for_sex(summary.assessment.sex, self.words) if self.unknown else ""
        return ", ".join(part for part in (self.title, sex) if part)

    def key(self, name: str) -> str:
        """The region's name, unique in a picture of two hands."""
        return f"{self.side}-{name}" if self.side else name


def rows(desk: Desk, user: User, language: str) -> list[Row]:
    """The latest hundred studies."""
    found, words = [], words_of(language)
    for study in desk.studies.readings.studies():
        job, signed = desk.studies.job(study), desk.studies.readings.signed(study.id)
        seen = may_see(desk, study, user)
        results = desk.studies.results(study) if seen else ()
        refused = bool(results) and not any(has_age(result) for result in results)
        age = "" if refused else "; ".join(_line(result, len(results) > 1, words) for result in results)
        if seen and signed is not None:
            age = "" if signed.months is None else years(signed.months, words)
        found.append(Row(study, STATES[job.state] if job else "needs-sex", age, not seen, signed is not None, refused))
    return found


def _line(result: Result, several: bool, words: Words) -> str:
    side = each_of(result)[0].side_in_image
    age = spoken(result, words)
    return f"{hand_name(side, words)}: {age}" if several and side else age


def study_view(desk: Desk, study: Study, user: User, language: str) -> dict[str, Any]:
    """Everything that study.html asks for."""
    job, words = desk.studies.job(study), words_of(language)
    results = desk.studies.results(study) if may_see(desk, study, user) else ()
    corrected = desk.studies.corrected(study) if results else None
    machine = single(results)
    machine_months = machine.months if machine and corrected else None
    results = desk.studies.shown(study) if results else ()
    hands = _hands(desk, study, user, results, words)
    return {
        "study": study,
        "job": job,
        "state": STATES[job.state] if job else "needs-sex",
        "hands": hands,
        "unknown": any(hand.unknown for hand in hands),
        "correctable": machine is not None and bool(hands[0].regions),
        "signed": signature_of(desk.studies, study) if hands else None,
        "signed_hand": _signed_hand(desk, study, words) if hands else "",
        "forms_made": reports.forms_of(desk.studies, study, results) if results else (),
        "corrected": corrected[1] if corrected else None,
        "adult": any(each.refused and each.refused.code == "adult" for hand in hands for each in each_of(hand.result)),
        "corrected_dates": _corrected_dates(study, words),
        "machine_months": machine_months,
        "data": _data(hands, desk, study, words) | {"corrected": json.loads(corrected[1].boxes) if corrected else {}},
    }


def _hands(desk: Desk, study: Study, user: User, results: tuple[Result, ...], words: Words) -> list[Hand]:
    if not results:
        return []
    own, child = desk.studies.readings.reading(study.id, user.name).own_months, desk.studies.child(study)
    hands = []
    for result in results:
        side = (each_of(result)[0].side_in_image or "") if len(results) > 1 else ""
        summaries = tuple(summarise(each, child, words, own) for each in each_of(result))
        hands.append(Hand(side, hand_name(side, words) if side else "", result, summaries, words))
    return hands


def _corrected_dates(study: Study, words: Words) -> list[str]:
    """What the file states in place of the dates that a reader gave."""
    pairs = (
        (words.gettext("born %(day)s"), study.file_birth_date, study.birth_date),
        (words.gettext("radiograph of %(day)s"), study.file_study_date, study.study_date),
    )
    return [text % {"day": stated} for text, stated, used in pairs if stated is not None and stated != used]


def _signed_hand(desk: Desk, study: Study, words: Words) -> str:
    signature = signature_of(desk.studies, study)
    return hand_name(signature.hand, words) if signature and signature.hand else ""


def _data(hands: list[Hand], desk: Desk, study: Study, words: Words) -> dict[str, Any]:
    """What the viewer needs: the original's size, and the regions where they may be seen."""
    height, width = desk.studies.radiograph(study).pixels_HW.shape
    regions = [_region(hand, region, words) for hand in hands for region in hand.regions]
    return {"width": width, "height": height, "regions": regions}


def _region(hand: Hand, ages: tuple[Region, ...], words: Words) -> dict[str, Any]:
    region = ages[0]
    spoken_ages = [years(each.months, words) for each in ages]
    if len(ages) > 1:
        titles = (for_sex(summary.assessment.sex, words) for summary in hand.summaries)
        spoken_ages = [f"{title} {age}" for title, age in zip(titles, spoken_ages, strict=True)]
    return {
        "key": hand.key(region.name),
        "name": region.name,
        "group": group_of(region.name),
        "label": f"{region.name} {region.months:.0f}" if len(ages) == 1 else region.name,
        "age": ", ".join(spoken_ages),
        "box": [region.box.x1, region.box.y1, region.box.x2, region.box.y2],
    }


def agreement_view(found: Agreement, language: str) -> dict[str, Any]:
    """Everything that agreement.html asks for."""
    words = words_of(language)
    if found.bias is None:
        return {"found": found, "bland_altman": None, "drift": None}
    return {
        "found": found,
        "bland_altman": charts.bland_altman(found.pairs, found.bias, found.limits, words),
        "drift": charts.drift(found.differences, RECENT, words),
    }
