"""Stored values to grey, in the order of PS3.3 C.11 and PS3.4 N.2: modality, then VOI; polarity comes last, elsewhere.

Every step is skipped, and told, where the header's own numbers make no sense: a radiograph without it is still one.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from carpal.imaging.header import real, value, word

INSIDE: Final = 0.2
"""A window that holds fewer pixels than this share is taken for a mistake."""


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
