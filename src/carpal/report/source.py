"""The radiograph that a result speaks of: its UIDs, patient and study, made fit for the objects that refer to it.

Anonymised files and those of old CDs lack required tags or hold wrong values in them. Every value is checked here once;
what is wrong is left empty where the standard allows it and derived from the file's hash where it does not.
"""

from __future__ import annotations

import hashlib
import re
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

from carpal.errors import CarpalError, UnreadableImage
from carpal.imaging.dicom import damaged, open_dataset, quiet
from carpal.imaging.exam import exam_of
from carpal.imaging.header import number, real, repair, text, value, word
from carpal.imaging.read import is_dicom, read_bytes
from carpal.imaging.tables import read_table
from carpal.report.uids import from_parts, is_uid
from carpal.types import Exam

PATIENT: Final = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge")
STUDY: Final = ("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName", "StudyDescription")
IMAGE: Final = ("Modality", "VOILUTFunction", "BodyPartExamined")
TYPE_2: Final = {
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
}
"""Must be there, may be empty (PS3.3 C.7.1.1 and C.7.2.1)."""
LENGTHS: Final = {"LO": 64, "SH": 16, "PN": 64, "CS": 16}
SHAPES: Final = {
    "DA": re.compile(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"),
    "TM": re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?"),
    "AS": re.compile(r"\d{3}[DWMY]"),
    "CS": re.compile(r"[A-Z0-9 _]+"),
}
CR_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.1"
MULTI_FRAME: Final = {f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("7.1", "7.2", "7.3", "7.4", "12.1", "12.2")}
"""The classes that we read and that may hold several frames; others with several are in error."""
NO_DATE, NO_TIME = "19000101", "000000"
"""Of a radiograph without any date: a result must carry one, and the clock would make it different each time."""


@dataclass(frozen=True)
class Source:
    """What a result needs to know of its radiograph. `header` has no pixels and is never changed: see `dataset`.

    `date` and `time` (DICOM's DA and TM) are the acquisition's, else the content's, the series' or the study's.
    `assumed` lists what was wrong in the file, without its values.
    """

    header: Any = field(repr=False, compare=False)
    sha256: str
    date: str
    time: str
    exam: Exam = field(default_factory=Exam)
    assumed: tuple[str, ...] = ()
    revision: str | None = None
    """A hash of what people changed in the reading of it, such as regions put right by hand; it enters every UID."""

    @property
    def sop_instance_uid(self) -> str:
        return str(self.header.SOPInstanceUID)

    @property
    def sop_class_uid(self) -> str:
        return str(self.header.SOPClassUID)

    @property
    def study_uid(self) -> str:
        return str(self.header.StudyInstanceUID)

    @property
    def series_uid(self) -> str:
        return str(self.header.SeriesInstanceUID)

    @property
    def frame(self) -> int | None:
        """The frame that was read, where references need one: the first of a multi-frame image."""
        several = int(self.header.get("NumberOfFrames", 1)) > 1
        return 1 if several and self.sop_class_uid in MULTI_FRAME else None

    def dataset(self) -> Any:
        """A copy of the header for a writer to build on."""
        return deepcopy(self.header)

    @property
    def laterality(self) -> str:
        """Laterality (0020,0060) for objects of the same hand: L, R or, unknown, empty."""
        return "" if self.exam.side is None else str(self.exam.side)[0].upper()

    def text(self, keyword: str) -> str:
        """A value of the header, "" where it is absent or empty."""
        return text(self.header, keyword)


def read_source(data: bytes | Path, name: str | None = None) -> Source:
    """Reads the header of a DICOM file. Raises UnreadableImage where it is none, BackendError without pydicom."""
    if name is None:
        name = "the image" if isinstance(data, bytes) else str(data)
    if isinstance(data, Path):
        data = read_bytes(data, name)
    if not is_dicom(data):
        raise UnreadableImage(f"{name}: not a DICOM file, and the reports refer to one. Give the radiograph as DICOM")
    found = open_dataset(data, name)
    try:
        with quiet():
            return _source(found, hashlib.sha256(data).hexdigest())
    except Exception as error:  # as in `decode_dicom`: pydicom's own text may quote a patient's tags
        raise damaged(data, name, error) from None


def _source(found: Any, digest: str) -> Source:
    from pydicom import Dataset

    assumed: list[str] = []
    header = Dataset()
    for keyword in (*PATIENT, *STUDY, *IMAGE):
        _copy_text(found, header, keyword, assumed)
    header.SpecificCharacterSet = _character_set(header)
    _copy_uids(found, header, digest, assumed)
    _copy_shape(found, header)
    _copy_tables(found, header)
    day = _first(found, ("AcquisitionDate", "ContentDate", "SeriesDate", "StudyDate"), "DA")
    time = _first(found, ("AcquisitionTime", "ContentTime", "SeriesTime", "StudyTime"), "TM")
    if day is None:
        assumed.append("the file states no date; the results carry 1 January 1900")
        day, time = NO_DATE, NO_TIME
    return Source(header, digest, day, time or NO_TIME, exam_of(found, []), tuple(assumed))


def _copy_text(found: Any, header: Any, keyword: str, assumed: list[str]) -> None:
    """One value, cut and cleaned to its VR; a required one that is missing or wrong becomes empty."""
    from pydicom.datadict import dictionary_VR

    vr = str(dictionary_VR(keyword))
    stated = text(found, keyword)
    joiners = "\u200c\u200d"  # not printable, but without them a Persian name is written wrongly
    clean = "".join(letter for letter in stated if (letter.isprintable() or letter in joiners) and letter != "\\")
    parts = clean.split("=")[:3] if vr == "PN" else [clean]  # 64 letters are for each spelling of a name (PS3.5 6.2)
    clean = "=".join(part[: LENGTHS.get(vr, 64)].strip() for part in parts)
    if (clean and not _fits(clean, vr)) or (keyword == "PatientSex" and clean not in ("M", "F", "O")):
        clean = ""
    if clean != stated:
        assumed.append(f"{keyword} is malformed; the results carry it {'cut or cleaned' if clean else 'empty'}")
    if clean or keyword in TYPE_2:
        setattr(header, keyword, clean)


def _character_set(header: Any) -> str:
    """Latin 1, which every viewer knows, or UTF-8 where the patient's name needs it."""
    try:
        "".join(str(element.value) for element in header).encode("latin-1")
    except UnicodeEncodeError:
        return "ISO_IR 192"
    return "ISO_IR 100"


def _fits(value: str, vr: str) -> bool:
    """Whether a value has its VR's form, and a date is one of the calendar."""
    if vr in SHAPES and not SHAPES[vr].fullmatch(value):
        return False
    try:
        return vr != "DA" or bool(date(int(value[:4]), int(value[4:6]), int(value[6:])))
    except ValueError:
        return False


def _copy_uids(found: Any, header: Any, digest: str, assumed: list[str]) -> None:
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        uid, stored = text(found, keyword), _stored(found, keyword)
        if not is_uid(uid) and stored:
            uid = stored
            assumed.append(f"{keyword} is missing or malformed; that of the file's meta information was taken")
        elif not is_uid(uid):
            uid = from_parts((digest, keyword))
            assumed.append(f"{keyword} is missing or malformed; one was derived from the file's content")
        setattr(header, keyword, uid)
    sop_class = text(found, "SOPClassUID")
    if not is_uid(sop_class) and (sop_class := _stored(found, "SOPClassUID")):
        assumed.append("SOPClassUID is missing or malformed; that of the file's meta information was taken")
    elif not sop_class:
        sop_class = CR_IMAGE
        assumed.append(
            "SOPClassUID is missing or malformed; the radiograph is referred to as a Computed Radiography image"
        )
    header.SOPClassUID = sop_class


def _stored(found: Any, keyword: str) -> str:
    """Class or instance UID outside the data set, under which an archive knows the file; "" for none or another."""
    uid = text(getattr(found, "file_meta", {}), f"MediaStorage{keyword}")
    return uid if is_uid(uid) else ""


def _copy_shape(found: Any, header: Any) -> None:
    """Rows, columns and frames, after the same repair as before decoding; 0 where they cannot be known."""
    try:
        repair(found, "the radiograph")
    except CarpalError:
        found.Rows = found.Columns = 0
    header.Rows, header.Columns = found.Rows, found.Columns
    header.SamplesPerPixel = number(found, "SamplesPerPixel") or 1
    header.PhotometricInterpretation = word(found, "PhotometricInterpretation") or "MONOCHROME2"
    if (frames := number(found, "NumberOfFrames") or 1) > 1:
        header.NumberOfFrames = frames


def _copy_tables(found: Any, header: Any) -> None:
    """What a presentation state must repeat, lest the radiograph lose its look: tables, rescale, window."""
    for keyword in ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"):
        if (first := real(found, keyword)) is not None:
            setattr(header, keyword, f"{first:.10g}")
    for keyword in ("ModalityLUTSequence", "VOILUTSequence"):
        try:
            table = read_table(value(found, keyword)[0])
        except Exception:  # absent, or damaged in one of the many ways of `imaging.tables`
            continue
        is_voi = keyword == "VOILUTSequence"
        # 16 bits, for a state allows 8 and 16 only; the grey values of a VOI table fill their bits, so they are scaled.
        scale = 65535 / (2**table.bits - 1) if is_voi and 0 < table.bits < 16 else 1
        item = type(header)()
        item.add_new("LUTDescriptor", "SS" if table.first < 0 else "US", [len(table.entries) % 2**16, table.first, 16])
        item.add_new("LUTData", "OW", (table.entries * scale).round().clip(0, 65535).astype("<u2").tobytes())
        if not is_voi:
            item.ModalityLUTType = "US"
        setattr(header, keyword, [item])


def _first(found: Any, keywords: tuple[str, ...], vr: str) -> str | None:
    """The first of these values that is a valid date or time."""
    return next((stated for keyword in keywords if _fits(stated := text(found, keyword), vr)), None)
