"""One result in every form that was asked for: the door for the command line, the node and the service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from carpal.errors import ConfigError, need
from carpal.imaging.exam import check_uid_root
from carpal.imaging.header import GREY
from carpal.report.content import Findings, together
from carpal.report.dicom_common import SOP_CLASSES, derive
from carpal.types import Header, Radiograph, Result

if TYPE_CHECKING:
    from PIL import Image

    from carpal.growth.reference import Reference

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

PACKAGES: Final = {
    "sr": (("highdicom", "dicom"),),
    "capture": (("pydicom", "dicom"),),
    "gsps": (("highdicom", "dicom"),),
    "pdf": (
        ("pydicom", "dicom"),
        ("reportlab.pdfgen.canvas", "pdf"),
        ("reportlab.platypus", "pdf"),
        ("uharfbuzz", "pdf"),
    ),
}
"""What a form is written with, and the extra that brings it; the others need nothing."""

Hands = Sequence[tuple[Radiograph, Result]]
"""Each hand with the radiograph that shows it alone: `inference.assess.cut_out`, for the forms that show pictures."""


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


def check_packages(kinds: Sequence[str]) -> None:
    """Imports what these forms are written with. Raises BackendError naming form, package and extra."""
    for kind in kinds:
        for module, extra in PACKAGES.get(kind, ()):
            need(module, feature=f"The form {kind!r} of a report", extra=extra)


def make(
    kinds: Sequence[str],
    found: Findings,
    source: Header,
    *,
    hands: Hands = (),
    uid_root: str | None = None,
    reference: Reference | None = None,
) -> dict[str, Form]:
    """The forms asked for, by kind. Left out are those that a refusal, or a coloured picture (gsps), cannot have.

    `hands` are needed for "capture" and "pdf"; the latter compares with `reference`, by default the
    default one. Raises ConfigError for an unknown kind or a wrong UID root, BackendError where a package is missing.
    """
    check_kinds(kinds)
    check_uid_root(uid_root)
    made = {}
    for kind in kinds:
        content = _content(kind, found, source, hands, uid_root, reference)
        if content is not None:
            sop_class = SOP_CLASSES.get(kind)
            uid = derive(kind, found, source, uid_root) if sop_class else None
            made[kind] = Form(kind, content, SUFFIXES[kind], uid, sop_class)
    return made


def make_all(
    kinds: Sequence[str],
    results: Sequence[Result],
    source: Header,
    hands: Hands,
    uid_root: str | None = None,
    reference: Reference | None = None,
) -> dict[str, Form]:
    """The forms of everything that was read in one radiograph: one of each kind, whose readings tell themselves apart.

    `results` is what `inference.assess.read_hands` returns: a hand or two, each with a stated sex or for both.
    """
    return make(kinds, together(results, source), source, hands=hands, uid_root=uid_root, reference=reference)


def _content(
    kind: str, found: Findings, source: Header, hands: Hands, uid_root: str | None, reference: Reference | None
) -> bytes | None:
    """One form's bytes; None where there is nothing that it could show."""
    from carpal.report import dicom_objects, fhir, hl7, sr

    if kind in OF_AN_AGE and found.months is None and not found.readings:
        return None
    if kind == "gsps":
        dataset = source.dataset
        is_grey = dataset.PhotometricInterpretation in GREY  # a palette is none: PS3.3 A.33.1
        grey = dataset.SamplesPerPixel == 1 and is_grey and dataset.Rows > 0
        return dicom_objects.write_gsps(found, source, uid_root) if grey else None
    if kind in ("capture", "pdf"):
        if not hands:
            raise ConfigError(f"{kind!r} shows the radiograph - it was not given - pass `hands`")
        if kind == "capture":
            return dicom_objects.write_capture(found, source, _picture(found, hands), uid_root)
        return dicom_objects.write_encapsulated(found, source, page(hands, reference), uid_root)
    return {"sr": sr.write, "fhir": fhir.write, "hl7": hl7.write}[kind](found, source, uid_root)


def _picture(found: Findings, hands: Hands) -> Image.Image:
    """The overlay; of two hands both beside each other, and of several readings what they are above."""
    from carpal.report import overlay

    return overlay.beside([overlay.draw(*hand) for hand in hands], found.summary if found.readings else "")


def page(hands: Hands, reference: Reference | None = None) -> bytes:
    """The PDF, a page for each hand that has an age, with the name and number that the radiograph's header states.

    Raises ValueError where no hand has an age, BackendError where a package is missing.
    """
    from carpal.report.child import Child, spelled
    from carpal.report.pdf import render_hands

    radiograph = hands[0][0]
    child = replace(Child.of(radiograph), reference=reference)
    if radiograph.header is not None:
        name = spelled(radiograph.header.text("PatientName"), " ")
        child = replace(child, name=name, identifier=radiograph.header.text("PatientID"))
    return render_hands(hands, child)
