"""What the pages show, as plain values; what is withheld from a blind reader is not among them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from carpal.anatomy import group_of
from carpal.report import curves
from carpal.report.language import words_of
from carpal.report.summary import Summary, summarise
from carpal.report.text import years
from carpal.service import reports
from carpal.service.access import Desk, may_see
from carpal.service.agreement import RECENT, Agreement
from carpal.service.api import STATES
from carpal.service.auth import User
from carpal.service.readings import Study
from carpal.service.reports import signature_of


@dataclass(frozen=True)
class Row:
    """A line of the list; `months` is None where there is no age, or none to be seen yet."""

    study: Study
    state: str
    months: float | None
    withheld: bool
    signed: bool


def rows(desk: Desk, user: User) -> list[Row]:
    """The latest hundred studies."""
    found = []
    for study in desk.studies.readings.studies():
        job, signed = desk.studies.job(study), desk.studies.readings.signed(study.id)
        seen = may_see(desk, study, user)
        assessment = desk.studies.assessment(study) if seen else None
        months = assessment.months if assessment else None
        if seen and signed is not None:
            months = signed.months
        found.append(Row(study, STATES[job.state] if job else "needs-sex", months, not seen, signed is not None))
    return found


def study_view(desk: Desk, study: Study, user: User, language: str) -> dict[str, Any]:
    """Everything that study.html asks for."""
    job, words = desk.studies.job(study), words_of(language)
    assessment = desk.studies.assessment(study) if may_see(desk, study, user) else None
    corrected = desk.studies.corrected(study) if assessment is not None else None
    machine_months = assessment.months if assessment and corrected else None
    assessment = corrected[0] if corrected else assessment
    shown = None
    if assessment is not None:
        own = desk.studies.readings.reading(study.id, user.name).own_months
        shown = summarise(assessment, desk.studies.child(study), words, own)
    return {
        "study": study,
        "job": job,
        "state": STATES[job.state] if job else "needs-sex",
        "shown": shown,
        "signed": signature_of(desk.studies, study) if shown else None,
        "forms_made": reports.forms_of(desk.studies, study, assessment) if assessment else (),
        "corrected": corrected[1] if corrected else None,
        "machine_months": machine_months,
        "data": _data(shown, desk, study, words) | {"corrected": json.loads(corrected[1].boxes) if corrected else {}},
    }


def _data(shown: Summary | None, desk: Desk, study: Study, words: Any) -> dict[str, Any]:
    """What the viewer needs: the original's size, and the regions where they may be seen."""
    regions = shown.assessment.regions if shown else ()
    height, width = desk.studies.radiograph(study).pixels_HW.shape
    return {
        "width": width,
        "height": height,
        "regions": [
            {
                "name": region.name,
                "group": group_of(region.name),
                "months": region.months,
                "age": years(region.months, words),
                "box": [region.box.x1, region.box.y1, region.box.x2, region.box.y2],
            }
            for region in regions
        ],
    }


def agreement_view(found: Agreement, language: str) -> dict[str, Any]:
    """Everything that agreement.html asks for."""
    words = words_of(language)
    if found.bias is None:
        return {"found": found, "bland_altman": None, "drift": None}
    return {
        "found": found,
        "bland_altman": curves.bland_altman(found.pairs, found.bias, found.limits, words),
        "drift": curves.drift(found.differences, RECENT, words),
    }
