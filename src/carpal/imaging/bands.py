"""Pictures as float32 and made smaller, a band of rows at a time: the same bytes as at once, in a cache's memory.

A radiograph of 5 megapixels is 20 MB as float32; to write and read them several times takes longer than the arithmetic.
Pillow resizes rows first and columns then, and reduces by blocks: both can be done in bands. Pillow 13 takes the
columns of tall pictures first, older ones do not, and that rounds otherwise; here it is rows first with all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
