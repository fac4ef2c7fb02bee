"""PNG, JPEG, TIFF, WebP, BMP and JPEG 2000 to grey: 8 bit as uint8, 16 bit as uint16, all else by a rule that warns.

What a viewer's export may bring and what becomes of it: colour is averaged to grey, transparency lies on black, of
several pages the first is read, EXIF orientation is applied. `check_size` and `check_values` refuse, for every reader,
images that are too large to decode safely, too small or too blank to read an age from.
"""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from carpal.errors import InputError, UnreadableImage, UnsuitableImage
from carpal.types import Radiograph

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "JPEG2000")
COLOUR_SPREAD, COLOUR_SHARE = 16, 0.001
"""Coloured: in more than this share of the pixels red, green and blue lie further apart than JPEG noise brings them."""
COLOURFUL_SHARE = 0.3
COLOURED = "the picture is coloured and was turned to grey; a radiograph has no colour"
IN_COLOUR = "most of the picture is coloured and was turned to grey; a radiograph has no colour"
"""Warnings; the second, above `COLOURFUL_SHARE`, speaks of a photograph rather than of letters on a radiograph."""


def decode_raster(data: bytes, name: str) -> Radiograph:
    """Decodes the bytes of a PNG, JPEG, TIFF, WebP, BMP or JPEG 2000 file; `name` stands in errors and in the result.

    Raises UnreadableImage where the bytes are damaged, UnsuitableImage beyond 64 megapixels or under 32 pixels a side.
    """
    assumed: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged metadata; the pixels decide
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(data), formats=FORMATS) as image:
                check_size(*image.size, name)
                pixels_HW = _decode(image, assumed)
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnsuitableImage(
            f"{name}: too large - more than {MAX_PIXELS // 10**6} megapixels. "
            "Crop it to the hand, or scale it to about 2000 pixels on the long side"
        ) from error
    except Exception as error:  # Pillow's decoders raise a dozen kinds on damaged bytes
        reason = "its header" if isinstance(error, UnidentifiedImageError) else str(error) or type(error).__name__
        raise UnreadableImage(
            f"{name}: the image is damaged or incomplete ({len(data)} bytes; {reason}). Copy or export it again"
        ) from error
    return Radiograph(pixels_HW, source=name, warnings=tuple(assumed))


def to_grey(rgb: Image.Image, assumed: list[str]) -> NDArray[np.uint8]:
    """An RGB picture by luminance; appends a warning where it is really coloured, not grey stored three times."""
    rgb_HWC = np.asarray(rgb)
    spread_HW = rgb_HWC.max(axis=2) - rgb_HWC.min(axis=2)
    share = np.mean(spread_HW > COLOUR_SPREAD)
    if share > COLOUR_SHARE:
        assumed.append(IN_COLOUR if share > COLOURFUL_SHARE else COLOURED)
    return np.asarray(rgb.convert("L"))


def _decode(image: Image.Image, assumed: list[str]) -> NDArray[Any]:
    pages = getattr(image, "n_frames", 1)
    if pages > 1:
        assumed.append(f"the file holds {pages} pages; the first one was read")
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    image.load()  # TIFF turns itself here, the others do not
    ImageOps.exif_transpose(image, in_place=True)
    if orientation in range(2, 9):
        assumed.append(f"the picture was turned or mirrored as its EXIF orientation {orientation} says")
    return _pixels(image, assumed)


def _pixels(image: Image.Image, assumed: list[str]) -> NDArray[Any]:
    """The grey values of a decoded page: uint8, uint16, or float32 where neither holds them."""
    mode = image.mode
    if mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)  # also brings big-endian files to the native order
    if mode == "I":
        values_HW = np.asarray(image)
        fits = values_HW.min() >= 0 and values_HW.max() <= np.iinfo(np.uint16).max
        return values_HW.astype(np.uint16 if fits else np.float32)
    if mode == "F":
        return np.asarray(image, np.float32)
    if mode == "1":
        assumed.append("the picture is only black and white (1 bit); the age will be unreliable")
        return np.asarray(image.convert("L"))
    if image.has_transparency_data:
        image = _flatten(image, assumed)
    return np.asarray(image) if image.mode == "L" else to_grey(image.convert("RGB"), assumed)


def _flatten(image: Image.Image, assumed: list[str]) -> Image.Image:
    """Lays the picture on black, the radiograph's background."""
    rgba = image.convert("RGBA")
    alpha_low, _ = rgba.getchannel("A").getextrema()
    if alpha_low == 255:
        return rgba.convert("RGB")
    assumed.append("parts of the picture are transparent and were laid on black")
    black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
    black.alpha_composite(rgba)
    return black.convert("RGB")


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
