"""Every form of report that a study has, from what the queue and the readings hold."""

from __future__ import annotations

import io
from dataclasses import dataclass
from enum import StrEnum

from carpal.report import as_json, overlay, pdf
from carpal.report.child import Signature
from carpal.service.api import Problem
from carpal.service.jobs import State
from carpal.service.readings import Study
from carpal.service.studies import Studies
from carpal.types import Assessment


class FormName(StrEnum):
    """The forms, named by the ending of their file."""

    JSON = "json"
    PDF = "pdf"
    PNG = "png"


@dataclass(frozen=True)
class Made:
    """A report's bytes; its file is named by the study, never by the patient."""

    content: bytes
    media_type: str
    name: str

    @property
    def headers(self) -> dict[str, str]:
        """Says the browser to show it under its name."""
        return {"Content-Disposition": f'inline; filename="{self.name}"'}


def answer_of(studies: Studies, study: Study) -> Assessment:
    """The machine's answer. Raises Problem where there is none: not yet, or never."""
    assessment = studies.assessment(study)
    if assessment is not None:
        return assessment
    job = studies.job(study)
    if job is None:
        raise Problem(
            409, "The sex is needed to read a bone age, and neither you nor the file stated it", "missing-sex"
        )
    if job.state in (State.REJECTED, State.DEAD):
        raise Problem(409, job.message or "The study could not be read", job.code or "failed")
    raise Problem(409, "The study is not read yet. Ask again in a second", "not-ready")


def shown_of(studies: Studies, study: Study) -> Assessment:
    """The answer that is shown: from regions that a reader put right, else the machine's own. Raises Problem."""
    own, corrected = answer_of(studies, study), studies.corrected(study)
    return corrected[0] if corrected else own


def make(studies: Studies, study: Study, form: FormName, language: str = "en") -> Made:
    """One form of a study's report. Raises Problem where it does not exist."""
    assessment = shown_of(studies, study)
    stem = f"bone-age-{study.id}"
    if form is FormName.JSON:
        return Made(as_json.document([as_json.entry(assessment)]).encode(), "application/json", f"{stem}.json")
    radiograph = studies.radiograph(study)
    if form is FormName.PNG:
        buffer = io.BytesIO()
        overlay.draw(radiograph, assessment).save(buffer, format="PNG")
        return Made(buffer.getvalue(), "image/png", f"{stem}.png")
    if assessment.months is None:
        raise Problem(409, "The machine gave no age, so there is no report. The JSON says why", "no-age")
    content = pdf.render(assessment, radiograph, studies.child(study), language, signature_of(studies, study))
    return Made(content, "application/pdf", f"{stem}.pdf")


def forms_of(studies: Studies, study: Study, assessment: Assessment) -> tuple[FormName, ...]:
    """The forms that exist for a study."""
    if assessment.months is None:
        return (FormName.JSON, FormName.PNG)
    return (FormName.PDF, FormName.PNG, FormName.JSON)


def signature_of(studies: Studies, study: Study) -> Signature | None:
    """The latest signature under a study."""
    reading = studies.readings.signed(study.id)
    if reading is None or reading.signed is None or reading.decision is None:
        return None
    return Signature(
        reader=reading.reader,
        signed=reading.signed,
        decision=reading.decision,
        months=reading.months,
        reason=reading.reason,
        own_months=reading.own_months,
        machine_months=reading.machine_months,
        machine=reading.machine or "",
    )
