"""Two hands in one frame, found and cut apart: where a dark valley runs between two halves that weigh the same.

Radiographs of both hands lie side by side, seldom one above the other. The mean brightness of the columns (or rows),
above the background, has its peak in the middle of one hand, and a valley between two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from carpal.imaging.intensity import Original, Source, as_original

SIDE: Final = 160
MARGIN: Final = 0.35
"""The valley lies in the middle of the picture, not within this share of its sides."""
RIM: Final = 0.04
"""Frames and film edges: this share of each side does not count."""
BACKGROUND: Final = 40
"""Percentile of the grey values that counts as air: a hand covers less than half of its frame."""
VALLEY: Final = 0.25
"""The valley is at most this high against the lower of the two peaks."""
ALIKE: Final = 0.45
"""The lighter half weighs at least this share of the heavier."""
NARROWEST, WIDEST = 0.42, 1.3
"""Width over height of the part of the frame that one hand has."""


@dataclass(frozen=True)
class Half:
    """A part of the picture that holds one hand: rows top..bottom and columns left..right of the original."""

    side_in_image: str
    """ "left", "right", "top" or "bottom", as one looks at the picture; not which hand it is."""
    left: int
    top: int
    right: int
    bottom: int

    def cut(self, pixels_HW: NDArray[Any]) -> NDArray[Any]:
        """The half's pixels."""
        return pixels_HW[self.top : self.bottom, self.left : self.right]


def split(source: Source) -> tuple[Half, Half] | None:
    """The two halves, cut in the valley; None where the picture does not clearly hold two hands."""
    original = as_original(source)
    height, width = original.pixels_HW.shape
    grey_HW = _small(original)
    if (share := find_valley(grey_HW)) is not None and _hand_shaped(share * width, width, height):
        cut = round(share * width)
        return Half("left", 0, 0, cut, height), Half("right", cut, 0, width, height)
    if (share := find_valley(grey_HW.T)) is not None and _hand_shaped(share * height, height, width, stacked=True):
        cut = round(share * height)
        return Half("top", 0, 0, width, cut), Half("bottom", 0, cut, width, height)
    return None


def find_valley(grey_HW: NDArray[Any]) -> float | None:
    """Where a valley between two equal hills of the columns' brightness lies, as a share of the width; or None."""
    profile_W = np.maximum(grey_HW - np.percentile(grey_HW, BACKGROUND), 0).mean(0)
    width = len(profile_W)
    first, last = round(MARGIN * width), width - round(MARGIN * width)
    if last - first < 3:
        return None
    valley = first + int(np.argmin(profile_W[first:last]))
    rim = round(RIM * width)
    hills = profile_W[rim:valley], profile_W[valley + 1 : width - rim]
    masses = [float(hill.sum()) for hill in hills]
    peak = min(float(np.percentile(hill, 90)) for hill in hills)
    if peak <= 0 or min(masses) < ALIKE * max(masses) or profile_W[valley] > VALLEY * peak:
        return None
    return (valley + 0.5) / width


def _hand_shaped(cut: float, length: float, across: float, stacked: bool = False) -> bool:
    sides = [part / across for part in (cut, length - cut)]
    return all(NARROWEST <= (1 / side if stacked else side) <= WIDEST for side in sides)


def _small(original: Original) -> NDArray[np.float32]:
    """A stretched copy of at most 160 pixels, without its rim above and below, bones bright."""
    grey_HW = original.bright.thumbnail(SIDE, Image.Resampling.BOX)
    rim = round(RIM * min(grey_HW.shape))
    kept_HW = grey_HW.copy()
    for edge in (np.s_[:rim], np.s_[len(grey_HW) - rim :], np.s_[:, :rim], np.s_[:, grey_HW.shape[1] - rim :]):
        kept_HW[edge] = 0
    return kept_HW
