"""The grey levels that a picture has: percentiles, what lies between two of them, and what a stretch left of it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LOW_PERCENTILE, HIGH_PERCENTILE = 1.0, 99.0
ROUNDED: Final = 0.5 + 1e-6
"""How far rounding moves a level."""


def percentiles(pixels_HW: NDArray[Any], quantiles: tuple[float, float]) -> tuple[float, float]:
    """The grey values (lower ones, so that they are values that occur) at the given percentiles."""
    if pixels_HW.dtype in (np.uint8, np.uint16):  # by histogram: twenty times faster than sorting
        cumulative = np.cumsum(np.bincount(pixels_HW.ravel()))
        low, high = (np.searchsorted(cumulative, cumulative[-1] * q / 100) for q in quantiles)
    else:
        low, high = np.percentile(pixels_HW, quantiles, method="lower")
    return float(low), float(high)


def cut(pixels_HW: NDArray[Any]) -> NDArray[np.float32]:
    """Grey values (float32) cut at the picture's own percentiles: what a copy stretched between them still holds.

    A part of the picture whose contrast is measured anew is then the same in the radiograph and in such a copy.
    """
    even_HW = unround(pixels_HW)
    low, high = percentiles(even_HW, (LOW_PERCENTILE, HIGH_PERCENTILE))
    return np.asarray(np.clip(even_HW, low, high), np.float32)


def unround(pixels_HW: NDArray[Any]) -> NDArray[Any]:
    """8-bit grey values, cut at the percentiles, as they were before a stretch spread them over more levels.

    A copy stretched to 0..255 has gaps where the radiograph had none, since its values were rounded: 0, 1, 2, 3 became
    0, 1.4, 2.8, 4.2 and then 0, 1, 3, 4. The radiograph's values come back from the widest even spacing that all levels
    fit; factor and offset are taken out by `preprocess.stretch`. Where no gaps are, the spacing is one and nothing
    changes but the cut; after a gamma curve no wider one fits. More than 8 bits are left as they are.
    """
    if pixels_HW.dtype != np.uint8:
        return pixels_HW
    low, high = (int(value) for value in percentiles(pixels_HW, (LOW_PERCENTILE, HIGH_PERCENTILE)))
    cut_HW = np.clip(pixels_HW, low, high)
    occurs_L = np.flatnonzero(np.bincount(cut_HW.ravel()))
    number: NDArray[np.uint8] = np.zeros(256, np.uint8)
    number[occurs_L] = _numbers(occurs_L - low)
    return np.asarray(number[cut_HW])


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
