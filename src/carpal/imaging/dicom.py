"""DICOM to grey: one frame, modality and VOI applied, bones as bright as the file means them, its examination beside.

The order is that of PS3.3 C.11 and PS3.4 N.2: stored values -> modality LUT or rescale -> VOI LUT or window ->
MONOCHROME1 inverted last. Mistakes in the header become assumptions, listed in the radiograph's warnings.
Messages carry no value of a tag that may describe the patient.
"""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from carpal.errors import CarpalError, UnreadableImage, UnsuitableImage
from carpal.imaging.exam import exam_of, sex_of
from carpal.imaging.header import PALETTE, check_kind, notices, number, repair, square_scale
from carpal.imaging.limits import MAX_BYTES, check_size
from carpal.imaging.raster import to_grey
from carpal.imaging.tables import find_padding, from_palette, modality, own_bits, voi
from carpal.optional import need
from carpal.types import Radiograph

DEFLATED: Final = b"1.2.840.10008.1.2.1.99"


def decode_dicom(data: bytes, name: str) -> Radiograph:
    """Decodes the first frame of a DICOM file with 8 to 16 bits a sample; `name` stands in errors and in the result.

    `sex` is PatientSex where that says M or F, otherwise None; `exam` what else the header states. Raises
    UnreadableImage where there is no picture, the bytes are damaged or no codec is installed, UnsuitableImage by size
    or kind, BackendError without pydicom.
    """
    dataset = open_dataset(data, name)
    pixels = need("pydicom.pixels", f"{name}: reading DICOM", extra="dicom")
    try:
        with quiet():
            assumed = [*check_kind(dataset, name), *repair(dataset, name)]
            _check_codec(dataset, pixels, name)
            if (frames := number(dataset, "NumberOfFrames") or 1) > 1:
                assumed.append(f"the file holds {frames} frames; the first one was read")
            pixels_HW = _pixels(dataset, pixels, name, assumed)
            exam = exam_of(dataset, assumed)
            assumed += notices(dataset)
    except CarpalError:
        raise
    except Exception as error:
        raise damaged(data, name, error) from None
    return Radiograph(pixels_HW, source=name, sex=sex_of(dataset), warnings=tuple(assumed), exam=exam)


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing that pydicom and highdicom warn of or log gets out: it quotes values, and they may be the patient's."""
    for name in ("pydicom", "highdicom"):
        logger = logging.getLogger(name)
        logger.propagate = False
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def open_dataset(data: bytes, name: str) -> Any:
    """The pydicom data set of a file's bytes, as it stands. Raises UnreadableImage, UnsuitableImage, BackendError."""
    pydicom = need("pydicom", f"{name}: reading DICOM", extra="dicom")
    try:
        with quiet():
            _check_inflated(data, name)
            dataset = pydicom.dcmread(BytesIO(data), force=True)
            keep_pixel_bytes(pydicom, dataset)
            return dataset
    except CarpalError:
        raise
    except Exception as error:
        raise damaged(data, name, error) from None


def keep_pixel_bytes(pydicom: Any, dataset: Any) -> None:
    """Pixel data are bytes, whatever VR the file gives them: pydicom would convert them to that on access."""
    raw: Any = dataset.get_item("PixelData") if "PixelData" in dataset else None
    if isinstance(getattr(raw, "value", None), bytes) and raw.VR not in ("OB", "OW", None):
        dataset.add_new("PixelData", "OW", raw.value)


def damaged(data: bytes, name: str, error: Exception) -> UnreadableImage:
    """pydicom raises what its parsers meet; its text may quote a patient's tags, so only the kind is told."""
    return UnreadableImage(
        f"{name}: the DICOM file is damaged or incomplete ({len(data)} bytes; {type(error).__name__}). "
        "Copy or export it again"
    )


def _check_inflated(data: bytes, name: str) -> None:
    """A deflated data set is inflated whole by pydicom: refuse one that would not fit."""
    if DEFLATED not in data[132:1024]:
        return
    (meta_length,) = struct.unpack("<I", data[140:144])  # (0002,0000), the first element after the preamble
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflater.decompress(data[144 + meta_length :], MAX_BYTES)
    if inflater.unconsumed_tail:
        raise UnsuitableImage(f"{name}: inflates to more than {MAX_BYTES // 2**20} MiB. Save it uncompressed")


def _check_codec(dataset: Any, pixels: Any, name: str) -> None:
    """Names the missing codec, rather than letting the decoder fail."""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    try:
        available = syntax is not None and pixels.get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise UnreadableImage(
            f"{name}: no codec for its compression ({'unknown' if syntax is None else syntax.name}). "
            "Run pip install 'carpal[dicom]', or save the file uncompressed (Explicit VR Little Endian)"
        )


def _pixels(dataset: Any, pixels: Any, name: str, assumed: list[str]) -> NDArray[Any]:
    """The first frame as grey with square pixels. What pads it is air: its darkest value, so no percentile sees it."""
    values = pixels.pixel_array(dataset, index=0, correct_unused_bits=False)
    if values.ndim == 3:
        grey_HW: NDArray[Any] = to_grey(Image.fromarray(_to_uint8(values, int(dataset.BitsStored))), assumed)
        return _squared(grey_HW, dataset, name, assumed)
    stored_HW, padding_HW = find_padding(values, dataset, assumed)
    stored_HW = own_bits(stored_HW, int(dataset.BitsStored), int(dataset.HighBit), assumed)
    if dataset.PhotometricInterpretation == PALETTE:
        return _squared(from_palette(stored_HW, dataset, name, assumed), dataset, name, assumed)
    grey_HW = _smallest_type(voi(modality(stored_HW, dataset, assumed), dataset, assumed))
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey_HW = grey_HW.max() - grey_HW + grey_HW.min()
    if padding_HW is not None:
        grey_HW = np.where(padding_HW, grey_HW[~padding_HW].min(), grey_HW)
    return _squared(grey_HW, dataset, name, assumed)


def _squared(grey_HW: NDArray[Any], dataset: Any, name: str, assumed: list[str]) -> NDArray[Any]:
    """Re-sampled, finer along one side, where the pixels are not square; unchanged otherwise."""
    across, down = square_scale(dataset, assumed)
    if across == down:
        return grey_HW
    height, width = grey_HW.shape
    size = round(width * across), round(height * down)
    check_size(*size, name)
    resized_HW = np.asarray(Image.fromarray(grey_HW.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    return resized_HW if grey_HW.dtype.kind == "f" else np.rint(resized_HW).astype(grey_HW.dtype)


def _smallest_type(values_HW: NDArray[Any]) -> NDArray[Any]:
    """uint8 or uint16 where that loses nothing, otherwise float32."""
    if values_HW.dtype == np.uint8:
        return values_HW
    low, high = values_HW.min(), values_HW.max()
    whole = values_HW.dtype.kind in "iu" or bool(np.all(values_HW == np.rint(values_HW)))
    return values_HW.astype(np.uint16 if whole and low >= 0 and high <= 65535 else np.float32)


def _to_uint8(values_HWC: NDArray[Any], bits_stored: int) -> NDArray[np.uint8]:
    return values_HWC if values_HWC.dtype == np.uint8 else (values_HWC >> max(bits_stored - 8, 0)).astype(np.uint8)
