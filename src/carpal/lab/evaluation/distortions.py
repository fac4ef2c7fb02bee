"""What happens to radiographs on their way, at graded strength: the families of the stress certificate.

A distortion takes grey pixels and a strength and returns grey pixels of the same type. The first strength of a family
is the mildest. `CLINICAL` says which strengths everyday work brings: those must pass.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from carpal.imaging.preprocess import is_inverted

Pixels = NDArray[Any]
Strength = float


@dataclass(frozen=True)
class Family:
    """One kind of distortion: `apply(pixels, strength)` for each of `strengths`; `unit` says what they mean."""

    apply: Callable[[Pixels, Strength], Pixels]
    strengths: tuple[Strength, ...]
    unit: str
    clinical: tuple[Strength, ...]
    exact: bool = False
    """The picture holds the same as before: the age must not change (polarity, flips, 90 degree steps)."""


def _background(pixels_HW: Pixels) -> float:
    """The grey of the air: a tenth of the way into the rim's grey values, as forearm and markers cross the rim, too."""
    rim = np.concatenate([pixels_HW[0], pixels_HW[-1], pixels_HW[:, 0], pixels_HW[:, -1]])
    return float(np.percentile(rim, 90 if is_inverted(pixels_HW) else 10))


def _range(pixels_HW: Pixels) -> tuple[float, float]:
    low, high = np.percentile(pixels_HW, [1, 99])
    return float(low), max(float(high), float(low) + 1)


def _like(values_HW: NDArray[Any], pixels_HW: Pixels) -> Pixels:
    if np.issubdtype(pixels_HW.dtype, np.integer):
        info = np.iinfo(pixels_HW.dtype)
        values_HW = np.clip(np.rint(values_HW), info.min, info.max)
    kept_HW: Pixels = values_HW.astype(pixels_HW.dtype)
    return kept_HW


def _image(pixels_HW: Pixels) -> Image.Image:
    return Image.fromarray(pixels_HW.astype(np.float32))


def rotate(pixels_HW: Pixels, degrees: Strength) -> Pixels:
    """Anticlockwise, nothing is cut off; the corners take the air's grey. Quarter turns are exact."""
    if degrees % 90 == 0:
        return np.ascontiguousarray(np.rot90(pixels_HW, int(degrees // 90)))
    fill = _background(pixels_HW)
    turned = _image(pixels_HW).rotate(degrees, Image.Resampling.BILINEAR, expand=True, fillcolor=fill)
    return _like(np.asarray(turned), pixels_HW)


def flip(pixels_HW: Pixels, axis: Strength) -> Pixels:
    """Left and right (1), or up and down (2)."""
    return np.ascontiguousarray(pixels_HW[:, ::-1] if axis == 1 else pixels_HW[::-1])


def shift(pixels_HW: Pixels, share: Strength) -> Pixels:
    """To the right and down, as a share of the sides; air comes in, and what leaves the picture is lost."""
    height, width = pixels_HW.shape
    down, right = round(share * height), round(share * width)
    moved_HW = np.full_like(pixels_HW, _like(np.array(_background(pixels_HW)), pixels_HW))
    moved_HW[down:, right:] = pixels_HW[: height - down, : width - right]
    return moved_HW


def crop(pixels_HW: Pixels, share: Strength) -> Pixels:
    """This share off every side."""
    height, width = pixels_HW.shape
    y, x = round(share * height), round(share * width)
    return pixels_HW[y : height - y, x : width - x]


def blur(pixels_HW: Pixels, share: Strength) -> Pixels:
    """A Gaussian whose sigma is in thousandths of the long side."""
    radius = share / 1000 * max(pixels_HW.shape)
    values_HW = pixels_HW.astype(np.float32)
    low, high = float(values_HW.min()), max(float(values_HW.max()), float(values_HW.min()) + 1)
    byte = Image.fromarray(((values_HW - low) / (high - low) * 255).astype(np.uint8))
    soft_HW = np.asarray(byte.filter(ImageFilter.GaussianBlur(radius)), np.float32)
    return _like(soft_HW / 255 * (high - low) + low, pixels_HW)


def noise(pixels_HW: Pixels, share: Strength) -> Pixels:
    """Gaussian, its sigma a share of the range of grey values."""
    low, high = _range(pixels_HW)
    grain_HW = np.random.default_rng(0).normal(scale=share * (high - low), size=pixels_HW.shape)
    return _like(pixels_HW + grain_HW, pixels_HW)


def contrast(pixels_HW: Pixels, factor: Strength) -> Pixels:
    """About the middle of the range; clipped where the type ends."""
    middle = sum(_range(pixels_HW)) / 2
    return _like((pixels_HW.astype(np.float64) - middle) * factor + middle, pixels_HW)


def gamma(pixels_HW: Pixels, exponent: Strength) -> Pixels:
    """Grey values between the 0th and 100th percentile to this power."""
    low, high = float(pixels_HW.min()), max(float(pixels_HW.max()), float(pixels_HW.min()) + 1)
    return _like(((pixels_HW - low) / (high - low)) ** exponent * (high - low) + low, pixels_HW)


def invert(pixels_HW: Pixels, _: Strength) -> Pixels:
    """The negative."""
    low, high = float(pixels_HW.min()), float(pixels_HW.max())
    return _like(high + low - pixels_HW.astype(np.float64), pixels_HW)


def jpeg(pixels_HW: Pixels, quality: Strength) -> Pixels:
    """Saved as 8-bit JPEG of this quality and opened again."""
    low, high = float(pixels_HW.min()), max(float(pixels_HW.max()), float(pixels_HW.min()) + 1)
    buffer = io.BytesIO()
    Image.fromarray(np.rint((pixels_HW - low) / (high - low) * 255).astype(np.uint8)).save(
        buffer, "JPEG", quality=int(quality)
    )
    with Image.open(buffer) as image:
        return _like(np.asarray(image, np.float64) / 255 * (high - low) + low, pixels_HW)


def downsample(pixels_HW: Pixels, long_side: Strength) -> Pixels:
    """To this long side, in pixels; a smaller picture stays."""
    scale = min(1.0, long_side / max(pixels_HW.shape))
    height, width = (max(32, round(side * scale)) for side in pixels_HW.shape)
    return _like(np.asarray(_image(pixels_HW).resize((width, height), Image.Resampling.BOX)), pixels_HW)


def marker(pixels_HW: Pixels, share: Strength) -> Pixels:
    """A lead letter and a line of text in two corners, white; their height is this share of the long side."""
    height, width = pixels_HW.shape
    size = max(6, round(share * max(height, width)))
    page = _image(pixels_HW)
    canvas, white = ImageDraw.Draw(page), float(pixels_HW.max())
    canvas.text((0.03 * width, 0.03 * height), "L", fill=white, font=ImageFont.load_default(2 * size))
    canvas.text((0.5 * width, height - 1.5 * size), "AP 01/01 55 kV", fill=white, font=ImageFont.load_default(size))
    return _like(np.asarray(page), pixels_HW)


def collimate(pixels_HW: Pixels, share: Strength) -> Pixels:
    """The beam is narrowed: black outside a rectangle, slightly askew, that leaves this share of each side out."""
    height, width = pixels_HW.shape
    mask = Image.new("L", (width, height), 0)
    y, x, askew = share * height, share * width, 0.01 * width
    ImageDraw.Draw(mask).polygon(
        [(x + askew, y), (width - x, y + askew), (width - x - askew, height - y), (x, height - y - askew)], fill=1
    )
    return np.where(np.asarray(mask) > 0, pixels_HW, pixels_HW.min())


def border(pixels_HW: Pixels, share: Strength) -> Pixels:
    """A frame around the picture, this share of its sides wide: white where positive, black where negative."""
    y, x = (round(abs(share) * side) for side in pixels_HW.shape)
    value = pixels_HW.max() if share > 0 else pixels_HW.min()
    return np.pad(pixels_HW, ((y, y), (x, x)), constant_values=value)


FAMILIES: Final[dict[str, Family]] = {
    "rotation": Family(rotate, (5, 15, 30, 45, 120, 210, 300), "degrees", (5, 15, 30)),
    "quarter turns": Family(rotate, (90, 180, 270), "degrees", (90, 180, 270), exact=True),
    "flip": Family(flip, (1, 2), "1 left-right, 2 up-down", (1, 2), exact=True),
    "polarity": Family(invert, (1,), "inverted", (1,), exact=True),
    "shift": Family(shift, (0.02, 0.05, 0.1), "share of the sides", (0.02,)),
    "crop": Family(crop, (0.02, 0.05, 0.1), "share of each side", (0.02,)),
    "blur": Family(blur, (1, 2, 4), "sigma, thousandths of the long side", (1, 2)),
    "noise": Family(noise, (0.01, 0.03, 0.1), "sigma, share of the grey range", (0.01, 0.03)),
    "contrast": Family(contrast, (0.8, 1.25, 0.5), "factor", (0.8, 1.25)),
    "gamma": Family(gamma, (0.8, 1.25, 2.0), "exponent", (0.8, 1.25)),
    "JPEG": Family(jpeg, (90, 50, 20), "quality", (90, 50)),
    "down-sampling": Family(downsample, (512, 384, 256, 128), "long side, pixels", (512, 384)),
    "markers": Family(marker, (0.03, 0.06), "height, share of the long side", (0.03,)),
    "collimator": Family(collimate, (0.01, 0.03), "share of each side", (0.01,)),
    "black border": Family(border, (-0.05, -0.1, -0.2), "share of each side", (-0.05, -0.1)),
    "white border": Family(border, (0.03, 0.06), "share of each side", (0.03,)),
}
