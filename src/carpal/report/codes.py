"""The codes of every form, once: DICOM, LOINC, SNOMED CT, UCUM and HPO, and each region's sided bone.

LOINC 37362-1 is the bone age; SNOMED CT has no such observable (85151006, at times mistaken for one, is the left hand).
The sided bones come from one source each and pass SNOMED's check digit: have them confirmed before clinical use.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from carpal.anatomy import INDEX
from carpal.types import Sex, Side


class Code(NamedTuple):
    """A coded concept: the scheme as DICOM names it (SCT, LN, DCM, UCUM, HPO), the code, its meaning."""

    scheme: str
    value: str
    meaning: str


BONE_AGE: Final = Code("LN", "37362-1", "XR Bone age")
MONTH: Final = Code("UCUM", "mo", "month")
NO_UNITS: Final = Code("UCUM", "1", "no units")
PROCEDURE: Final = Code("SCT", "39714003", "Skeletal X-ray of wrist and hand")
POPULATION_MEAN: Final = Code("SCT", "373098007", "Mean Value of population")
POPULATION_SD: Final = Code("DCM", "121414", "Standard deviation of population")
Z_SCORE: Final = Code("DCM", "121416", "Z-Score of measurement")
UPPER: Final = Code("SCT", "371886008", "+, range of upper measurement uncertainty")
LOWER: Final = Code("SCT", "371885007", "-, range of lower measurement uncertainty")
CITATION: Final = Code("DCM", "121422", "Table of Values Citation")
DEVICE: Final = Code("DCM", "121007", "Device")
COMMENT: Final = Code("DCM", "121106", "Comment")
QUALITY: Final = Code("DCM", "111050", "Quality Assessment")
REJECTED: Final = Code("DCM", "113001", "Rejected for Quality Reasons")
FAILED: Final = Code("DCM", "114006", "Measurement failure")
NOT_ATTEMPTED: Final = Code("DCM", "114007", "Measurement not attempted")
INDETERMINATE: Final = Code("DCM", "114011", "Value indeterminate")
SEX: Final = Code("DCM", "121032", "Subject Sex")
SEXES: Final[dict[Sex, Code]] = {Sex.FEMALE: Code("DCM", "F", "Female"), Sex.MALE: Code("DCM", "M", "Male")}
DELAYED: Final = Code("HPO", "HP:0002750", "Delayed skeletal maturation")
ADVANCED: Final = Code("HPO", "HP:0005616", "Accelerated skeletal maturation")

STUDY_UID: Final = Code("DCM", "110180", "Study Instance UID")

LEFT: Final = Code("SCT", "7771000", "Left")
RIGHT: Final = Code("SCT", "24028007", "Right")
HANDS: Final[dict[Side | None, Code]] = {
    Side.LEFT: Code("SCT", "85151006", "Structure of left hand"),
    Side.RIGHT: Code("SCT", "78791008", "Structure of right hand"),
    None: Code("SCT", "85562004", "Hand"),
}
CARPUS: Final = Code("SCT", "8205005", "Carpus")
UNSIDED: Final[dict[str, Code]] = {
    "Radius": Code("SCT", "62413002", "Radius"),
    "Ulna": Code("SCT", "23416004", "Ulna"),
    "Wrist": CARPUS,
}
"""Where the file does not say which hand it is; the other regions are then sited at the hand, and named in words."""

_FINGERS: Final = {1: "thumb", 2: "index finger", 3: "middle finger", 4: "ring finger", 5: "little finger"}
_BONES: Final[dict[str, tuple[str, str, str]]] = {
    "MCP1": ("proximal phalanx", "762868003", "762869006"),
    "MCP2": ("proximal phalanx", "762860005", "762861009"),
    "MCP3": ("proximal phalanx", "762854005", "762855006"),
    "MCP4": ("proximal phalanx", "762842005", "762843000"),
    "MCP5": ("proximal phalanx", "762840002", "762841003"),
    "PIP1": ("distal phalanx", "762866004", "762867008"),
    "PIP2": ("middle phalanx", "762862002", "762863007"),
    "PIP3": ("middle phalanx", "762856007", "762857003"),
    "PIP4": ("middle phalanx", "762844006", "762845007"),
    "PIP5": ("middle phalanx", "762838007", "762839004"),
    "DIP2": ("distal phalanx", "762864001", "762865000"),
    "DIP3": ("distal phalanx", "762858008", "762859000"),
    "DIP4": ("distal phalanx", "762846008", "762847004"),
    "DIP5": ("distal phalanx", "762836006", "762837002"),
    "Radius": ("radius", "719464007", "719465008"),
    "Ulna": ("ulna", "719462006", "719463001"),
}
"""Bone, code on the left, code on the right. A joint is sited at the bone beyond it, whose growth plate it shows."""


class Site(NamedTuple):
    """Where a region lies: a code and, where the code itself names no side, the side."""

    code: Code
    laterality: Code | None


def site(region: str, side: Side | None) -> Site:
    """The anatomic site of one of the 17 regions in a left, a right or an unknown hand. KeyError for another name."""
    if region not in INDEX:
        raise KeyError(region)
    if side is None:
        return Site(UNSIDED.get(region, HANDS[None]), None)
    if region not in _BONES:
        return Site(CARPUS, LEFT if side is Side.LEFT else RIGHT)
    bone, left, right = _BONES[region]
    finger = f" of {side} {_FINGERS[int(region[-1])]}" if region[-1].isdigit() else ""
    meaning = f"{bone}{finger}".capitalize() if finger else f"Bone structure of {side} {bone}"
    return Site(Code("SCT", left if side is Side.LEFT else right, meaning), None)
