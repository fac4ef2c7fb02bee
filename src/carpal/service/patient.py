"""Who a DICOM file says the child is: name and identifier, for the page and the report only."""

from __future__ import annotations

import warnings
from pathlib import Path

from carpal.imaging.read import is_dicom
from carpal.optional import need

LONGEST = 200


def patient_of(path: Path) -> tuple[str, str]:
    """(name, identifier) as text, empty where the file is no DICOM or does not state them. Reads no pixels."""
    with path.open("rb") as file:
        if not is_dicom(file.read(132)):
            return "", ""
    pydicom = need("pydicom", feature="Reading DICOM", extra="dicom")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about values that break a rule of the standard: shown as they are
            dataset = pydicom.dcmread(
                path,
                force=True,
                stop_before_pixels=True,
                specific_tags=["SpecificCharacterSet", "PatientName", "PatientID"],
            )
            return _name(str(dataset.get("PatientName", ""))), _text(str(dataset.get("PatientID", "")))
    except Exception:  # the pixels were decoded already; a name that cannot be is not worth a failure
        return "", ""


def _name(value: str) -> str:
    """ "Doe^Jane" -> "Doe, Jane": the first representation of a DICOM person name."""
    return ", ".join(part for part in _text(value.partition("=")[0]).split("^") if part)


def _text(value: str) -> str:
    return "".join(letter for letter in value if letter.isprintable()).strip()[:LONGEST]
