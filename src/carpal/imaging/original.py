"""A radiograph's own pixels, and what the steps of a reading ask of them: each is measured once, though several ask."""

from __future__ import annotations

from functools import cached_property, partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from carpal.imaging.bands import Toned
from carpal.imaging.levels import ENDS, Counts, between, count, percentiles, renumbered, unround, unrounding

MIDDLE = 0.15
"""The middle of the picture leaves out this share at each edge: markers, collimator borders and frames sit there."""
POLARITY_SIDE: Final = 160


class Original:
    """Grey values of any size and depth. They may not change while this is in use."""

    def __init__(self, pixels_HW: NDArray[Any]) -> None:
        self.pixels_HW = pixels_HW

    @cached_property
    def counts_L(self) -> Counts | None:
        """How often each level occurs; None where they are not of 8 or 16 bits."""
        return count(self.pixels_HW)

    @cached_property
    def middle_L(self) -> Counts | None:
        """The same of the picture's middle."""
        return None if self.counts_L is None else count(middle(self.pixels_HW))

    @cached_property
    def even(self) -> Original:
        """8-bit grey values before a stretch spread them (`levels.unround`); itself where there are more bits."""
        counts_L, middle_L = self.counts_L, self.middle_L
        if self.pixels_HW.dtype != np.uint8 or counts_L is None or middle_L is None:
            return self
        even = Original(unround(self.pixels_HW, counts_L))
        number_L = unrounding(counts_L)
        even.counts_L, even.middle_L = renumbered(counts_L, number_L), renumbered(middle_L, number_L)
        return even

    @cached_property
    def inverted(self) -> bool:
        """Whether the background is bright (`preprocess.is_inverted`)."""
        return _is_smoother_above(middle(Toned(self.pixels_HW).thumbnail(POLARITY_SIDE, Image.Resampling.BILINEAR)))

    @property
    def bright(self) -> Toned:
        """Stretched to 0..255, bones bright."""
        return self.stretched(self.inverted)

    def stretched(self, inverted: bool) -> Toned:
        """Grey values between the narrower pair of percentiles become 0..255, clipped, inverted if asked."""
        low_all, high_all = percentiles(self.pixels_HW, ENDS, self.counts_L)
        low_middle, high_middle = percentiles(middle(self.pixels_HW), ENDS, self.middle_L)
        low, high = max(low_all, low_middle), min(high_all, high_middle)
        if high <= low:  # a blank middle: fall back on the whole picture
            low, high = low_all, high_all
        return Toned(self.pixels_HW, partial(_stretch, low=low, high=high, inverted=inverted))

    @property
    def cut(self) -> Toned:
        """Even levels, cut at their own percentiles: what a copy stretched between them still holds.

        A part of the picture whose contrast is measured anew is then the same in the radiograph and in such a copy.
        """
        even = self.even
        low, high = percentiles(even.pixels_HW, ENDS, even.counts_L)
        return Toned(even.pixels_HW, partial(between, low=low, high=high))


Source = NDArray[Any] | Original
"""What a step takes that may be asked alone or as one of several."""


def as_original(source: Source) -> Original:
    """Pixels as an `Original`, and one as itself."""
    return source if isinstance(source, Original) else Original(source)


def middle(pixels_HW: NDArray[Any]) -> NDArray[Any]:
    """The picture without `MIDDLE` of it at each edge."""
    height, width = pixels_HW.shape
    top, left = int(MIDDLE * height), int(MIDDLE * width)
    return pixels_HW[top : height - top, left : width - left]


def _stretch(pixels_HW: NDArray[Any], low: float, high: float, inverted: bool) -> NDArray[np.float32]:
    grey_HW = pixels_HW.astype(np.float32)
    grey_HW -= np.float32(low)
    grey_HW *= np.float32(255.0 / max(high - low, 1e-6))
    np.clip(grey_HW, 0.0, 255.0, out=grey_HW)
    return np.subtract(255, grey_HW, out=grey_HW) if inverted else grey_HW


def _is_smoother_above(grey_HW: NDArray[np.float32]) -> bool:
    """Whether the bright part has less texture than the dark one."""
    if min(grey_HW.shape) < 4:
        return False
    grey_HW = np.clip(grey_HW, *percentiles(grey_HW, ENDS))
    slope_y, slope_x = np.gradient(grey_HW)
    slope_HW = np.hypot(slope_x, slope_y)
    dark, bright = np.percentile(grey_HW, [30, 70])
    texture_dark = float(np.median(slope_HW[grey_HW <= dark]))
    texture_bright = float(np.median(slope_HW[grey_HW >= bright]))
    return texture_bright < texture_dark
