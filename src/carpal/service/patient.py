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
    """ "Doe^Jane" -> "Doe, Jane"; of a name in several alphabets each: "Yamada, Tarou = 山田, 太郎"."""
    groups = (", ".join(part for part in group.split("^") if part) for group in _text(value).split("="))
    return " = ".join(group for group in groups if group)


def _text(value: str) -> str:
    """What can be shown; zero-width joiners are not printable, but without them a Persian name is written wrongly."""
    return "".join(letter for letter in value if letter.isprintable() or letter in "\u200c\u200d").strip()[:LONGEST]
