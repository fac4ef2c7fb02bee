"""Findings to an HL7 v2.5.1 message ORU^R01, for systems that know neither DICOM nor FHIR. UTF-8."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

from carpal.imaging.exam import NO_DATE
from carpal.report import codes
from carpal.report.content import Findings
from carpal.report.dicom_common import derive
from carpal.types import Header

ESCAPES: Final = {
    "\\": "\\E\\",
    "|": "\\F\\",
    "^": "\\S\\",
    "&": "\\T\\",
    "~": "\\R\\",
    "\r": "\\.br\\",
    "\n": "\\.br\\",
}

NONE: Final = '""'
"""HL7's null: PID-3 and PID-5 are required, and a file without them is no reason to invent any."""


def write(found: Findings, source: Header, uid_root: str | None = None) -> bytes:
    """The message. Raises ConfigError for a wrong root."""
    segments = [_header(found, source, uid_root), _patient(source), _order(found, source)]
    observations = _observations(found, source)
    segments += [["OBX", str(number), *fields] for number, fields in enumerate(observations, start=1)]
    return "".join("|".join(fields).rstrip("|") + "\r" for fields in segments).encode()


def _header(found: Findings, source: Header, uid_root: str | None) -> list[str]:
    """MSH. The control id (20 characters at most) is derived as UIDs are, so a resend is known as one."""
    control = hashlib.sha256(derive("hl7", found, source, uid_root).encode()).hexdigest()[:20].upper()
    fields = ["MSH", "^~\\&", "CARPAL", "", "", "", _moment(source) or f"{NO_DATE}000000", ""]
    return [*fields, "ORU^R01^ORU_R01", control, "P", "2.5.1", "", "", "", "", "", "UNICODE UTF-8"]


def _patient(source: Header) -> list[str]:
    """PID: id, name, birth date, sex as the file states them."""
    name = source.text("PatientName").split("=")[0]
    family, given, middle, prefix, suffix, *_ = [*name.split("^"), "", "", "", "", ""]
    shown = "^".join(_escape(part) for part in (family, given, middle, suffix, prefix)).rstrip("^") or NONE
    issuer = _escape(source.text("IssuerOfPatientID"))
    identifier = f"{_escape(source.text('PatientID')) or NONE}^^^{issuer}".rstrip("^")
    sex = source.text("PatientSex") or "U"
    return ["PID", "1", "", identifier, "", shown, "", source.text("PatientBirthDate"), sex]


def _order(found: Findings, source: Header) -> list[str]:
    """OBR: the accession number as the filler's order number; status P, for no person has looked yet."""
    accession = _escape(source.text("AccessionNumber"))
    fields = ["OBR", "1", "", accession, _coded(codes.BONE_AGE), "", "", _moment(source)]
    return [
        *fields,
        *[""] * 14,
        _moment(source),
        "",
        "RAD",
        "X" if found.months is None and not found.readings else "P",
    ]


def _observations(found: Findings, source: Header) -> Iterator[list[str]]:
    """OBX from field 2 on: the age first, then its interval, z-score and reference, the regions, the sentences.

    Of several readings the first age is empty, and the sub-ID (OBX-4) tells the others apart: "F", "left M"...
    """
    yield from _age("", found, source)
    for reading in found.readings:
        yield from _age(_sub_id(reading), reading, source)
    for reading, region in found.each_region():
        name = region.name if reading.part is None else f"{reading.part} {region.name}"
        yield _number(codes.BONE_AGE, name, region.months, codes.MONTH, source)
    yield _text("ST", codes.STUDY_UID, source.study_uid)
    for remark in (*found.remarks, *found.parameters):
        yield _text("TX", codes.COMMENT, remark)
    for reading in found.readings:
        for remark in (*reading.remarks[:-1], *reading.parameters):
            yield _text("TX", codes.COMMENT, f"{found.label(reading)}: {remark}")


def _sub_id(reading: Findings) -> str:
    sex = "" if reading.sex is None else codes.SEXES[reading.sex].value
    return f"{reading.part or ''} {sex}".strip()


def _age(part: str, found: Findings, source: Header) -> Iterator[list[str]]:
    """The bone age of one reading and what belongs to it."""
    yield _number(codes.BONE_AGE, part, found.months, codes.MONTH, source)
    if found.interval is not None and found.months is not None:
        yield _number(codes.UPPER, part, round(found.interval.high - found.months, 1), codes.MONTH, source)
        yield _number(codes.LOWER, part, round(found.months - found.interval.low, 1), codes.MONTH, source)
    if found.score is not None:
        yield _number(codes.Z_SCORE, part, found.score.z, codes.NO_UNITS, source)
        yield _number(codes.POPULATION_MEAN, part, found.score.mean, codes.MONTH, source)
        yield _number(codes.POPULATION_SD, part, found.score.sd, codes.MONTH, source)
        yield _text("ST", codes.CITATION, found.score.citation, part)


def _number(name: codes.Code, part: str, value: float | None, unit: codes.Code, source: Header) -> list[str]:
    """A number; without a value its status is X, "results cannot be obtained" (table 0085)."""
    shown, status = ("", "X") if value is None else (f"{value:g}", "P")
    return ["NM", _coded(name), part, shown, _coded(unit), "", "", "", "", status, "", "", _moment(source)]


def _text(kind: str, name: codes.Code, text: str, part: str = "") -> list[str]:
    return [kind, _coded(name), part, _escape(text), "", "", "", "", "", "P"]


def _coded(code: codes.Code) -> str:
    return f"{code.value}^{_escape(code.meaning)}^{code.scheme}"


def _moment(source: Header) -> str:
    """The radiograph's date and time without fractions; "" where it states none."""
    return "" if source.date == NO_DATE else f"{source.date}{source.time.partition('.')[0]}"


def _escape(text: str) -> str:
    """Delimiters of HL7 and control characters as its escape sequences (chapter 2.7): nothing is lost."""
    return "".join(ESCAPES.get(letter) or (f"\\X{ord(letter):02X}\\" if letter < " " else letter) for letter in text)
