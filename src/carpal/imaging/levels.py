"""The grey levels that a picture has: percentiles, what lies between two of them, and what a stretch left of it.

Grey values of 8 and 16 bits are counted once; all else follows from the counts. Letters: L = levels, from 0 up.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LOW_PERCENTILE, HIGH_PERCENTILE = 1.0, 99.0
ENDS: Final = (LOW_PERCENTILE, HIGH_PERCENTILE)
ROUNDED: Final = 0.5 + 1e-6
"""How far rounding moves a level."""
CHUNK: Final = 2**18
"""Pixels counted at a time: `np.bincount` makes integers of eight bytes of them."""

Counts = NDArray[np.int64]


def count(pixels_HW: NDArray[Any]) -> Counts | None:
    """How often each level occurs, up to the largest that does; None where the pixels are not of 8 or 16 bits."""
    if pixels_HW.dtype == np.uint8:
        counts_L = np.array(Image.fromarray(pixels_HW).histogram(), np.int64)
        return counts_L[: int(np.flatnonzero(counts_L)[-1]) + 1]
    if pixels_HW.dtype != np.uint16:
        return None
    pixels_N = pixels_HW.ravel()
    counts_L = np.zeros(int(pixels_N.max()) + 1, np.int64)
    for first in range(0, len(pixels_N), CHUNK):
        part_L = np.bincount(pixels_N[first : first + CHUNK])
        counts_L[: len(part_L)] += part_L
    return counts_L


def percentiles(
    pixels_HW: NDArray[Any], quantiles: tuple[float, float], counts_L: Counts | None = None
) -> tuple[float, float]:
    """The grey values (lower ones, so that they are values that occur) at the given percentiles.

    `counts_L` are those of the pixels where they are known already.
    """
    counts_L = count(pixels_HW) if counts_L is None else counts_L
    if counts_L is None:
        low, high = np.percentile(pixels_HW, quantiles, method="lower")
    else:
        low, high = at(counts_L, quantiles)
    return float(low), float(high)


def at(counts_L: Counts, quantiles: tuple[float, float]) -> tuple[int, int]:
    """The levels at the given percentiles, values that occur."""
    cumulative_L = np.cumsum(counts_L)
    low, high = (int(np.searchsorted(cumulative_L, cumulative_L[-1] * q / 100)) for q in quantiles)
    return low, high


def different(pixels_HW: NDArray[Any], counts_L: Counts | None = None) -> int:
    """How many grey values there are between the 1st and the 99th percentile, interpolated as numpy does."""
    counts_L = count(pixels_HW) if counts_L is None else counts_L
    if counts_L is None:
        low, high = np.percentile(pixels_HW, ENDS)
        return len(np.unique(pixels_HW[(pixels_HW >= low) & (pixels_HW <= high)]))
    low, high = (_interpolated(np.cumsum(counts_L), percent) for percent in ENDS)
    return int(np.count_nonzero(counts_L[math.ceil(low) : math.floor(high) + 1]))


def _interpolated(cumulative_L: Counts, percent: float) -> float:
    """`np.percentile` of what was counted."""
    last = int(cumulative_L[-1]) - 1
    place = last * (percent / 100)
    first, share = math.floor(place), place - math.floor(place)
    below, above = (int(np.searchsorted(cumulative_L, i, "right")) for i in (first, min(first + 1, last)))
    apart = above - below
    return below + apart * share if share < 0.5 else above - apart * (1 - share)


def between(pixels_HW: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    """The pixels as float32, none below `low` or above `high`."""
    grey_HW = pixels_HW.astype(np.float32)
    return np.clip(grey_HW, low, high, out=grey_HW)


def unround(pixels_HW: NDArray[Any], counts_L: Counts | None = None) -> NDArray[Any]:
    """8-bit grey values, cut at the percentiles, as they were before a stretch spread them over more levels.

    A copy stretched to 0..255 has gaps where the radiograph had none, since its values were rounded: 0, 1, 2, 3 became
    0, 1.4, 2.8, 4.2 and then 0, 1, 3, 4. The radiograph's values come back from the widest even spacing that all levels
    fit; factor and offset are taken out by `Original.stretched`. Where no gaps are, the spacing is one and nothing
    changes but the cut; after a gamma curve no wider one fits. More than 8 bits are left as they are.
    """
    if pixels_HW.dtype != np.uint8:
        return pixels_HW
    counts_L = count(pixels_HW) if counts_L is None else counts_L
    assert counts_L is not None, "8 bits are counted"
    return np.asarray(Image.fromarray(pixels_HW).point(unrounding(counts_L).tolist()))


def unrounding(counts_L: Counts) -> NDArray[np.uint8]:
    """What `unround` makes of each of the 256 levels of a picture with these counts."""
    low, high = at(counts_L, ENDS)
    occurs_L = low + np.flatnonzero(counts_L[low : high + 1])
    number_L: NDArray[np.uint8] = np.zeros(256, np.uint8)
    number_L[occurs_L] = _numbers(occurs_L - low)
    return number_L[np.clip(np.arange(256), low, high)]


def renumbered(counts_L: Counts, number_L: NDArray[np.uint8]) -> Counts:
    """The counts of a picture whose levels became others."""
    return np.bincount(number_L[: len(counts_L)], weights=counts_L).astype(np.int64)


def _numbers(levels_L: NDArray[Any]) -> NDArray[Any]:
    """The numbers of rising levels, the first of them 0, in the widest even spacing that none is far from.

    Each level has a number of its own; a level that does not occur may have one, too.
    """
    for steps in range(len(levels_L) - 1, levels_L[-1]):
        spacing = levels_L[-1] / steps
        for offset in (0.0, -0.5):  # rounded, or cut off
            number_L = np.rint((levels_L - offset) / spacing)
            away_L = np.abs(number_L * spacing + offset - levels_L)
            if away_L.max() <= ROUNDED and len(np.unique(number_L)) == len(levels_L):
                return np.asarray(number_L)
    return levels_L
