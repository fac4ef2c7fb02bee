"""What every reader refuses: pictures too large to decode safely, too small or too blank to read an age from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from carpal.errors import UnsuitableImage

MAX_PIXELS = 64_000_000
"""A hand on the largest detectors (43 x 43 cm at 0.1 mm) has 18 million; checked in the header, before decoding."""
MIN_SIDE = 32
MAX_BYTES = 512 * 2**20
"""The largest file that is opened at all, compressed or not."""


def check_size(width: int, height: int, name: str) -> None:
    """Refuses a picture of this many pixels, or of this few, with UnsuitableImage."""
    if width * height > MAX_PIXELS:
        raise UnsuitableImage(
            f"{name}: too large - {width} x {height} pixels, more than {MAX_PIXELS // 10**6} megapixels. "
            "Crop it to the hand, or scale it to about 2000 pixels on the long side"
        )
    if min(width, height) < MIN_SIDE:
        raise UnsuitableImage(
            f"{name}: too small - {width} x {height} pixels, and both sides need {MIN_SIDE} or more. "
            "Give the radiograph itself, not its icon"
        )


def check_values(pixels_HW: NDArray[Any], name: str) -> None:
    """Refuses grey values that carry no picture: NaN, infinity, or the same value everywhere."""
    low, high = float(pixels_HW.min()), float(pixels_HW.max())
    if not np.isfinite([low, high]).all():
        raise UnsuitableImage(f"{name}: some grey values are NaN or infinite. Export the radiograph as integers")
    if low == high:
        raise UnsuitableImage(f"{name}: blank - every pixel is {low:g}. Export the radiograph again and look at it")
