"""THE way from pixels to the network's input: polarity, contrast, size. Training and inference both call `preprocess`.

Radiographs come dark, stretched, inverted and framed. What makes them the same here:

1. *Polarity.* Bones must be bright. Air has no texture and bone has: where the bright part of the picture's middle is
   smoother than its dark part, the radiograph is inverted.
2. *Contrast.* The grey values between two percentiles become 0..255. The two are taken over the whole picture and over
   its middle, and the narrower range wins, so that neither a white frame nor a black border sets the scale. Percentiles
   follow any rising map of the grey values: a copy that was stretched and clipped before gives the same result, once
   what rounding did to it is undone (`intensity.unround`).
3. *Size.* The long side becomes `long_side` (512 in the paper), the aspect is kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carpal.imaging.intensity import Original, Source, as_original

LONG_SIDE = 512
STRIDE = 32
"""The network halves its input five times; `pad` brings both sides to a multiple of this."""
BLUR_SIGMA_PX = 0.6
"""Prepared pixels; chosen on radiographs of fold 1 (docs/log.md)."""


@dataclass(frozen=True)
class Geometry:
    """How prepared pixels lie on the original: prepared = original * scale, for x and y apart."""

    scale_x: float
    scale_y: float

    def to_original(self, boxes_prepared_R4: NDArray[Any]) -> NDArray[np.float64]:
        """Boxes (..., 4) or points (..., 2) of the prepared image in original pixels."""
        return np.asarray(boxes_prepared_R4, np.float64) / self._factors(boxes_prepared_R4)

    def to_prepared(self, boxes_original_R4: NDArray[Any]) -> NDArray[np.float64]:
        """Boxes (..., 4) or points (..., 2) of the original in prepared pixels."""
        return np.asarray(boxes_original_R4, np.float64) * self._factors(boxes_original_R4)

    def _factors(self, coordinates: NDArray[Any]) -> NDArray[np.float64]:
        return np.tile([self.scale_x, self.scale_y], np.shape(coordinates)[-1] // 2)


@dataclass(frozen=True)
class Prepared:
    """The network's view of a radiograph, not yet padded: bones bright, grey values 0..255, long side `long_side`."""

    grey_HW: NDArray[np.float32]
    """As the network reads it. Not rounded: half a level of noise can move an age by a month (docs/log.md)."""
    geometry: Geometry
    inverted: bool

    @property
    def pixels_HW(self) -> NDArray[np.uint8]:
        """Rounded to 8 bits: what a store keeps and training reads."""
        return np.rint(self.grey_HW).astype(np.uint8)


def preprocess(source: Source, long_side: int = LONG_SIDE, aspect: float | None = None) -> Prepared:
    """Brings a grey radiograph of any size, depth and polarity to the network's input.

    `aspect` (width / height) undoes a squash: the 100x100 thumbnails of the data lost theirs. None keeps the array's.
    """
    even = as_original(source).even
    height, width = even.pixels_HW.shape
    aspect = width / height if aspect is None else aspect
    new_width = max(1, round(long_side * min(1.0, aspect)))
    new_height = max(1, round(long_side * min(1.0, 1.0 / aspect)))
    prepared_HW = np.clip(even.bright.resize((new_width, new_height)), 0, 255)
    return Prepared(prepared_HW, Geometry(new_width / width, new_height / height), even.inverted)


def gaussian_blur(grey_HW: NDArray[Any]) -> NDArray[np.float32]:
    """As sharp as the examples of training, which `augment` re-samples: a Gaussian of `BLUR_SIGMA_PX` pixels."""
    weights_5 = np.exp(-0.5 * (np.arange(-2, 3) / BLUR_SIGMA_PX) ** 2)
    weights_5 /= weights_5.sum()
    soft_HW = np.asarray(grey_HW, np.float32)
    for axis in (0, 1):
        margin = [(2, 2) if side == axis else (0, 0) for side in (0, 1)]
        wide_HW = np.moveaxis(np.pad(soft_HW, margin, mode="edge"), axis, 0)
        length = soft_HW.shape[axis]
        mixed_HW = sum(weight * wide_HW[i : i + length] for i, weight in enumerate(weights_5))
        soft_HW = np.moveaxis(np.asarray(mixed_HW, np.float32), 0, axis)
    return soft_HW


def view_size(long_side: int) -> tuple[int, int]:
    """(height, width) of the canvas that training and inference show the network: multiples of 16 (the trunk's stride).

    0.8 is the usual aspect of a hand radiograph.
    """
    return long_side, math.ceil(0.8 * long_side / 16) * 16


def pad(pixels_HW: NDArray[Any], stride: int = STRIDE) -> tuple[NDArray[Any], tuple[int, int]]:
    """Adds black on all sides until height and width are multiples of `stride`; returns (padded, (left, top))."""
    height, width = pixels_HW.shape
    more_y, more_x = -height % stride, -width % stride
    top, left = more_y // 2, more_x // 2
    return np.pad(pixels_HW, ((top, more_y - top), (left, more_x - left))), (left, top)


def is_inverted(pixels_HW: NDArray[Any]) -> bool:
    """True where the background is bright: air is smooth, so the smoother end of the grey scale is air.

    Measured on the 1,317 radiographs of the data and on their negatives: one mistake (docs/log.md).
    """
    return Original(pixels_HW).inverted
