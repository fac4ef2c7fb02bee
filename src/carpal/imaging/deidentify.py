"""Radiographs for research: PS3.15 Annex E, Basic Application Level Confidentiality Profile, by edition 2026c's table.

The table is that of the package dicom-anonymizer (Kitware), which generates it from the standard. What is ours: every
nesting level is treated; UIDs and the patient's number are replaced by keyed hashes, so that the images of one child
stay together and nobody without the key can tell whose they are; dates become empty, not a day that reads as an age.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import carpal
from carpal.errors import CarpalError, UnreadableImage, UnsuitableImage, need
from carpal.imaging.dicom import damaged, open_dataset, quiet
from carpal.imaging.exam import exam_of
from carpal.imaging.header import CAPTURES, check_kind, text, word
from carpal.imaging.raster import MAX_BYTES

EDITION: Final = "dicomfields_2026c"
PROFILE: Final = ("113100", "Basic Application Confidentiality Profile")
CHARACTERISTICS: Final = ("113108", "Retain Patient Characteristics Option")
KEPT_CHARACTERISTICS: Final = ("PatientSex", "PatientAge", "PatientSize", "PatientWeight")
UIDS_OF_THE_STANDARD: Final = "1.2.840.10008."
DATES: Final = ("DA", "TM", "DT")
KEY_BYTES: Final = 32
Action = Callable[[Any, Any], None]


@dataclass(frozen=True)
class Deidentified:
    """A file without identity: its bytes, its new SOP instance UID, and what a person still has to look at."""

    content: bytes
    sop_instance_uid: str
    warnings: tuple[str, ...]


def deidentify(
    data: bytes, name: str, key: bytes, keep_characteristics: bool = False, accept_burned_in: bool = False
) -> Deidentified:
    """Removes what identifies a child from a radiograph's header. Pixels stay: text burnt into them is told, not found.

    `key` is secret and makes UIDs and the patient's number; the same key gives the same ones. `keep_characteristics`
    keeps sex, age, size and weight (option 113108), the age in months, from the dates where it was not stated. Raises
    UnsuitableImage where the file says that text is burnt in, unless `accept_burned_in`, or that it is no radiograph;
    UnreadableImage where it cannot be parsed; BackendError without pydicom or dicom-anonymizer.
    """
    need("dicomanonymizer", "De-identification", extra="deid")
    dataset = open_dataset(data, name, MAX_BYTES)
    try:
        with quiet():
            check_kind(dataset, name)
            warnings = _check_pixels(dataset, name, accept_burned_in)
            kept = _characteristics(dataset) if keep_characteristics else {}
            pseudonym = _pseudonym(dataset, key)
            _clean(dataset, _actions(), key)
            _restore(dataset, kept, pseudonym)
            return Deidentified(_to_bytes(dataset), str(dataset.SOPInstanceUID), warnings)
    except CarpalError:
        raise
    except Exception as error:
        raise damaged(data, name, error) from None


def _check_pixels(dataset: Any, name: str, accept_burned_in: bool) -> tuple[str, ...]:
    if "PixelData" not in dataset:
        raise UnreadableImage(f"{name}: this DICOM object holds no picture, and text is not cleaned. Give radiographs")
    stated = word(dataset, "BurnedInAnnotation")
    if stated == "YES" and not accept_burned_in:
        raise UnsuitableImage(
            f"{name}: the file says that text is burnt into the picture, which may name the patient. "
            "Look at it, and add --accept-burned-in where it does not"
        )
    if stated == "NO":
        return ()
    if text(dataset, "SOPClassUID") in CAPTURES:
        return ("a secondary capture often has the patient's name burnt in: look at the picture",)
    return ("nobody states whether text is burnt into the picture: look at it",)


def _characteristics(dataset: Any) -> dict[str, str]:
    """Sex, age, size and weight as stated; the age from the dates where it is not."""
    kept = {keyword: value for keyword in KEPT_CHARACTERISTICS if (value := text(dataset, keyword))}
    months = exam_of(dataset, []).age_months
    if months is not None and months < 1000:
        kept["PatientAge"] = f"{round(months):03d}M"
    return kept


def _pseudonym(dataset: Any, key: bytes) -> str:
    """One for each patient's number and issuer; "" where there is no number."""
    number = text(dataset, "PatientID")
    return _digest(key, "patient", number, text(dataset, "IssuerOfPatientID")).hex()[:16].upper() if number else ""


def _digest(key: bytes, *parts: str) -> bytes:
    return hmac.new(key, "\n".join(parts).encode(), hashlib.sha256).digest()


def _new_uid(uid: str, key: bytes) -> str:
    """Another UID for this one, the same each time; those that the standard defines stay."""
    if not uid or uid.startswith(UIDS_OF_THE_STANDARD):
        return uid
    return f"2.25.{uuid.UUID(bytes=_digest(key, 'uid', uid)[:16], version=5).int}"


def _actions() -> dict[tuple[int, ...], str]:
    """Tag (or tag and mask) to action: X remove, Z empty, D dummy, U other UID (table E.1-1, first column)."""
    from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector

    tables = dicom_anonymization_database_selector(EDITION)
    lists = {"X": ("X_TAGS",), "Z": ("Z_TAGS", "X_Z_TAGS"), "D": ("D_TAGS", "Z_D_TAGS", "X_D_TAGS", "X_Z_D_TAGS")}
    lists |= {"U": ("U_TAGS", "X_Z_U_STAR_TAGS")}
    return {tuple(tag): action for action, names in lists.items() for name in names for tag in tables[name]}


def _clean(dataset: Any, actions: dict[tuple[int, ...], str], key: bytes) -> None:
    """One level, then every item of the sequences that are left. Overlays and curves stand in the table with a mask."""
    masks = [((*tag,), action) for tag, action in actions.items() if len(tag) == 4]
    for tag in list(dataset.keys()):
        found = (
            action for (g, e, mask_g, mask_e), action in masks if (tag.group & mask_g, tag.element & mask_e) == (g, e)
        )
        _apply(dataset, tag, actions.get((tag.group, tag.element)) or next(found, None), key)
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _clean(item, actions, key)


def _apply(dataset: Any, tag: Any, action: str | None, key: bytes) -> None:
    """Private and unknown elements go; persons and other moments than the table names are emptied, too."""
    from dicomanonymizer.simpledicomanonymizer import replace_element
    from pydicom.datadict import dictionary_has_tag

    if tag.is_private or action == "X" or not (dictionary_has_tag(tag) or 0x6000 <= tag.group <= 0x60FF):
        del dataset[tag]
        return
    element = dataset[tag]
    if element.VR == "UI" and action in ("U", "D"):
        several = [element.value] if isinstance(element.value, str) else list(element.value or ())
        element.value = [_new_uid(str(uid), key) for uid in several]
    elif element.VR == "SQ":
        if action in ("Z", "D"):
            element.value = []
    elif action == "Z" or element.VR == "PN" or element.VR in DATES:
        element.value = None
    elif action == "D":
        try:
            replace_element(element)
        except NotImplementedError:  # a VR without a dummy
            del dataset[tag]


def _restore(dataset: Any, kept: dict[str, str], pseudonym: str) -> None:
    """The pseudonym, the characteristics that may stay, and the record of what was done (PS3.15 E.1.1, step 6)."""
    from pydicom import Dataset

    dataset.PatientID, dataset.PatientName, dataset.PatientSex = pseudonym, pseudonym, ""
    for keyword, value in kept.items():
        setattr(dataset, keyword, value)
    dataset.PatientIdentityRemoved = "YES"
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
    dataset.DeidentificationMethod = [f"carpal {carpal.__version__}", "PS3.15 2026c, Basic Profile"]
    codes = []
    for value, meaning in (PROFILE, *([CHARACTERISTICS] if kept else [])):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
        codes.append(item)
    dataset.DeidentificationMethodCodeSequence = codes


def _to_bytes(dataset: Any) -> bytes:
    """The file with an empty preamble and a new meta header: both may hold anything."""
    from pydicom.dataset import FileMetaDataset

    syntax = dataset.file_meta.get("TransferSyntaxUID")
    dataset.preamble = bytes(128)
    dataset.file_meta = FileMetaDataset()
    implicit, little = dataset.original_encoding
    native = {(True, True): "1.2.840.10008.1.2", (False, False): "1.2.840.10008.1.2.2"}
    dataset.file_meta.TransferSyntaxUID = syntax or native.get((implicit, little), "1.2.840.10008.1.2.1")
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
