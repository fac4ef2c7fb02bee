"""What a DICOM header says of its pixels and of the examination, tolerantly: a mistake becomes an assumption, told.

`repair` changes the data set so that a decoder can use it; `notices` reports what else the file holds. No message
carries a value that may describe the patient.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

from carpal.errors import UnreadableImage, UnsuitableImage
from carpal.imaging.codestream import Coded, describe
from carpal.imaging.raster import check_size

GREY: Final = ("MONOCHROME1", "MONOCHROME2")
COLOUR: Final = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
PALETTE: Final = "PALETTE COLOR"
PALETTE_TABLES: Final = {0x1201, 0x1221}
"""(0028,1201) and (0028,1221): the red table, whole or in segments."""
IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT: Final = {True: "1.2.840.10008.1.2.1", False: "1.2.840.10008.1.2.2"}
_JPEG: Final = "1.2.840.10008.1.2.4."
FAMILIES: Final = {
    "JPEG": {f"{_JPEG}50", f"{_JPEG}51"},
    "lossless JPEG": {f"{_JPEG}57", f"{_JPEG}70"},
    "JPEG-LS": {f"{_JPEG}80", f"{_JPEG}81"},
    "JPEG 2000": {f"{_JPEG}{end}" for end in ("90", "91", "201", "202", "203")},
    "RLE": {"1.2.840.10008.1.2.5"},
}
ITEM: Final = b"\xfe\xff\x00\xe0"
"""Encapsulated pixel data begin with an item (PS3.5 A.4)."""
IMAGE_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
RADIOGRAPHS: Final = {f"{IMAGE_STORAGE}{end}" for end in ("1", "1.1", "1.1.1", "12.2")}
"""Computed Radiography, Digital X-Ray for presentation and for processing, X-Ray Radiofluoroscopic."""
CAPTURES: Final = {f"{IMAGE_STORAGE}{end}" for end in ("7", "7.1", "7.2", "7.3", "7.4")}
"""Secondary Capture holds anything: the modality decides."""
RADIOGRAPH_MODALITIES: Final = {"CR", "DX", "RF", "RG"}
OPEN_MODALITIES: Final = {"", "OT", "SC", "XC"}
HAND: Final = re.compile(
    "(LEFT|RIGHT|BOTH|LT|RT|LI|RE|L|R)?"
    "(HANDS?|HAENDE|HANDGELENK|HANDWURZEL|WRISTS?|CARPUS|CARPAL|METACARPUS|FINGERS?|THUMBS?|MAIN|MANO"
    "|FOREARM|ARM|EXTREMITY|UPPEREXTREMITY|BONEAGE)"
    "(LEFT|RIGHT|LT|RT|LI|RE|L|R|PA|AP)*"
)
"""A word that names a hand, or what a hand may be called with; some makers write side and projection into it: LHAND."""
LEGS: Final = {"LOWER", "LOWEREXTREMITY", "LEG", "LEGS"}
HAND_CODES: Final = {
    *("85562004", "8205005", "7569003", "76505004", "83936004", "14975008", "53120007", "40983000", "38266002"),
    *("T-D8700", "T-D8600", "T-D8800", "T-D8810", "T-D8500", "T-D8000"),
}
"""Hand, wrist, finger, thumb, forearm and upper limb in SNOMED CT, and in its older form of letters."""
SQUARE: Final = 0.01
"""Pixels whose sides differ by less are square: that is what two rounded spacings may differ by."""
NARROWEST: Final = 0.25
"""Pixels four times longer than wide are a mistake of the header; film scanners and fluoroscopes stay below two."""
SPACINGS: Final = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
"""Each the vertical distance, then the horizontal one (PS3.3 10.7.1.3, C.7.6.3.1.7); the first that is valid counts."""


def value(dataset: Any, keyword: str) -> Any:
    """An element's value; None where it is absent, empty or cannot be converted."""
    try:
        found = dataset.get(keyword)
    except Exception:  # pydicom converts on access, and raises what its converters meet
        return None
    return None if found is None or found == "" else found


def real(dataset: Any, keyword: str) -> float | None:
    """A finite number, also where it came as text or as the first of several; None for everything else."""
    found = value(dataset, keyword)
    try:
        if type(found).__name__ == "MultiValue" or isinstance(found, (list, tuple)):
            found = found[0]
        number = float(found)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def number(dataset: Any, keyword: str) -> int | None:
    """A whole number, as `real` finds it."""
    found = real(dataset, keyword)
    return None if found is None else int(found)


def text(dataset: Any, keyword: str) -> str:
    """A value as text without its padding, the first of several; "" where there is none."""
    found = value(dataset, keyword)
    if type(found).__name__ == "MultiValue":
        found = found[0] if found else ""
    return "" if found is None else str(found).strip(" \0")


def stated(dataset: Any, keyword: str) -> str:
    """A value as text without its padding, several with a backslash between them, as in the file."""
    found = value(dataset, keyword)
    if type(found).__name__ == "MultiValue":
        return "\\".join("" if one is None else str(one).strip(" \0") for one in found)
    return "" if found is None else str(found).strip(" \0")


def word(dataset: Any, keyword: str) -> str:
    """A code string in capitals; "" where there is none."""
    return text(dataset, keyword).upper()


def check_kind(dataset: Any, name: str) -> list[str]:
    """Refuses what neither class nor modality calls a radiograph (CT, MR, ultrasound); warns where they disagree."""
    sop_class, modality = text(dataset, "SOPClassUID"), word(dataset, "Modality")
    votes = []
    if sop_class in RADIOGRAPHS or (sop_class.startswith(IMAGE_STORAGE) and sop_class not in CAPTURES):
        votes.append(sop_class in RADIOGRAPHS)
    if modality not in OPEN_MODALITIES:
        votes.append(modality in RADIOGRAPH_MODALITIES)
    if votes and not any(votes):
        raise UnsuitableImage(
            f"{name}: not a radiograph - neither its class nor its modality is CR, DX, RF or a secondary capture. "
            "Give the radiograph of the hand"
        )
    if not all(votes):
        return ["the file's class and its modality disagree about whether it is a radiograph; it was read as one"]
    return [] if sop_class else ["the file states no SOP class; it was read as a radiograph"]


def repair(dataset: Any, name: str) -> list[str]:
    """Makes rows, columns, frames, samples, bits and photometric interpretation fit the pixel data.

    Returns what was assumed. Raises UnreadableImage where the pixel data cannot be understood, UnsuitableImage where
    they can and are of a kind or size that we do not read.
    """
    if "PixelData" not in dataset:
        raise UnreadableImage(
            f"{name}: this DICOM object holds no picture (no PixelData). Give the image itself, not its report or state"
        )
    assumed: list[str] = []
    coded = _coded(dataset)
    _settle_syntax(dataset, coded, assumed)
    if coded is None:
        _native(dataset, name, assumed)
    else:
        _encapsulated(dataset, coded, name, assumed)
    _repair_photometric(dataset, assumed)
    _repair_stored_bits(dataset, coded, assumed)
    if number(dataset, "PixelRepresentation") not in (0, 1):
        dataset.PixelRepresentation = 0
        assumed.append("the file does not say whether its values have a sign; they were taken as having none")
    return assumed


def _coded(dataset: Any) -> Coded | None:
    """What the first compressed frame says of itself; None for uncompressed pixel data."""
    data = bytes(dataset.PixelData or b"")
    if not data.startswith(ITEM):
        return None
    from pydicom.encaps import generate_fragments

    fragments = [fragment for fragment, _ in zip(generate_fragments(data), range(4), strict=False)]
    return next(
        (found for fragment in fragments[1:] if (found := describe(fragment))), Coded(None, None, None, None, None)
    )


def _settle_syntax(dataset: Any, coded: Coded | None, assumed: list[str]) -> None:
    """Pixel data tell by themselves whether and how they are compressed: a transfer syntax that differs is replaced."""
    stated = dataset.file_meta.get("TransferSyntaxUID")
    if coded is None:
        if stated is None or stated.is_private or not stated.is_transfer_syntax or stated.is_encapsulated:
            is_implicit, is_little = dataset.original_encoding
            dataset.file_meta.TransferSyntaxUID = IMPLICIT_LITTLE if is_implicit else EXPLICIT[is_little is not False]
            said = "no transfer syntax" if stated is None else "a transfer syntax that does not fit"
            assumed.append(f"the file states {said}; its pixels were taken as uncompressed")
    elif coded.syntax and family(coded.syntax) != family(str(stated)):
        dataset.file_meta.TransferSyntaxUID = coded.syntax
        assumed.append("the transfer syntax is missing or does not fit the compressed picture, whose own kind was used")


def family(syntax: str) -> str | None:
    """What one decoder reads: JPEG, lossless JPEG, JPEG-LS, JPEG 2000, RLE; None for every other transfer syntax."""
    return next((name for name, syntaxes in FAMILIES.items() if syntax in syntaxes), None)


def _encapsulated(dataset: Any, coded: Coded, name: str, assumed: list[str]) -> None:
    """The compressed picture knows its own size, samples and bits: where the header differs, the picture counts."""
    if coded.samples not in (None, 1, 3):
        raise _wrong_samples(name, coded.samples)
    stated = number(dataset, "SamplesPerPixel")
    if coded.samples and stated in (1, 3) and stated != coded.samples:
        dataset.SamplesPerPixel = coded.samples
        assumed.append(
            f"the header says {stated} sample(s) a pixel, the compressed picture {coded.samples}; the picture counts"
        )
        if coded.samples == 3 and coded.syntax and family(coded.syntax) == "JPEG":
            dataset.PhotometricInterpretation = "YBR_FULL_422"  # as nearly every colour JPEG; the decoder asks the JPEG
    _set_samples(dataset, assumed)
    rows, columns = number(dataset, "Rows") or 0, number(dataset, "Columns") or 0
    if coded.width and coded.height and (coded.width, coded.height) != (columns, rows):
        check_size(coded.width, coded.height, name)
        assumed.append(
            f"the header says {columns} x {rows} pixels, the compressed picture {coded.width} x {coded.height}; "
            "the picture counts"
        )
        rows, columns = coded.height, coded.width
    check_size(columns, rows, name)
    dataset.Rows, dataset.Columns = rows, columns
    frames = number(dataset, "NumberOfFrames")
    if "NumberOfFrames" in dataset and (frames is None or frames < 1 or frames > _fragments(dataset)):
        dataset.NumberOfFrames = 1
        assumed.append("the number of frames does not fit the pixel data; the first one was read")
    _repair_coded_bits(dataset, coded, name, assumed)


def _repair_coded_bits(dataset: Any, coded: Coded, name: str, assumed: list[str]) -> None:
    """Bits allocated and stored as the compressed picture has them; fewer stored ones than that may still be right."""
    allocated, stored = number(dataset, "BitsAllocated"), number(dataset, "BitsStored")
    if coded.bits is None or coded.bits > 16:
        if coded.bits is not None or allocated not in (8, 16):
            raise _wrong_bits(name, coded.bits or allocated)
        return
    dataset.BitsAllocated = 8 if coded.bits <= 8 else 16
    if allocated not in (8, 16):
        assumed.append(f"the bits of a sample are missing or wrong; the compressed picture has {coded.bits}")
    elif allocated < coded.bits or (stored is not None and coded.bits < stored <= allocated):
        said = allocated if allocated < coded.bits else stored
        assumed.append(f"the header says {said} bits, the compressed picture has {coded.bits}; the picture counts")
        dataset.BitsStored = coded.bits


def _fragments(dataset: Any) -> int:
    """How many pieces the compressed pixel data have: at least one for each frame, after the table of offsets."""
    from pydicom.encaps import generate_fragments

    return sum(1 for _ in generate_fragments(dataset.PixelData)) - 1


def _native(dataset: Any, name: str, assumed: list[str]) -> None:
    """Uncompressed: the length of the pixel data must come out of rows, columns, samples, bits and frames."""
    length, stated = len(dataset.PixelData or b""), number(dataset, "SamplesPerPixel") or 1
    samples = _set_samples(dataset, assumed)
    rows, columns = number(dataset, "Rows") or 0, number(dataset, "Columns") or 0
    bits = number(dataset, "BitsAllocated")
    if bits in (8, 16) and (rows > 0) != (columns > 0):
        other = length // (max(rows, columns) * samples * bits // 8)
        rows, columns = (rows, other) if rows > 0 else (other, columns)
        assumed.append("Rows or Columns is missing; it follows from the length of the pixel data")
    check_size(columns, rows, name)
    dataset.Rows, dataset.Columns = rows, columns
    if bits not in (8, 16):
        dataset.BitsAllocated = _guess_bits(length, rows * columns * samples, bits, name)
        assumed.append("the bits of a sample are missing or wrong; they follow from the length of the pixel data")
    frame = rows * columns * dataset.BitsAllocated // 8
    if samples == 3 and word(dataset, "PhotometricInterpretation") == "YBR_FULL_422" and length < 3 * frame:
        samples = 2  # in the data: two pixels share their colour (PS3.3 C.7.6.3.1.2)
    if samples > 1 and frame <= length < samples * frame:
        dataset.SamplesPerPixel = samples = 1
        assumed.append("the header says three samples a pixel, the pixel data hold one")
    if stated not in (1, 3) and length >= stated * frame:
        raise _wrong_samples(name, stated)
    frames = number(dataset, "NumberOfFrames")
    if "NumberOfFrames" in dataset and (
        frames is None or frames < 1 or frames * frame * samples > length >= frame * samples
    ):
        dataset.NumberOfFrames = 1
        assumed.append("the number of frames does not fit the pixel data; the first one was read")
    if length < frame * samples:
        raise UnreadableImage(
            f"{name}: the pixel data are damaged or incomplete - {length} bytes for {columns} x {rows} pixels of "
            f"{dataset.BitsAllocated} bits. Copy or export it again"
        )


def _set_samples(dataset: Any, assumed: list[str]) -> int:
    samples = number(dataset, "SamplesPerPixel")
    if samples not in (1, 3):
        samples = 3 if word(dataset, "PhotometricInterpretation") in COLOUR else 1
        assumed.append(f"the samples of a pixel are missing or wrong; {samples} was assumed")
    dataset.SamplesPerPixel = samples
    return samples


def _wrong_samples(name: str, samples: int | None) -> UnsuitableImage:
    return UnsuitableImage(f"{name}: the header claims {samples} samples a pixel; we read 1 or 3. Export it as grey")


def _guess_bits(length: int, values: int, stated: int | None, name: str) -> int:
    """8 or 16, whichever the length fits with at most one byte of padding."""
    for bits in (16, 8):
        if values * bits // 8 <= length <= values * bits // 8 + 1:
            return bits
    raise _wrong_bits(name, stated)


def _wrong_bits(name: str, stated: int | None) -> UnsuitableImage:
    return UnsuitableImage(
        f"{name}: {'an unknown number of' if stated is None else stated} bits a sample; we read 8 or 16. "
        "Export it so, or as PNG"
    )


def _repair_photometric(dataset: Any, assumed: list[str]) -> None:
    kind, samples = word(dataset, "PhotometricInterpretation"), int(dataset.SamplesPerPixel)
    if (
        kind == PALETTE
        and samples == 1
        and PALETTE_TABLES & {tag.element for tag in _tags(dataset) if tag.group == 0x28}
    ):
        return
    wanted = GREY if samples == 1 else COLOUR
    if kind not in wanted:
        kind = "MONOCHROME2" if samples == 1 else "RGB"
        assumed.append(f"the photometric interpretation is missing or does not fit; {kind} was assumed")
    dataset.PhotometricInterpretation = kind
    if samples == 3 and number(dataset, "PlanarConfiguration") not in (0, 1):
        dataset.PlanarConfiguration = 0


def _repair_stored_bits(dataset: Any, coded: Coded | None, assumed: list[str]) -> None:
    allocated, stored = int(dataset.BitsAllocated), number(dataset, "BitsStored")
    if stored is None or not 1 <= stored <= allocated:
        stored = coded.bits if coded is not None and coded.bits else allocated
        assumed.append(f"the stored bits are missing or wrong; {stored} were assumed")
    high = number(dataset, "HighBit")
    dataset.BitsStored = stored
    dataset.HighBit = high if high is not None and stored <= high < allocated else stored - 1


def _tags(dataset: Any) -> list[Any]:
    return list(dataset.keys())  # iterating over the data set itself would convert every element


def _overlay_groups(dataset: Any) -> list[int]:
    return sorted({tag.group for tag in _tags(dataset) if 0x6000 <= tag.group <= 0x601E and tag.group % 2 == 0})


def notices(dataset: Any) -> list[str]:
    """What a reader of the result should know of the file: burnt-in text, overlays, private data, another body part."""
    found = []
    if word(dataset, "BurnedInAnnotation") == "YES":
        found.append("the file says that text is burnt into the picture: it may name the patient")
    if groups := _overlay_groups(dataset):
        found.append(f"the file holds {len(groups)} overlay plane(s), which were not read")
    if private := sum(tag.is_private for tag in _tags(dataset)):
        found.append(f"the file holds {private} private elements, which were not read")
    region, meaning = region_of(dataset)
    part = word(dataset, "BodyPartExamined")
    if (part and not is_hand(part)) or (meaning and region not in HAND_CODES and not is_hand(meaning)):
        found.append("the file names another body part than a hand")
    return found


def is_hand(part: str) -> bool:
    """Whether a body part, as any institution writes it, may be a hand: "L HAND", "LHAND", "HAND_LEFT", "HAND AP".

    A word of it must fit `HAND`, or all words written together; nothing with a leg is a hand.
    """
    words = re.findall(r"[^\W_]+", part.upper())
    return any(HAND.fullmatch(word) for word in (*words, "".join(words))) and not LEGS & set(words)


def region_of(dataset: Any) -> tuple[str, str]:
    """Code and meaning of the first AnatomicRegionSequence item, which Digital X-Ray requires; "" for none."""
    item = _first_item(dataset, "AnatomicRegionSequence")
    return ("", "") if item is None else (text(item, "CodeValue"), text(item, "CodeMeaning"))


def region_modifiers(dataset: Any) -> set[str]:
    """Codes and meanings in capitals that modify the anatomic region: its side, for one."""
    item = _first_item(dataset, "AnatomicRegionSequence")
    modifiers = [] if item is None else value(item, "AnatomicRegionModifierSequence") or []
    return {word(each, keyword) for each in modifiers for keyword in ("CodeValue", "CodeMeaning")} - {""}


def _first_item(dataset: Any, keyword: str) -> Any:
    """The first item of a sequence; None where there is none."""
    try:
        return value(dataset, keyword)[0]
    except (TypeError, IndexError, KeyError, AttributeError):
        return None


def square_scale(dataset: Any, assumed: list[str]) -> tuple[float, float]:
    """How many square pixels a stored one is, across and down: (1, 1) nearly always, never less than 1.

    From the first of `SPACINGS` that holds two distances. A ratio that no device has is told and not used.
    """
    for keyword in SPACINGS:
        found = value(dataset, keyword)
        try:
            down, across = float(found[0]), float(found[1])
        except (TypeError, ValueError, IndexError, OverflowError):
            continue
        if not (math.isfinite(down) and math.isfinite(across) and min(down, across) > 0):
            continue
        if abs(down / across - 1) < SQUARE:
            return 1.0, 1.0
        if min(down / across, across / down) < NARROWEST:
            assumed.append(f"{keyword} says pixels of {down:g} x {across:g}, which no device has; they count as square")
            return 1.0, 1.0
        assumed.append(
            f"the pixels are not square ({keyword} {down:g} down, {across:g} across); the picture was re-sampled"
        )
        return max(across / down, 1.0), max(down / across, 1.0)
    return 1.0, 1.0
