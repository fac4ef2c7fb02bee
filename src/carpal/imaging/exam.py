"""What a DICOM header states of child, examination and study, and the header's own steps from stored values to grey.

*The examination.* Dates, chronological age, side and sex: what is unsure is None, and told.

*The header that reports refer to.* What identifies the child, the order and the study passes bit for bit, also where it
breaks a rule of its VR, for an archive compares it as a string; or it does not pass at all. A date or code of a wrong
form is left empty, a UID that is missing is derived from the file's hash, and with one that nothing can carry no object
refers to the file (`Header.unfit`).

*Stored values to grey.* Padding and foreign bits go, then the order is that of PS3.3 C.11 and PS3.4 N.2: modality, VOI;
polarity is last. Every step is skipped, and told, where the header's own numbers make no sense: a radiograph without it
is still one.
"""

from __future__ import annotations

import hashlib
import math
import re
import uuid
from datetime import date
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from carpal.errors import ConfigError, UnsuitableImage
from carpal.imaging.header import number, real, region_modifiers, square_scale, stated, text, value, word
from carpal.imaging.raster import to_grey
from carpal.types import Exam, Header, Sex, Side

SEXES: Final = {
    **dict.fromkeys(("M", "MALE", "MÄNNLICH", "MAENNLICH", "MASCULIN", "MASCULINO"), Sex.MALE),
    **dict.fromkeys(("F", "FEMALE", "W", "WEIBLICH", "FÉMININ", "FEMININ", "FEMENINO", "FEMMINILE"), Sex.FEMALE),
}
"""What real files write besides the standard's M and F, none of it ambiguous."""
SIDES: Final = {"L": Side.LEFT, "R": Side.RIGHT}
SIDE_MODIFIERS: Final = {
    **dict.fromkeys(("7771000", "G-A101", "LEFT"), Side.LEFT),
    **dict.fromkeys(("24028007", "G-A100", "RIGHT"), Side.RIGHT),
}
"""Of an anatomic region: code in SNOMED CT, in its older form of letters, and meaning."""
DAYS_A_MONTH: Final = 365.25 / 12
MONTHS: Final = {"D": 1 / DAYS_A_MONTH, "W": 7 / DAYS_A_MONTH, "M": 1.0, "Y": 12.0}
STUDY_DATES: Final = ("StudyDate", "AcquisitionDate", "SeriesDate", "ContentDate")
OLDEST: Final = 130 * 12
PLACEHOLDERS: Final = {
    *(date(1, 1, 1), date(1600, 1, 1), date(1601, 1, 1), date(1753, 1, 1), date(1800, 1, 1), date(1858, 11, 17)),
    *(date(1899, 12, 30), date(1899, 12, 31), date(1900, 1, 1), date(1901, 1, 1), date(1904, 1, 1), date(1970, 1, 1)),
    *(date(1111, 11, 11), date(9999, 12, 31)),
}
"""The first days of calendars and clocks, and what a form is filled with where nobody knows the birth date."""
ADULT: Final = 20 * 12
"""Months from which a reading is refused: a placeholder is only told from a birth date where it makes an adult."""
CONTRADICTION: Final = 13.0
"""PatientAge in whole years may lie a year below the age that the dates give, and a month of rounding."""

PATIENT: Final = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge")
STUDY: Final = ("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName", "StudyDescription")
IMAGE: Final = ("Modality", "VOILUTFunction", "BodyPartExamined")
TYPE_2: Final = {
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
}
"""Must be there, may be empty (PS3.3 C.7.1.1 and C.7.2.1)."""
SHAPES: Final = {
    "DA": re.compile(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"),
    "TM": re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?"),
    "AS": re.compile(r"\d{3}[DWMY]"),
    "CS": re.compile(r"[A-Z0-9 _]{1,16}"),
}
CR_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.1"
MULTI_FRAME: Final = {f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("7.1", "7.2", "7.3", "7.4", "12.1", "12.2")}
"""The classes that we read and that may hold several frames; others with several are in error."""
NO_DATE, NO_TIME = "19000101", "000000"
"""Of a radiograph without any date: a result must carry one, and the clock would make it different each time."""
UUID_ROOT: Final = "2.25"
LONGEST, LONGEST_ROOT = 64, 40
"""A UID has at most 64 characters (PS3.5 9.1): after the longest root and a dot, 23 digits of the hash are left."""
_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
_CARRIED = re.compile(r"[0-9.]{1,64}")
"""What archives take and compare as a string, although a component may not begin with a zero (PS3.5 9.1)."""


def sex_of(dataset: Any) -> Sex | None:
    """PatientSex where it says one sex (`SEXES`); other, blank, missing or two at once are None: never a guess."""
    sexes = {SEXES.get(each) for each in _words(dataset, "PatientSex")}
    return sexes.pop() if len(sexes) == 1 else None


def _words(dataset: Any, keyword: str) -> set[str]:
    """All values of an element, in capitals."""
    found = value(dataset, keyword)
    several = found if type(found).__name__ == "MultiValue" else [found]
    return {str(each).strip(" \0").upper() for each in several if each is not None} - {""}


def side_of(dataset: Any, assumed: list[str]) -> Side | None:
    """Which hand: ImageLaterality, Laterality, or what modifies the anatomic region.

    None where they are silent, say both hands, or contradict each other.
    """
    words = _words(dataset, "ImageLaterality") | _words(dataset, "Laterality")
    sides = {SIDES[side] for side in words if side in SIDES}
    if len(sides) == 2:
        assumed.append("ImageLaterality and Laterality contradict each other; the side counts as unknown")
        return None
    modified = {SIDE_MODIFIERS[modifier] for modifier in region_modifiers(dataset) if modifier in SIDE_MODIFIERS}
    if len(sides) == len(modified) == 1 and sides != modified:
        assumed.append("the laterality and the anatomic region contradict each other; the side counts as unknown")
        return None
    if words - {"U", *SIDES}:
        assumed.append("the laterality says neither left nor right")
        return sides.pop() if len(sides) == 1 else None
    both = sides | modified
    return both.pop() if len(both) == 1 else None


def exam_of(dataset: Any, assumed: list[str]) -> Exam:
    """All that the header states of the examination; malformed values become None with a warning without the value."""
    birth, study = _date(dataset, "PatientBirthDate", assumed), _first_date(dataset, assumed)
    uid = text(dataset, "SOPInstanceUID")
    age, believed = _age(birth, study, dataset, assumed)
    birth = birth if believed else None  # nobody shall compute an age from it after all
    return Exam(uid or None, study, birth, age, side_of(dataset, assumed), square_scale(dataset, []))


def _first_date(dataset: Any, assumed: list[str]) -> date | None:
    dates = (_date(dataset, keyword, assumed) for keyword in STUDY_DATES)
    return next((found for found in dates if found), None)


def _date(dataset: Any, keyword: str, assumed: list[str]) -> date | None:
    """A DA as a date, also written 2010.04.01, 2010-04-01 or 2010/4/1; of a DT the day."""
    stated = text(dataset, keyword)
    if not stated:
        return None
    found = re.match(r"(\d{4})([./ -]?)(\d{1,2})\2(\d{1,2})", stated)
    try:
        if found is None or (not found[2] and not re.match(r"\d{8}", stated)):
            raise ValueError
        return date(int(found[1]), int(found[3]), int(found[4]))
    except ValueError:
        assumed.append(f"{keyword} is malformed and was not used")
        return None


def _age(birth: date | None, study: date | None, dataset: Any, assumed: list[str]) -> tuple[float | None, bool]:
    """Months on the day of the study: from the two dates, else PatientAge (nnnD, nnnW, nnnM or nnnY).

    With it whether the birth date is believed.

    Where the two disagree nobody knows which is wrong, so the age is unknown: a placeholder for a birth date makes an
    adult of every child. Without PatientAge, a known placeholder that would make an adult counts as none.
    """
    age = word(dataset, "PatientAge")
    stated = _stated_age(age)
    if age and stated is None:
        assumed.append("PatientAge is malformed and was not used")
    if birth is None or study is None:
        return stated, True
    months = (study - birth).days / DAYS_A_MONTH
    if stated is not None and not -1 <= months - stated <= CONTRADICTION:
        assumed.append("PatientAge contradicts the dates of birth and study; the age counts as unknown")
        return None, False
    if not 0 <= months <= OLDEST:
        assumed.append("the birth date lies after the study, or a life before it, and was not used")
        return stated, False
    if stated is None and birth in PLACEHOLDERS and months >= ADULT:
        assumed.append("the birth date is a usual placeholder and was not used; the age counts as unknown")
        return None, False
    return months, True


def _stated_age(age: str) -> float | None:
    if len(age) < 2 or age[-1] not in MONTHS or not age[:-1].isdecimal():
        return None
    months = int(age[:-1]) * MONTHS[age[-1]]
    return months if months <= OLDEST else None


def header_of(found: Any, sha256: str, exam: Exam, readable: bool) -> Header:
    """The header of a data set that `header.repair` went through; `readable` says that it could repair it.

    `sha256` is the file's. Raises whatever pydicom raises for a data set that is damaged.
    """
    from pydicom import Dataset

    assumed: list[str] = []
    header = Dataset()
    for keyword in (*PATIENT, *STUDY, *IMAGE):
        _copy_text(found, header, keyword, assumed)
    header.SpecificCharacterSet = _character_set(header)
    unfit = _copy_uids(found, header, sha256, assumed)
    _copy_shape(found, header, readable)
    _copy_tables(found, header)
    day = _first(found, ("AcquisitionDate", "ContentDate", "SeriesDate", "StudyDate"), "DA")
    time = _first(found, ("AcquisitionTime", "ContentTime", "SeriesTime", "StudyTime"), "TM")
    if day is None:
        assumed.append("the file states no date; the results carry 1 January 1900")
        day, time = NO_DATE, NO_TIME
    several = int(header.get("NumberOfFrames", 1)) > 1
    frame = 1 if several and str(header.SOPClassUID) in MULTI_FRAME else None
    return Header(header, sha256, day, time or NO_TIME, exam, frame, tuple(assumed), unfit)


def _copy_text(found: Any, header: Any, keyword: str, assumed: list[str]) -> None:
    """One value: names, numbers and texts as they stand, however long; what no object can carry becomes empty.

    That is a date, time, age or code of a wrong form, a sex that is none, and several names in place of one.
    """
    from pydicom.datadict import dictionary_VR

    vr = str(dictionary_VR(keyword))
    given = text(found, keyword) if keyword in IMAGE else stated(found, keyword)
    several_names = vr == "PN" and "\\" in given
    if given and (not _fits(given, vr) or several_names or (keyword == "PatientSex" and given not in ("M", "F", "O"))):
        assumed.append(f"{keyword} is malformed; the results carry it empty")
        given = ""
    if given or keyword in TYPE_2:
        setattr(header, keyword, given)


def _character_set(header: Any) -> str:
    """Latin 1, which every viewer knows, or UTF-8 where the patient's name needs it."""
    try:
        "".join(stated(header, keyword) for keyword in (*PATIENT, *STUDY)).encode("latin-1")
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


def _copy_uids(found: Any, header: Any, digest: str, assumed: list[str]) -> str:
    """UIDs as they stand. Returns the keyword of one that is stated and that nothing can carry; "" for none."""
    unfit = ""
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        uid, stored = stated(found, keyword), _stored(found, keyword)
        if can_carry(uid):
            if not is_uid(uid):
                assumed.append(f"{keyword} breaks a rule of UIDs; the results carry it as it stands")
        elif stored:
            uid = stored
            assumed.append(f"{keyword} is missing or malformed; that of the file's meta information was taken")
        elif uid:
            unfit = keyword
            assumed.append(f"{keyword} is malformed and nothing can carry it; no object refers to the radiograph")
        else:
            uid = from_parts((digest, keyword))
            assumed.append(f"{keyword} is missing; one was derived from the file's content")
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
    return unfit


def _stored(found: Any, keyword: str) -> str:
    """Class or instance UID outside the data set, under which an archive knows the file; "" for none or another."""
    uid = text(getattr(found, "file_meta", {}), f"MediaStorage{keyword}")
    return uid if can_carry(uid) else ""


def _copy_shape(found: Any, header: Any, readable: bool) -> None:
    """Rows, columns and frames as `header.repair` left them for decoding; 0 where they cannot be known."""
    header.Rows, header.Columns = (found.Rows, found.Columns) if readable else (0, 0)
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
        except Exception:  # absent, or damaged in one of the many ways in which a table can be
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


def is_uid(text: str) -> bool:
    """True for digits and dots as PS3.5 9.1 wants them: no leading zeros, at most 64 characters."""
    return len(text) <= LONGEST and _UID.fullmatch(text) is not None


def can_carry(text: str) -> bool:
    """True for digits and dots, at most 64 characters: what passes as it stands, with leading zeros too."""
    return _CARRIED.fullmatch(text) is not None


def check_uid_root(root: str | None) -> str:
    """The root to use: the one given or 2.25. Raises ConfigError for one that is no UID, or too long."""
    if root is None:
        return UUID_ROOT
    if not is_uid(root) or len(root) > LONGEST_ROOT:
        raise ConfigError(
            f"A UID root is digits and dots, at most {LONGEST_ROOT} characters - got {root!r} - "
            f"give your organisation's, or none for {UUID_ROOT}"
        )
    return root


def from_parts(parts: tuple[str, ...], uid_root: str | None = None) -> str:
    """A UID that depends on these strings only. Raises ConfigError for a wrong root."""
    digest = hashlib.sha256("\n".join(parts).encode()).digest()
    root, number = check_uid_root(uid_root), uuid.UUID(bytes=digest[:16], version=5).int
    return f"{root}.{number % 10 ** (LONGEST - len(root) - 1)}"


INSIDE: Final = 0.2
"""A window that holds fewer pixels than this share is taken for a mistake."""
LEAST_SHOWN: Final = 0.05
"""A padding value that leaves fewer pixels than this share is taken for a mistake."""
APART: Final = 0.05
"""Padding so far beyond the grey range, in shares of it, can be nothing else; nearer, only what lies along an edge."""
FEWEST_BITS: Final = 8
"""A header that says fewer is wrong where the values need more: no radiograph has 128 grey values."""
WRAPS: Final = 1 / 8
"""Where a value runs over into the next bit, the bits below it wrap: by all of their range, where steps are small, by a
third of it where they are large. An overlay's edge leaves them as they are, within noise of a few hundredths."""


def find_padding(
    stored_HW: NDArray[Any], dataset: Any, assumed: list[str]
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """The stored values with their median for padding (PS3.3 C.7.5.1.1.2), and where that was; None for nowhere.

    The value may be written signed or not, and with or without the bits above BitsStored. Padding within or next to the
    range of the other values counts only where it reaches an edge of the picture in a straight line: the brightest bone
    may have its value.
    """
    first, last = number(dataset, "PixelPaddingValue"), number(dataset, "PixelPaddingRangeLimit")
    if first is None:
        return stored_HW, None
    bits, kind = int(dataset.BitsStored), np.iinfo(stored_HW.dtype)
    for width, values_HW in ((kind.bits, stored_HW), (bits, _cut(stored_HW, bits))):  # as written, then cut
        ends = (_wrapped(end, width, kind.min < 0) for end in (first, first if last is None else last))
        low, high = sorted(ends)
        padding_HW = (values_HW >= low) & (values_HW <= high)
        if not padding_HW.any():
            continue
        if np.mean(padding_HW) > 1 - LEAST_SHOWN:
            assumed.append("the padding value of the file would hide nearly all of the picture and was not used")
            return stored_HW, None
        others = values_HW[~padding_HW]
        least, most = int(others.min()), int(others.max())
        if max(least - high, low - most) <= APART * (most - least):
            padding_HW = _along_edges(padding_HW)
        if padding_HW.any():
            middle = np.median(stored_HW[~padding_HW]).astype(stored_HW.dtype)
            return np.where(padding_HW, middle, stored_HW), padding_HW
    return stored_HW, None


def _wrapped(number: int, bits: int, signed: bool) -> int:
    """A number of any sign as `bits` bits hold it."""
    number %= 1 << bits
    return number - (1 << bits) if signed and number >> (bits - 1) else number


def _along_edges(inside_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of these pixels those from which a straight line of them, up, down, left or right, leads to the edge."""
    run = np.logical_and.accumulate
    rows = run(inside_HW, axis=1) | run(inside_HW[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(rows | run(inside_HW, axis=0) | run(inside_HW[::-1], axis=0)[::-1])


def own_bits(stored_HW: NDArray[Any], bits: int, high_bit: int, assumed: list[str]) -> NDArray[Any]:
    """The values without what stands above their `bits` stored bits, which may be anything (PS3.5 8.1.1).

    Old files keep overlays there. A header may also say too few bits: the next one belongs to the values where those
    below wrap as it changes (`WRAPS`), and none belongs beyond one that never changes. `high_bit` above `bits` - 1 says
    that the values stand further up, which loses nothing.
    """
    width = 8 * stored_HW.dtype.itemsize
    if bits >= width or np.array_equal(cut_HW := _cut(stored_HW, bits), stored_HW):
        return stored_HW
    enough = min(max(bits, FEWEST_BITS), width)
    while enough < width and (goes_on := _goes_on(stored_HW, enough)):
        enough += 1
    cut_HW = _cut(stored_HW, enough)
    if enough > bits and enough != high_bit + 1:
        needed = max(int(abs(end)).bit_length() for end in (int(cut_HW.min()), int(cut_HW.max())))
        assumed.append(f"the header says {bits} bits, the pixel data hold {needed + int(cut_HW.dtype.kind == 'i')}")
    elif enough < width and goes_on is False:
        assumed.append(f"the bits above the {enough} stored ones do not go on with the values and were not used")
    return cut_HW


def _cut(stored_HW: NDArray[Any], bits: int) -> NDArray[Any]:
    """The lowest bits of each value, the topmost of them the sign where the values have one."""
    shift = 8 * stored_HW.dtype.itemsize - bits
    return np.right_shift(np.left_shift(stored_HW, shift), shift) if shift > 0 else stored_HW


def _goes_on(stored_HW: NDArray[Any], bits: int) -> bool | None:
    """Whether the bit above the lowest `bits` belongs to the values; None where it is 0, the sign, or never changes."""
    next_HW = stored_HW >> bits & 1
    if not next_HW.any() or (stored_HW.dtype.kind == "i" and np.array_equal(next_HW, stored_HW >> (bits - 1) & 1)):
        return None
    below_HW = _cut(stored_HW, bits).astype(np.int32)
    above_HW = (stored_HW.astype(np.int32) - below_HW) >> bits & 1
    steps = []
    for axis in (0, 1):
        changes = np.diff(above_HW, axis=axis) != 0
        steps.append(np.abs(np.diff(below_HW, axis=axis))[changes])
    steps_N = np.concatenate(steps)
    return None if not steps_N.size else bool(np.median(steps_N) >= WRAPS * 2**bits)


def from_palette(index_HW: NDArray[Any], dataset: Any, name: str, assumed: list[str]) -> NDArray[Any]:
    """PALETTE COLOR as grey: the palette's own values where it is grey, else by luminance. Raises UnsuitableImage."""
    from pydicom.pixels.processing import apply_color_lut

    try:
        rgb_HWC = apply_color_lut(index_HW, dataset)
    except Exception:  # tables that are absent or damaged in one of many ways
        raise UnsuitableImage(f"{name}: its palette (PALETTE COLOR) is damaged. Export it as grey") from None
    if (rgb_HWC == rgb_HWC[..., :1]).all():
        return np.ascontiguousarray(rgb_HWC[..., 0])
    top = max(int(rgb_HWC.max()), 1)
    scaled_HWC = rgb_HWC if rgb_HWC.dtype == np.uint8 else np.rint(rgb_HWC * (255 / top)).astype(np.uint8)
    return to_grey(Image.fromarray(scaled_HWC), assumed)


def modality(stored_HW: NDArray[Any], dataset: Any, assumed: list[str]) -> NDArray[Any]:
    """Stored values to the modality's own: by a table, by slope (of either sign) and intercept, or as they are."""
    if sequence := value(dataset, "ModalityLUTSequence"):
        return _table(stored_HW, sequence, "modality", assumed)
    slope, intercept = (real(dataset, keyword) for keyword in ("RescaleSlope", "RescaleIntercept"))
    if slope is None and intercept is None:
        if "RescaleSlope" in dataset or "RescaleIntercept" in dataset:
            assumed.append("the rescale slope and intercept are empty or malformed and were not used")
        return stored_HW
    if slope == 0:
        assumed.append("the rescale slope is 0 and was not used")
        return stored_HW
    if slope is None or intercept is None:
        assumed.append("the rescale slope or the intercept is missing; 1 or 0 was assumed")
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    if (slope, intercept) == (1.0, 0.0):
        return stored_HW
    return stored_HW.astype(np.float64) * slope + intercept


def voi(values_HW: NDArray[Any], dataset: Any, assumed: list[str]) -> NDArray[Any]:
    """The values of interest: by a table where the file has one, else by its first window."""
    if sequence := value(dataset, "VOILUTSequence"):
        return _table(values_HW, sequence, "VOI", assumed)
    centre, width = real(dataset, "WindowCenter"), real(dataset, "WindowWidth")
    if centre is None or width is None:
        return values_HW
    function = word(dataset, "VOILUTFunction") or "LINEAR"
    linear = function == "LINEAR"  # PS3.3 C.11.2.1.2.1; the other functions have neither of these offsets
    middle, half = centre - 0.5 * linear, (width - linear) / 2
    low, high = middle - half, middle + half
    if half <= 0 or np.mean((values_HW > low) & (values_HW < high)) < INSIDE:
        assumed.append("the window of the file would hide nearly all of the picture and was not used")
        return values_HW
    if function == "SIGMOID":
        exponent_HW = np.clip(-4 * (values_HW.astype(np.float64) - centre) / width, -50, 50)
        return np.asarray(np.rint(65535 / (1 + np.exp(exponent_HW))))
    # The ramp between is left out, for `preprocess` stretches the grey values anyway.
    return np.asarray(np.clip(values_HW, max(math.ceil(low), values_HW.min()), min(math.floor(high), values_HW.max())))


class Table(NamedTuple):
    """A lookup table: the value of each entry, and the input that the first entry is for (PS3.3 C.11.1.1)."""

    entries: NDArray[Any]
    first: int
    bits: int


def read_table(item: Any) -> Table:
    """One item of a LUT sequence. Ours, because pydicom 3.0 wraps 12-bit values in an 8-bit table.

    A damaged one raises what pydicom's converters and numpy meet.
    """
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    count = count or 2**16
    if isinstance(item.LUTData, bytes):
        packed = bits == 8 and len(item.LUTData) < 2 * count
        word_type = ">u2" if item.original_encoding[1] is False else "<u2"
        entries = np.frombuffer(item.LUTData, np.uint8 if packed else word_type)
    else:
        entries = np.atleast_1d(np.asarray(item.LUTData, np.uint16))
    return Table(entries[:count], first, bits)


def _table(values_HW: NDArray[Any], sequence: Any, name: str, assumed: list[str]) -> NDArray[Any]:
    try:
        table = read_table(sequence[0])
        index_HW = np.clip(np.rint(values_HW).astype(np.int64) - table.first, 0, table.entries.size - 1)
        found_HW = np.asarray(table.entries[index_HW])
    except Exception:  # a broken table raises what pydicom's converters meet
        assumed.append(f"the {name} lookup table is damaged and was not used")
        return values_HW
    if found_HW.min() == found_HW.max():
        assumed.append(f"the {name} lookup table makes everything one grey and was not used")
        return values_HW
    return found_HW
