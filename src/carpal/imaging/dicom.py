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
from carpal.imaging.codestream import checked_jpeg
from carpal.imaging.exam import exam_of, sex_of
from carpal.imaging.header import check_kind, notices, number, repair
from carpal.imaging.limits import MAX_BYTES
from carpal.imaging.raster import to_grey
from carpal.imaging.tables import modality, voi
from carpal.optional import need
from carpal.types import Radiograph

DEFLATED: Final = b"1.2.840.10008.1.2.1.99"
JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED: Final = "1.2.840.10008.1.2.4.51"
DECODERS: Final = {
    JPEG_BASELINE: "pillow",
    JPEG_EXTENDED: "gdcm",
    "1.2.840.10008.1.2.4.57": "gdcm",
    "1.2.840.10008.1.2.4.70": "gdcm",
    "1.2.840.10008.1.2.4.80": "gdcm",
    "1.2.840.10008.1.2.4.81": "gdcm",
    "1.2.840.10008.1.2.4.90": "pylibjpeg",
    "1.2.840.10008.1.2.4.91": "pylibjpeg",
    "1.2.840.10008.1.2.5": "pydicom",
}
"""pydicom's plugin for each compressed transfer syntax: one, so that a file gives the same pixels on every machine.

Of those installed pydicom would take any. pyjpegls never returns from a JPEG-LS that is cut short.
"""


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
            pixels_HW = _pixels(dataset, pixels, assumed)
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
        decoder = None if syntax is None else pixels.get_decoder(syntax)
    except NotImplementedError:
        decoder = None
    available = decoder is not None and (
        DECODERS[syntax] in decoder.available_plugins if syntax in DECODERS else decoder.is_available
    )
    if not available:
        raise UnreadableImage(
            f"{name}: no codec for its compression ({'unknown' if syntax is None else syntax.name}). "
            "Run pip install 'carpal[dicom]', or save the file uncompressed (Explicit VR Little Endian)"
        )


def _pixels(dataset: Any, pixels: Any, assumed: list[str]) -> NDArray[Any]:
    values = _first_frame(dataset, pixels)
    if values.ndim == 3:
        return to_grey(Image.fromarray(_to_uint8(values, int(dataset.BitsStored))), assumed)
    grey_HW = _smallest_type(voi(modality(values, dataset, assumed), dataset, assumed))
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey_HW = grey_HW.max() - grey_HW + grey_HW.min()
    return grey_HW


def _first_frame(dataset: Any, pixels: Any) -> NDArray[Any]:
    """The stored values of frame 0, by the decoder of `DECODERS`."""
    plugin = DECODERS.get(dataset.file_meta.TransferSyntaxUID, "")
    if plugin != "gdcm":
        return np.asarray(pixels.pixel_array(dataset, index=0, decoding_plugin=plugin))
    from pydicom.encaps import encapsulate, get_frame

    options = pixels.as_pixel_options(dataset)
    frame = get_frame(
        dataset.PixelData,
        0,
        number_of_frames=options["number_of_frames"],
        extended_offsets=options.get("extended_offsets"),
    )
    frame = checked_jpeg(frame, dataset.Columns, dataset.Rows, dataset.BitsAllocated)
    # pydicom refuses to give GDCM the extended process with 12 bits, which GDCM 3.2 decodes as DCMTK does, bit for bit.
    # Which process it is GDCM finds by the JPEG itself, so it may be called baseline.
    syntax = dataset.file_meta.TransferSyntaxUID
    decoder = pixels.get_decoder(JPEG_BASELINE if syntax == JPEG_EXTENDED else syntax)
    one = options | {"number_of_frames": 1, "extended_offsets": None, "transfer_syntax_uid": decoder.UID}
    return np.asarray(decoder.as_array(encapsulate([frame]), index=0, decoding_plugin="gdcm", **one)[0])


def _smallest_type(values_HW: NDArray[Any]) -> NDArray[Any]:
    """uint8 or uint16 where that loses nothing, otherwise float32."""
    if values_HW.dtype == np.uint8:
        return values_HW
    low, high = values_HW.min(), values_HW.max()
    whole = values_HW.dtype.kind in "iu" or bool(np.all(values_HW == np.rint(values_HW)))
    return values_HW.astype(np.uint16 if whole and low >= 0 and high <= 65535 else np.float32)


def _to_uint8(values_HWC: NDArray[Any], bits_stored: int) -> NDArray[np.uint8]:
    return values_HWC if values_HWC.dtype == np.uint8 else (values_HWC >> max(bits_stored - 8, 0)).astype(np.uint8)
