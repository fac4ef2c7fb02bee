"""DICOM to grey: one frame, modality LUT applied, bones as bright as the file means them.

The order is that of PS3.3 C.11 and PS3.4 N.2: stored values -> modality LUT or rescale -> VOI LUT, where it is a table
-> MONOCHROME1 inverted last. A window (centre and width) is not applied: it would clip, and `preprocess` finds its own.
Messages carry no value of a tag that may describe the patient.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from carpal.errors import CarpalError, UnreadableImage, UnsuitableImage
from carpal.imaging.codestream import coded_size
from carpal.imaging.limits import MAX_BYTES, check_size
from carpal.imaging.raster import to_grey
from carpal.optional import need
from carpal.types import Radiograph, Sex

MAX_SAMPLES = 1_000_000_000
"""Rows x columns x frames x samples that a header may claim, though only the first frame is decoded."""
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT = {True: "1.2.840.10008.1.2.1", False: "1.2.840.10008.1.2.2"}
DEFLATED = b"1.2.840.10008.1.2.1.99"
SEXES = {"M": Sex.MALE, "F": Sex.FEMALE}


def decode_dicom(data: bytes, name: str) -> Radiograph:
    """Decodes the first frame of a DICOM file with 8 to 16 bits a sample; `name` stands in errors and in the result.

    `sex` is PatientSex where that says M or F, otherwise None. Raises UnreadableImage where there is no picture, the
    bytes are damaged or no codec is installed, UnsuitableImage by size or kind, BackendError without pydicom.
    """
    feature = f"{name}: reading DICOM"
    pydicom = need("pydicom", feature, extra="dicom")
    pixels = need("pydicom.pixels", feature, extra="dicom")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values outside their VR; what we use is checked below
            _check_inflated(data, name)
            dataset = pydicom.dcmread(BytesIO(data), force=True)
            assumed = _check_header(dataset, name)
            _check_codec(dataset, pixels, name, assumed)
            pixels_HW = _pixels(dataset, pixels, assumed)
            sex = SEXES.get(str(dataset.get("PatientSex", "")).strip().upper())
    except CarpalError:
        raise
    except Exception as error:  # pydicom raises what its parsers meet; its text may quote a patient's tags, so drop it
        raise UnreadableImage(
            f"{name}: the DICOM file is damaged or incomplete ({len(data)} bytes; {type(error).__name__}). "
            "Copy or export it again"
        ) from None
    return Radiograph(pixels_HW, source=name, sex=sex, warnings=tuple(assumed))


def _check_inflated(data: bytes, name: str) -> None:
    """A deflated data set is inflated whole by pydicom: refuse one that would not fit."""
    if DEFLATED not in data[132:1024]:
        return
    (meta_length,) = struct.unpack("<I", data[140:144])  # (0002,0000), the first element after the preamble
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflater.decompress(data[144 + meta_length :], MAX_BYTES)
    if inflater.unconsumed_tail:
        raise UnsuitableImage(f"{name}: inflates to more than {MAX_BYTES // 2**20} MiB. Save it uncompressed")


def _check_header(dataset: Any, name: str) -> list[str]:
    """Everything that can be refused before a pixel is decoded. Returns the warnings so far."""
    if "PixelData" not in dataset:
        raise UnreadableImage(
            f"{name}: this DICOM object holds no picture (no PixelData). Give the image itself, not its report or state"
        )
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    frames, samples = int(dataset.get("NumberOfFrames") or 1), int(dataset.get("SamplesPerPixel") or 1)
    check_size(columns, rows, name)
    if not (frames > 0 and samples in (1, 3) and rows * columns * frames * samples <= MAX_SAMPLES):
        raise UnsuitableImage(
            f"{name}: the header claims {columns} x {rows} pixels x {frames} frames x {samples} samples. "
            "Export this one radiograph as a single frame"
        )
    bits, kind = int(dataset.BitsAllocated), str(dataset.PhotometricInterpretation)
    if bits not in (8, 16) or kind not in (GREY if samples == 1 else COLOUR):
        wanted = "8 or 16 bits and MONOCHROME1, MONOCHROME2 or RGB"
        known = kind if kind in (*GREY, *COLOUR, "PALETTE COLOR") else "an unknown PhotometricInterpretation"
        raise UnsuitableImage(f"{name}: {bits} bits a sample and {known}; we read {wanted}. Export it so, or as PNG")
    return [f"the file holds {frames} frames; the first one was read"] if frames > 1 else []


def _check_codec(dataset: Any, pixels: Any, name: str, assumed: list[str]) -> None:
    """Names the missing codec, rather than letting the decoder fail; assumes a transfer syntax where none is stated."""
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit, is_little = dataset.original_encoding
        dataset.file_meta.TransferSyntaxUID = IMPLICIT_LITTLE if is_implicit else EXPLICIT[is_little]
        assumed.append("the file states no transfer syntax; its pixels were taken as uncompressed")
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        available = pixels.get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise UnreadableImage(
            f"{name}: no codec for its compression ({syntax.name}). Run pip install 'carpal[dicom]', "
            "or save the file uncompressed (Explicit VR Little Endian)"
        )
    if syntax.is_encapsulated:
        _check_coded_size(dataset, name)


def _check_coded_size(dataset: Any, name: str) -> None:
    """The compressed picture must be as large as the header says, for the decoder allocates what the picture says."""
    encaps = need("pydicom.encaps", f"{name}: reading DICOM", extra="dicom")
    frames = int(dataset.get("NumberOfFrames") or 1)
    coded = coded_size(encaps.get_frame(dataset.PixelData, 0, number_of_frames=frames))
    if coded not in (None, (dataset.Columns, dataset.Rows)):
        raise UnreadableImage(
            f"{name}: the header says {dataset.Columns} x {dataset.Rows} pixels, the compressed picture inside "
            f"{coded[0]} x {coded[1]}. Export it again"
        )


def _pixels(dataset: Any, pixels: Any, assumed: list[str]) -> NDArray[Any]:
    values = pixels.pixel_array(dataset, index=0)
    if values.ndim == 3:
        return to_grey(Image.fromarray(_to_uint8(values, int(dataset.BitsStored))), assumed)
    values_HW = _modality(values, dataset)
    if dataset.get("VOILUTSequence"):
        values_HW = _look_up(values_HW, dataset.VOILUTSequence[0])
    grey_HW = _smallest_type(values_HW)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey_HW = grey_HW.max() - grey_HW + grey_HW.min()
    return grey_HW


def _modality(stored_HW: NDArray[Any], dataset: Any) -> NDArray[Any]:
    """Stored values to the modality's own: by a table, by slope and intercept, or as they are."""
    if dataset.get("ModalityLUTSequence"):
        return _look_up(stored_HW, dataset.ModalityLUTSequence[0])
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope is None or intercept is None or (slope, intercept) == (1, 0):
        return stored_HW
    return stored_HW.astype(np.float64) * float(slope) + float(intercept)


def _look_up(values_HW: NDArray[Any], item: Any) -> NDArray[Any]:
    """One LUT of a sequence (PS3.3 C.11.1.1). Ours, because pydicom 3.0's wraps 12-bit values in an 8-bit table."""
    entries, first, bits = (int(value) for value in item.LUTDescriptor)
    entries = entries or 2**16
    if isinstance(item.LUTData, bytes):
        packed = bits == 8 and len(item.LUTData) < 2 * entries
        word = ">u2" if item.original_encoding[1] is False else "<u2"
        table = np.frombuffer(item.LUTData, np.uint8 if packed else word)
    else:
        table = np.atleast_1d(np.asarray(item.LUTData, np.uint16))
    index_HW = np.clip(np.rint(values_HW).astype(np.int64) - first, 0, min(entries, table.size) - 1)
    return np.asarray(table[index_HW])


def _smallest_type(values_HW: NDArray[Any]) -> NDArray[Any]:
    """uint8 or uint16 where that loses nothing, otherwise float32."""
    if values_HW.dtype == np.uint8:
        return values_HW
    low, high = values_HW.min(), values_HW.max()
    whole = values_HW.dtype.kind in "iu" or bool(np.all(values_HW == np.rint(values_HW)))
    return values_HW.astype(np.uint16 if whole and low >= 0 and high <= 65535 else np.float32)


def _to_uint8(values_HWC: NDArray[Any], bits_stored: int) -> NDArray[np.uint8]:
    return values_HWC if values_HWC.dtype == np.uint8 else (values_HWC >> max(bits_stored - 8, 0)).astype(np.uint8)
