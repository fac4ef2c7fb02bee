"""Stored values to grey: padding and foreign bits out, then PS3.3 C.11 and PS3.4 N.2: modality, VOI; polarity is last.

Every step is skipped, and told, where the header's own numbers make no sense: a radiograph without it is still one.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from carpal.errors import UnsuitableImage
from carpal.imaging.header import number, real, value, word
from carpal.imaging.raster import to_grey

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
