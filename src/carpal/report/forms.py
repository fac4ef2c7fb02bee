"""One result in every form that was asked for: the door for the command line, the node and the service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from carpal.errors import ConfigError
from carpal.report.dicom_common import SOP_CLASSES
from carpal.report.findings import Findings
from carpal.report.source import Source
from carpal.report.uids import check_uid_root, derive
from carpal.types import Assessment, Radiograph

SUFFIXES: Final = {
    "sr": ".sr.dcm",
    "capture": ".capture.dcm",
    "gsps": ".gsps.dcm",
    "pdf": ".pdf.dcm",
    "fhir": ".fhir.json",
    "hl7": ".hl7",
}
KINDS: Final = tuple(SUFFIXES)
DICOM_KINDS: Final = ("sr", "capture", "gsps", "pdf")
"""What goes back to an archive; the others go to a server of their own."""
OF_AN_AGE: Final = ("capture", "gsps", "pdf")
"""Forms that show an age and its regions: a refusal has none of them."""


class Form(NamedTuple):
    """One form: its content, the end of its file name, and for DICOM objects their UIDs."""

    kind: str
    content: bytes
    suffix: str
    sop_instance_uid: str | None
    sop_class_uid: str | None


def check_kinds(kinds: Sequence[str]) -> None:
    """Raises ConfigError for a form that does not exist."""
    for kind in kinds:
        if kind not in SUFFIXES:
            raise ConfigError(f"{kind!r} is no form of a report - choose of {', '.join(KINDS)}")


def make(
    kinds: Sequence[str],
    found: Findings,
    source: Source,
    *,
    radiograph: Radiograph | None = None,
    assessment: Assessment | None = None,
    uid_root: str | None = None,
) -> dict[str, Form]:
    """The forms asked for, by kind. Left out are those that a refusal, or a coloured picture (gsps), cannot have.

    `radiograph` and `assessment` are needed for "capture" and "pdf". Raises ConfigError for an unknown kind or a wrong
    UID root, BackendError where a package is missing.
    """
    check_kinds(kinds)
    check_uid_root(uid_root)
    made = {}
    for kind in kinds:
        content = _content(kind, found, source, radiograph, assessment, uid_root)
        if content is not None:
            sop_class = SOP_CLASSES.get(kind)
            uid = derive(kind, found, source, uid_root) if sop_class else None
            made[kind] = Form(kind, content, SUFFIXES[kind], uid, sop_class)
    return made


def _content(
    kind: str,
    found: Findings,
    source: Source,
    radiograph: Radiograph | None,
    assessment: Assessment | None,
    uid_root: str | None,
) -> bytes | None:
    """One form's bytes; None where there is nothing that it could show."""
    from carpal.report import capture, encapsulated, fhir, gsps, hl7, overlay, sr

    if kind in OF_AN_AGE and found.months is None:
        return None
    if kind == "gsps":
        grey = source.header.SamplesPerPixel == 1 and source.header.Rows > 0
        return gsps.write(found, source, uid_root) if grey else None
    if kind in ("capture", "pdf"):
        if radiograph is None or assessment is None:
            raise ConfigError(f"{kind!r} shows the radiograph - it was not given - pass radiograph and assessment")
        if kind == "capture":
            return capture.write(found, source, overlay.draw(radiograph, assessment), uid_root)
        return encapsulated.write(found, source, page(radiograph, assessment, source), uid_root)
    return {"sr": sr.write, "fhir": fhir.write, "hl7": hl7.write}[kind](found, source, uid_root)


def page(radiograph: Radiograph, assessment: Assessment, source: Source | None) -> bytes:
    """The page as a PDF, with the name and number that the radiograph's file states. Raises BackendError."""
    from dataclasses import replace

    from carpal.report.child import Child
    from carpal.report.pdf import render

    child = Child.of(radiograph)
    if source is not None:
        name = source.text("PatientName").split("=")[0].replace("^", " ").strip()
        child = replace(child, name=name, identifier=source.text("PatientID"))
    return render(assessment, radiograph, child)
