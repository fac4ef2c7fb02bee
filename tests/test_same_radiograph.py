"""One radiograph in every form that a scanner may send: the same pixels for the network, so the same age."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from carpal.imaging.preprocess import preprocess
from carpal.imaging.read import read_radiograph
from dicom_kit import DEFLATED, compress, encode, study

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[1] / "examples"
RLE, JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"


@cache
def grey(example: str = "6456") -> NDArray[np.uint8]:
    with Image.open(EXAMPLES / f"{example}.jpg") as image:
        return np.asarray(image.convert("L"))


def png() -> bytes:
    buffer = BytesIO()
    Image.fromarray(grey()).save(buffer, "PNG")
    return buffer.getvalue()


def plain(**tags: Any) -> bytes:
    return encode(study(grey(), 8, **tags))


def stored_inverted(**tags: Any) -> bytes:
    return encode(study(255 - grey(), 8, **tags))


def compressed(syntax: str) -> bytes:
    dataset = study(grey(), 8)
    compress(dataset, syntax)
    return encode(dataset)


def deep(**tags: Any) -> bytes:
    """The same grey values in 12 bits."""
    return encode(study(grey().astype(np.uint16) * 16, 12, **tags))


def signed() -> bytes:
    return encode(study(grey().astype(np.int16) - 128, 16, RescaleSlope="2", RescaleIntercept="256"))


FORMS: dict[str, Callable[[], bytes]] = {
    "PNG": png,
    "MONOCHROME2": plain,
    "MONOCHROME1": lambda: stored_inverted(PhotometricInterpretation="MONOCHROME1"),
    "negative slope": lambda: stored_inverted(RescaleSlope="-1", RescaleIntercept="255"),
    "JPEG 2000": lambda: compressed(JPEG_2000),
    "negative slope of MONOCHROME1": lambda: plain(
        RescaleSlope="-10", RescaleIntercept="100", PhotometricInterpretation="MONOCHROME1"
    ),
    "JPEG-LS": lambda: compressed(JPEG_LS),
    "RLE": lambda: compressed(RLE),
    "deflated": lambda: encode(study(grey(), 8, syntax=DEFLATED)),
    "implicit": lambda: encode(study(grey(), 8, syntax=IMPLICIT)),
    "12 bits": deep,
    "12 bits, window over all": lambda: deep(WindowCenter="2048", WindowWidth="4096"),
    "signed": signed,
}
OF_THE_ISSUE = tuple(FORMS)[:5]


@pytest.mark.parametrize("form", FORMS)
def test_the_network_sees_the_same_pixels(form: str) -> None:
    expected = preprocess(grey())
    prepared = preprocess(read_radiograph(FORMS[form](), form).pixels_HW)
    assert prepared.geometry == expected.geometry
    assert prepared.inverted == expected.inverted
    difference_HW = np.abs(prepared.pixels_HW.astype(int) - expected.pixels_HW)
    assert difference_HW.max() <= 1, f"max {difference_HW.max()}, mean {difference_HW.mean():.4f}"


@pytest.mark.slow
def test_the_released_weights_give_the_same_age() -> None:
    pytest.importorskip("onnxruntime")
    import carpal

    engine = carpal.load()
    ages = {form: carpal.read(read_radiograph(FORMS[form](), form), "female", engine).months for form in OF_THE_ISSUE}
    values = [age for age in ages.values() if age is not None]
    assert len(values) == len(OF_THE_ISSUE)
    assert max(values) - min(values) < 0.5, ages
