"""What the DICOM writers share: who made the object, when, in which series, and how it becomes bytes that never vary.

Dates and times are the radiograph's, not the clock's, so that the same radiograph gives the same file (see `Header`).
UIDs are derived, never drawn, so that a resend is no copy. Their hash covers what the object's content depends on: the
radiograph's SOP instance UID, the weights (and the runtime, where it is not the reference), the sex, the hospital's
calibration if there is one, another growth reference than the default, which hand of two, what a reader put right
(`Findings.revision`), the version of carpal, and the kind of object. Without a root of one's own a UID is "2.25." and a
UUID (PS3.5 B.2).
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final, NamedTuple

import carpal
from carpal.errors import BadIdentity
from carpal.imaging.dicom import quiet
from carpal.imaging.exam import PATIENT, STUDY, from_parts
from carpal.report.codes import Code
from carpal.report.content import Findings
from carpal.types import Header

MANUFACTURER: Final = "carpal"
SOP_CLASSES: Final = {
    "sr": "1.2.840.10008.5.1.4.1.1.88.33",
    "capture": "1.2.840.10008.5.1.4.1.1.7",
    "gsps": "1.2.840.10008.5.1.4.1.1.11.1",
    "pdf": "1.2.840.10008.5.1.4.1.1.104.1",
}
"""Comprehensive SR, Secondary Capture, Grayscale Softcopy Presentation State, Encapsulated PDF."""
SERIES_NUMBERS: Final = {"sr": 9601, "capture": 9602, "gsps": 9603, "pdf": 9604}
TITLES: Final = {
    "sr": "Bone age, structured report",
    "capture": "Bone age, picture",
    "gsps": "Bone age, regions",
    "pdf": "Bone age, PDF",
}

TEXTS: Final = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")
"""Value representations whose letters the character set encodes."""


def derive(kind: str, found: Findings, source: Header, uid_root: str | None = None) -> str:
    """The UID of one kind of thing ("sr", "sr series", "MCP1"...) made of one radiograph. Raises ConfigError, and
    BadIdentity for a radiograph that no object can refer to."""
    if source.unfit:
        raise BadIdentity(
            f"The radiograph's {source.unfit} is no UID - it holds other characters than digits and dots, or more than "
            "64 - no result refers to it, for it would lie in another study. Correct it in the archive"
        )
    sex = "none" if found.sex is None else str(found.sex)
    several = f"{len(found.readings)} readings" if found.readings else None
    more = [found.site, found.apart, found.part, several, found.revision]
    given = (text for text in more if text is not None)
    return from_parts((source.sop_instance_uid, found.model.identity, sex, *given, carpal.__version__, kind), uid_root)


class Identity(NamedTuple):
    """The UIDs and numbers of one object in a series of its own."""

    sop_instance_uid: str
    series_uid: str
    series_number: int
    title: str


def identity(kind: str, found: Findings, source: Header, uid_root: str | None) -> Identity:
    """Where an object of a kind ("sr", "capture", "gsps", "pdf") goes. Raises ConfigError for a wrong root."""
    instance, series = (derive(name, found, source, uid_root) for name in (kind, f"{kind} series"))
    return Identity(instance, series, SERIES_NUMBERS[kind], TITLES[kind])


def coded(code: Code) -> Any:
    """A code as highdicom wants it."""
    from highdicom.sr import CodedConcept

    return CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning)


def equipment(found: Findings) -> dict[str, Any]:
    """The arguments by which highdicom's classes learn who made the object."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": found.algorithm,
        "software_versions": carpal.__version__,
        "device_serial_number": found.model.sha256,
    }


def new_object(kind: str, modality: str, found: Findings, source: Header, uid_root: str | None) -> Any:
    """Patient, study, series, equipment and SOP common modules of an object that is built by hand."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    where = identity(kind, found, source, uid_root)
    dataset = Dataset()
    for keyword in (*PATIENT, *STUDY, "SpecificCharacterSet", "StudyInstanceUID"):
        if keyword in source.dataset:
            setattr(dataset, keyword, source.dataset[keyword].value)
    dataset.SOPClassUID, dataset.SOPInstanceUID = SOP_CLASSES[kind], where.sop_instance_uid
    dataset.SeriesInstanceUID, dataset.SeriesNumber = where.series_uid, where.series_number
    dataset.SeriesDescription, dataset.Modality, dataset.InstanceNumber = where.title, modality, 1
    dataset.ContentDate = dataset.ContentTime = ""
    dataset.Manufacturer, dataset.ManufacturerModelName = MANUFACTURER, found.algorithm
    dataset.SoftwareVersions, dataset.DeviceSerialNumber = carpal.__version__, found.model.sha256
    dataset.ConversionType = "WSD"
    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = source.sop_class_uid, source.sop_instance_uid
    dataset.SourceImageSequence = [image]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def to_bytes(dataset: Any, source: Header) -> bytes:
    """The file, with every date that highdicom took from the clock replaced by the radiograph's.

    Its character set is the radiograph's, or UTF-8 where the name of a calibration or a reference needs it.
    """
    if not all(_is_latin(str(element.value)) for element in dataset.iterall() if element.VR in TEXTS):
        dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.InstanceCreationDate = ""
    for keyword in ("InstanceCreation", "Content", "PresentationCreation"):
        if f"{keyword}Date" in dataset:
            setattr(dataset, f"{keyword}Date", source.date)
            setattr(dataset, f"{keyword}Time", source.time)
    for item in dataset.get("ContributingEquipmentSequence", ()):
        item.ContributionDateTime = source.date + source.time
    buffer = BytesIO()
    with quiet():
        dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _is_latin(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True
