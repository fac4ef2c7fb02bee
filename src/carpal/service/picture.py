"""A radiograph for the viewer: its grey values in 16 bit, so that the window is set in the browser without loss."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from carpal.imaging.preprocess import is_inverted
from carpal.types import Radiograph

LONG_SIDE: Final = 2048
"""Larger radiographs are reduced to this for the viewer."""
PERCENTILES: Final = (0.5, 99.5)


@dataclass(frozen=True)
class Picture:
    """`gzipped` is uint16, little-endian, row by row; `low` and `high` are the window to begin with."""

    gzipped: bytes
    width: int
    height: int
    low: int
    high: int
    inverted: bool

    @property
    def headers(self) -> dict[str, str]:
        """What the viewer needs besides the values."""
        return {
            "Content-Encoding": "gzip",
            "X-Width": str(self.width),
            "X-Height": str(self.height),
            "X-Window": f"{self.low},{self.high}",
            "X-Inverted": str(int(self.inverted)),
        }


def for_viewer(radiograph: Radiograph) -> Picture:
    """The radiograph at most 2048 pixels long; values that are no uint8 or uint16 are spread over 16 bits."""
    grey_HW = radiograph.pixels_HW
    inverted = is_inverted(grey_HW)
    values = grey_HW.astype(np.float32)
    if grey_HW.dtype not in (np.uint8, np.uint16):
        values = (values - values.min()) * np.float32(65535 / max(float(np.ptp(values)), 1e-12))
    picture = Image.fromarray(values)
    picture.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.BOX)
    shown_HW = np.clip(np.rint(np.asarray(picture)), 0, 65535).astype("<u2")
    low, high = np.percentile(shown_HW, PERCENTILES)
    return Picture(
        gzip.compress(shown_HW.tobytes(), 1, mtime=0),
        shown_HW.shape[1],
        shown_HW.shape[0],
        int(low),
        max(int(high), int(low) + 1),
        inverted,
    )
