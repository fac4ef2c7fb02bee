"""Committing and signing: the rules of a reading, the same for the page and for REST."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from carpal.types import RANKS, Assessment, BothSexes, Result, each_of
from carpal.web import reports
from carpal.web.access import Desk, may_see
from carpal.web.auth import User
from carpal.web.review import Decision, Reading, Study
from carpal.web.schemas import Problem
from carpal.web.study_store import single

LAST_MONTH: Final = RANKS - 1


def commit(desk: Desk, study: Study, user: User, months: float) -> Reading:
    """Keeps a reader's own age before she sees the machine's. Raises Problem."""
    if not study.blind:
        raise Problem(409, "This study is not read blind first. Sign it instead", "not-blind")
    if not 0 <= months <= LAST_MONTH:
        raise Problem(422, f"A bone age lies between 0 and {LAST_MONTH} months. Correct it", "bad-age")
    try:
        return desk.studies.readings.commit(study.id, user.name, round(months, 2))
    except ValueError:
        raise Problem(409, "You have committed a reading of this study already", "committed") from None


def correct(desk: Desk, study: Study, user: User, boxes: Mapping[str, Sequence[float]]) -> Assessment:
    """Reads a study again with regions that were put right; without boxes, back to the network's. Raises Problem."""
    assessment = single(reports.answer_of(desk.studies, study))
    if desk.studies.readings.signed(study.id) is not None:
        raise Problem(409, "The study is signed. Its regions cannot be changed any more", "signed")
    if assessment is None:
        raise Problem(
            409, "Regions can be put right where one hand of a stated sex was read. State the sex, or cut", "no-regions"
        )
    if not assessment.regions:
        raise Problem(409, "These weights name no regions, so there is nothing to put right", "no-regions")
    if not boxes:
        desk.studies.readings.drop_correction(study.id)
        return assessment
    return desk.studies.correct(study, boxes, user.name)


def sign(
    desk: Desk, study: Study, user: User, decision: Decision, months: float | None, reason: str, hand: str = ""
) -> Reading:
    """Signs what the reader makes of the machine's answer, once; of two hands, of `hand`. Raises Problem."""
    if not may_see(desk, study, user):
        raise Problem(403, "This study is read blind first. Commit your own reading, then sign", "blind")
    own = desk.studies.results(study)
    if not own:
        raise Problem(409, "There is no answer to decide on yet. Wait until the study is read", "not-read")
    reason = reason.strip()
    _check(decision, months, reason)
    shown, machine = (_hand(results, hand, decision) for results in (desk.studies.shown(study), own))
    if decision is Decision.ACCEPT and (shown is None or shown.months is None):
        raise Problem(409, "The machine gave no age. Adjust it or reject it", "no-age")
    accepted = shown.months if shown else None
    given = {Decision.ACCEPT: accepted, Decision.ADJUST: months, Decision.REJECT: None}[decision]
    reading = replace(
        desk.studies.readings.reading(study.id, user.name),
        decision=str(decision),
        months=_rounded(given),
        reason=reason,
        machine_months=_rounded(machine.months) if machine else None,
        raw_months=_rounded(machine.raw_months) if machine else None,
        site=machine.site if machine else None,
        machine=each_of(own[0])[0].model.sha256,
        hand=machine.side_in_image or "" if machine else "",
    )
    try:
        return desk.studies.readings.sign(reading)
    except ValueError:
        raise Problem(409, "You have signed this study already. A signed reading is never changed", "signed") from None


def _check(decision: Decision, months: float | None, reason: str) -> None:
    if decision is not Decision.ACCEPT and not reason:
        raise Problem(422, "A reason is needed to adjust or to reject. Write it into the field", "missing-reason")
    if decision is Decision.ADJUST and (months is None or not 0 <= months <= LAST_MONTH):
        raise Problem(422, f"To adjust, give an age between 0 and {LAST_MONTH} months", "bad-age")


def _hand(results: Sequence[Result], hand: str, decision: Decision) -> Assessment | None:
    """The result that is decided on. None where a study is rejected that has two ages, or two hands and none named."""
    named = [each for each in results if len(results) == 1 or each_of(each)[0].side_in_image == hand]
    rejected = decision is Decision.REJECT
    if not named and not rejected:
        raise Problem(422, "There are two hands in the picture. Say which of them is meant", "missing-hand")
    found = named[0] if named else None
    if isinstance(found, BothSexes) and not rejected:
        raise Problem(
            409, "The sex is unknown, so there are two ages. State the sex, then sign; or reject", "unknown-sex"
        )
    return None if isinstance(found, BothSexes) else found


def _rounded(months: float | None) -> float | None:
    return None if months is None else round(months, 2)
