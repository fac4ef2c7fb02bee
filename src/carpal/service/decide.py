"""Committing and signing: the rules of a reading, the same for the page and for REST."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from carpal.service import reports
from carpal.service.access import Desk, may_see
from carpal.service.api import Problem
from carpal.service.auth import User
from carpal.service.readings import Decision, Reading, Study
from carpal.types import RANKS, Assessment

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
    assessment = reports.answer_of(desk.studies, study)
    if desk.studies.readings.signed(study.id) is not None:
        raise Problem(409, "The study is signed. Its regions cannot be changed any more", "signed")
    if not assessment.regions:
        raise Problem(409, "These weights name no regions, so there is nothing to put right", "no-regions")
    if not boxes:
        desk.studies.readings.drop_correction(study.id)
        return assessment
    return desk.studies.correct(study, boxes, user.name)


def sign(desk: Desk, study: Study, user: User, decision: Decision, months: float | None, reason: str) -> Reading:
    """Signs what the reader makes of the machine's answer, once. Raises Problem."""
    if not may_see(desk, study, user):
        raise Problem(403, "This study is read blind first. Commit your own reading, then sign", "blind")
    assessment = desk.studies.assessment(study)
    if assessment is None:
        raise Problem(409, "There is no answer to decide on yet. Wait until the study is read", "not-read")
    corrected = desk.studies.corrected(study)
    shown = corrected[0] if corrected else assessment
    if decision is Decision.ACCEPT and shown.months is None:
        raise Problem(409, "The machine gave no age. Adjust it or reject it", "no-age")
    reason = reason.strip()
    if decision is not Decision.ACCEPT and not reason:
        raise Problem(422, "A reason is needed to adjust or to reject. Write it into the field", "missing-reason")
    if decision is Decision.ADJUST and (months is None or not 0 <= months <= LAST_MONTH):
        raise Problem(422, f"To adjust, give an age between 0 and {LAST_MONTH} months", "bad-age")
    machine = None if assessment.months is None else round(assessment.months, 2)
    given = {Decision.ACCEPT: shown.months, Decision.ADJUST: months, Decision.REJECT: None}[decision]
    before = desk.studies.readings.reading(study.id, user.name)
    reading = replace(
        before,
        decision=str(decision),
        months=None if given is None else round(given, 2),
        reason=reason,
        machine_months=machine,
        machine=assessment.model.sha256,
    )
    try:
        return desk.studies.readings.sign(reading)
    except ValueError:
        raise Problem(409, "You have signed this study already. A signed reading is never changed", "signed") from None
