"""DICOM to grey: one frame, modality and VOI applied, bones as bright as the file means them, its examination beside.

The order is that of PS3.3 C.11 and PS3.4 N.2: stored values -> modality LUT or rescale -> VOI LUT or window ->
MONOCHROME1 inverted last. Mistakes in the header become assumptions, listed in the radiograph's warnings.
Messages carry no value of a tag that may describe the patient.
"""

from __future__ import annotations

import hashlib
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from carpal.errors import CarpalError, UnreadableImage, UnsuitableImage, need
from carpal.imaging.codestream import checked_jpeg
from carpal.imaging.exam import (
    PATIENT,
    STUDY,
    exam_of,
    find_padding,
    from_palette,
    header_of,
    modality,
    own_bits,
    sex_of,
    voi,
)
from carpal.imaging.header import PALETTE, check_kind, notices, number, repair, square_scale, stated
from carpal.imaging.raster import MAX_BYTES, check_size, to_grey
from carpal.types import Header, Radiograph

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


class DicomFile:
    """A DICOM file, parsed once: routing, reading and reports ask the same data set.

    `data` are the file's bytes, `name` stands in errors and in the radiograph. Raises UnreadableImage where the bytes
    are damaged, UnsuitableImage for a deflated file of more than `most` bytes (default: MAX_BYTES), BackendError
    without pydicom.
    """

    def __init__(self, data: bytes, name: str, most: int | None = None) -> None:
        self.data, self.name = data, name
        self.dataset = open_dataset(data, name, MAX_BYTES if most is None else most)
        with quiet():
            _assume_utf8(self.dataset)

    @cached_property
    def header(self) -> Header:
        """What reports need of the file, also where its pixels cannot be read. Raises UnreadableImage."""
        _, failure = self._repaired
        try:
            with quiet():
                exam = exam_of(self.dataset, [])
                return header_of(self.dataset, hashlib.sha256(self.data).hexdigest(), exam, failure is None)
        except Exception as error:
            raise damaged(self.data, self.name, error) from None

    def decode(self) -> Radiograph:
        """The first frame, of 8 to 16 bits a sample, with its header.

        `sex` is PatientSex where that says M or F, otherwise None; `exam` what else the header states. Raises
        UnreadableImage where there is no picture, the bytes are damaged or no codec is installed, UnsuitableImage by
        size or kind, BackendError without pydicom.
        """
        dataset, name = self.dataset, self.name
        pixels = need("pydicom.pixels", f"{name}: reading DICOM", extra="dicom")
        try:
            with quiet():
                assumed = check_kind(dataset, name)
                repaired, failure = self._repaired
                if failure is not None:
                    raise failure
                assumed += repaired
                _check_codec(dataset, pixels, name)
                if (frames := number(dataset, "NumberOfFrames") or 1) > 1:
                    assumed.append(f"the file holds {frames} frames; the first one was read")
                pixels_HW = _pixels(dataset, pixels, name, assumed)
                exam = exam_of(dataset, assumed)
                assumed += notices(dataset)
        except CarpalError:
            raise
        except Exception as error:
            raise damaged(self.data, name, error) from None
        return Radiograph(pixels_HW, name, sex_of(dataset), tuple(assumed), exam, self.header)

    @cached_property
    def _repaired(self) -> tuple[list[str], CarpalError | None]:
        """What `repair` assumed of the pixels, which it makes fit once, or why it could not."""
        try:
            with quiet():
                return repair(self.dataset, self.name), None
        except CarpalError as error:
            return [], error
        except Exception as error:
            return [], damaged(self.data, self.name, error)


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


def open_dataset(data: bytes, name: str, most: int) -> Any:
    """The pydicom data set of a file's bytes, as it stands. Raises UnreadableImage, UnsuitableImage, BackendError."""
    pydicom = need("pydicom", f"{name}: reading DICOM", extra="dicom")
    try:
        with quiet():
            _check_inflated(data, name, most)
            dataset = pydicom.dcmread(BytesIO(data), force=True)
            keep_pixel_bytes(pydicom, dataset)
            return dataset
    except CarpalError:
        raise
    except Exception as error:
        raise damaged(data, name, error) from None


def _assume_utf8(dataset: Any) -> None:
    """Text in no declared character set is UTF-8 where all of it can be: bytes of another set hardly ever look so.

    Otherwise each byte is a letter of Latin 1, so that what is written holds the same bytes.
    """
    if stated(dataset, "SpecificCharacterSet") not in ("", "ISO_IR 6"):
        return
    items = [dataset.get_item(keyword) for keyword in (*PATIENT, *STUDY) if keyword in dataset]
    raw = b"".join(item.value for item in items if isinstance(item.value, bytes))
    try:
        if not raw.isascii() and raw.decode("utf-8"):
            dataset.set_original_encoding(*dataset.original_encoding, "utf8")
    except UnicodeDecodeError:
        return


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


def _check_inflated(data: bytes, name: str, most: int) -> None:
    """A deflated data set is inflated whole by pydicom: refuse one that would not fit, counting piece by piece."""
    if DEFLATED not in data[132:1024]:
        return
    (meta_length,) = struct.unpack("<I", data[140:144])  # (0002,0000), the first element after the preamble
    inflater, rest, size = zlib.decompressobj(-zlib.MAX_WBITS), data[144 + meta_length :], 0
    while rest and size <= most:
        size += len(inflater.decompress(rest, 1 << 20))
        rest = inflater.unconsumed_tail
    if size > most:
        raise UnsuitableImage(f"{name}: inflates to more than {most // 2**20} MiB. Save it uncompressed")


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


def _pixels(dataset: Any, pixels: Any, name: str, assumed: list[str]) -> NDArray[Any]:
    """The first frame as grey with square pixels. What pads it is air: its darkest value, so no percentile sees it."""
    values = _first_frame(dataset, pixels)
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


def _first_frame(dataset: Any, pixels: Any) -> NDArray[Any]:
    """The stored values of frame 0, with whatever stands above BitsStored, by the decoder of `DECODERS`."""
    plugin = DECODERS.get(dataset.file_meta.TransferSyntaxUID, "")
    if plugin != "gdcm":
        return np.asarray(pixels.pixel_array(dataset, index=0, decoding_plugin=plugin, correct_unused_bits=False))
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
    one = options | {
        "correct_unused_bits": False,
        "number_of_frames": 1,
        "extended_offsets": None,
        "transfer_syntax_uid": decoder.UID,
    }
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
