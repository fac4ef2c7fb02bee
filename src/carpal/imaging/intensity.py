"""The grey levels of a radiograph: percentiles, the levels that a stretch left, pixels as float32 and made smaller.

*Levels.* Grey values of 8 and 16 bits are counted once; all else follows from the counts. `unround` undoes what the
rounding of a stretched copy did.

*A radiograph's own pixels* (`Original`): what the steps of a reading ask of them is measured once, though several ask.

*Bands.* Images become float32 and smaller a band of rows at a time: the same bytes as at once, in a cache's memory. A
radiograph of 5 megapixels is 20 MB as float32; to write and read them several times takes longer than the arithmetic.
Pillow resizes rows first and columns then, and reduces by blocks: both can be done in bands. Pillow 13 takes the
columns of tall images first, older ones do not, and that rounds otherwise; here it is rows first with all of them.

Letters: L = levels, from 0 up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any, Final, NamedTuple

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
        """8-bit grey values before a stretch spread them (`unround`); itself where there are more bits."""
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


BAND: Final = 2**18
"""Pixels of a band."""
GAP: Final = 2.0
"""`Image.thumbnail` first reduces by whole numbers, to no less than so many times the side."""

Method = Image.Resampling


def as_float(pixels_HW: NDArray[Any]) -> NDArray[np.float32]:
    """The pixels as float32, nothing else."""
    return pixels_HW.astype(np.float32)


class Toned(NamedTuple):
    """Pixels, and what is done to them first: `tone` makes a new float32 array, each pixel from itself alone."""

    pixels_HW: NDArray[Any]
    tone: Callable[[NDArray[Any]], NDArray[np.float32]] = as_float

    def whole(self) -> NDArray[np.float32]:
        """The toned picture."""
        return self.tone(self.pixels_HW)

    def resize(self, size: tuple[int, int]) -> NDArray[np.float32]:
        """The toned picture at `size` (width, height), as Pillow's BILINEAR makes it, rows first."""
        width, _ = size
        rows = [band.resize((width, band.height), Method.BILINEAR) for band in self._bands()]
        return np.asarray(_joined(rows).resize(size, Method.BILINEAR))

    def thumbnail(self, side: int, method: Method) -> NDArray[np.float32]:
        """The toned picture with sides of at most `side`, as `Image.thumbnail` makes it."""
        height, width = self.pixels_HW.shape
        size = thumbnail_size(width, height, side)
        x, y = (max(1, int(now / then / GAP)) for now, then in zip((width, height), size, strict=True))
        if (x, y) == (1, 1):
            return np.asarray(Image.fromarray(self.whole()).resize(size, method))
        reduced = _joined([band.reduce((x, y)) for band in self._bands(y)])
        return np.asarray(reduced.resize(size, method, box=(0, 0, width / x, height / y)))

    def _bands(self, multiple: int = 1) -> Iterator[Image.Image]:
        """All rows from above, as many at a time as `BAND` allows and a multiple of `multiple`."""
        height, width = self.pixels_HW.shape
        rows = max(1, BAND // width // multiple) * multiple
        for top in range(0, height, rows):
            yield Image.fromarray(self.tone(self.pixels_HW[top : top + rows]))


def thumbnail_size(width: int, height: int, side: int) -> tuple[int, int]:
    """What `Image.thumbnail((side, side))` makes of a size: nothing larger, and of all aspects the nearest."""
    if max(width, height) <= side:
        return width, height
    aspect = width / height
    if aspect <= 1:
        return _nearest(side * aspect, lambda n: abs(aspect - n / side)), side
    return side, _nearest(side / aspect, lambda n: abs(aspect - side / n) if n else 0.0)


def _nearest(number: float, distance: Callable[[int], float]) -> int:
    return max(min(math.floor(number), math.ceil(number), key=distance), 1)


def _joined(bands: list[Image.Image]) -> Image.Image:
    """Bands below each other as one picture."""
    if len(bands) == 1:
        return bands[0]
    return Image.fromarray(np.concatenate([np.asarray(band) for band in bands]))
