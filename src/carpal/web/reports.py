"""Every form of report that a study has, from what the queue and the readings hold."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from carpal.inference.assess import cut_out
from carpal.queue.jobs import State
from carpal.report import dicom_objects, forms, overlay, pdf, signed
from carpal.report import results as as_json
from carpal.report.child import Signature
from carpal.report.content import each, together
from carpal.types import Radiograph, Result, has_age
from carpal.web.review import Study
from carpal.web.schemas import Problem
from carpal.web.study_store import Studies


class FormName(StrEnum):
    """The forms, named by the ending of their file."""

    JSON = "json"
    PDF = "pdf"
    PNG = "png"
    SR = "sr.dcm"
    CAPTURE = "capture.dcm"
    GSPS = "gsps.dcm"
    PDF_IN_DICOM = "pdf.dcm"
    FHIR = "fhir.json"
    HL7 = "hl7"


PLAIN: Final = (FormName.PDF, FormName.PNG, FormName.JSON)
"""These exist for every radiograph, the others only where a DICOM file says what they refer to."""
TYPES: Final = {
    FormName.PDF: "application/pdf",
    FormName.PNG: "image/png",
    FormName.JSON: "application/json",
    FormName.FHIR: "application/fhir+json",
    FormName.HL7: "x-application/hl7-v2+er7",
}
"""Media types; of all others it is application/dicom."""


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


def answer_of(studies: Studies, study: Study) -> tuple[Result, ...]:
    """The machine's answer, one result for each hand. Raises Problem where there is none: not yet, or never."""
    results = studies.results(study)
    if results:
        return results
    job = studies.job(study)
    if job is None:
        raise Problem(
            409, "The sex is needed to read a bone age, and neither you nor the file stated it", "missing-sex"
        )
    if job.state in (State.REJECTED, State.DEAD):
        raise Problem(409, job.message or "The study could not be read", job.code or "failed")
    raise Problem(409, "The study is not read yet. Ask again in a second", "not-ready")


def make(studies: Studies, study: Study, form: FormName, language: str = "en") -> Made:
    """One form of a study's report. Raises Problem where it does not exist."""
    answer_of(studies, study)
    results = studies.shown(study)
    if form not in forms_of(studies, study, results):
        reason = _why_not(results)
        raise Problem(404, f"This form does not exist for the study: {reason}. Ask for another form", "no-such-form")
    of_form = _plain if form in PLAIN else _of_dicom
    content = of_form(studies, study, results, form, language)
    return Made(content, TYPES.get(form, "application/dicom"), f"bone-age-{study.id}.{form}")


def forms_of(studies: Studies, study: Study, results: Sequence[Result]) -> tuple[FormName, ...]:
    """The forms that exist for a study: fewer without an age, without regions, and for what is no DICOM file."""
    missing = () if any(map(has_age, results)) else (FormName.PDF, FormName.PDF_IN_DICOM, FormName.CAPTURE)
    missing = missing if any(one.regions for one in each(results)) else (*missing, FormName.GSPS)
    available = tuple(FormName) if studies.is_dicom(study) else PLAIN
    return tuple(form for form in available if form not in missing)


def _why_not(results: Sequence[Result]) -> str:
    return "the radiograph is no DICOM file" if any(map(has_age, results)) else "the machine gave no age"


def _plain(studies: Studies, study: Study, results: Sequence[Result], form: FormName, language: str) -> bytes:
    if form is FormName.JSON:
        return as_json.document([as_json.entry_of(result) for result in results]).encode()
    hands = _hands(studies, study, results)
    if form is FormName.PNG:
        buffer = io.BytesIO()
        overlay.beside([overlay.draw(*hand) for hand in hands]).save(buffer, format="PNG")
        return buffer.getvalue()
    return pdf.render_hands(hands, studies.child(study), language, signature_of(studies, study))


def _hands(studies: Studies, study: Study, results: Sequence[Result]) -> list[tuple[Radiograph, Result]]:
    """Each hand with the picture that shows it alone."""
    return [cut_out(studies.radiograph(study), result) for result in results]


def _of_dicom(studies: Studies, study: Study, results: Sequence[Result], form: FormName, language: str) -> bytes:
    """The forms that refer to the DICOM file, one object of each whatever was read in it, as the command makes them.

    SR, FHIR and PDF carry the signature, if there is one; it refers to what the machine read by itself. What is made
    from regions that were put right has UIDs of its own, and so has each page in an envelope, by its content.
    """
    source, signature = studies.radiograph(study).header, signature_of(studies, study)
    assert source is not None, "`forms_of` offers these forms of DICOM files only"
    machine = together(studies.results(study), source)
    corrected, seen = studies.corrected(study), None
    if corrected:
        seen = replace(together(results, source), revision=f"regions {_digest(corrected[1].boxes)}")
    if signature is not None and form is FormName.SR:
        return signed.write_sr(machine, source, signature, seen=seen)
    if signature is not None and form is FormName.FHIR:
        return signed.write_fhir(machine, source, signature, seen=seen)
    found = seen or machine
    if form is FormName.PDF_IN_DICOM:
        page = _plain(studies, study, results, FormName.PDF, language)
        found = replace(found, revision=f"page {hashlib.sha256(page).hexdigest()}")
        return dicom_objects.write_encapsulated(found, source, page)
    kind = {FormName.SR: "sr", FormName.CAPTURE: "capture", FormName.GSPS: "gsps", FormName.FHIR: "fhir"}.get(
        form, "hl7"
    )
    made = forms.make([kind], found, source, hands=_hands(studies, study, results))
    if kind not in made:
        raise Problem(404, "This form does not exist for such a radiograph. Ask for another form", "no-such-form")
    return made[kind].content


def _digest(boxes: str) -> str:
    """The same for the same regions, in whatever order they were sent."""
    return hashlib.sha256(json.dumps(json.loads(boxes), sort_keys=True).encode()).hexdigest()


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
        hand=reading.hand,
    )
