"""Files made to break what reads them: they unfold, claim a giant picture, nest too deep, or are no DICOM at all."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

import node_kit as kit
from node_kit import changed


def deflated_bomb(hand: Dataset) -> bytes:
    """1.5 GB of zeros in 1.5 MB: one compressed stretch, repeated."""
    meta = BytesIO()
    copy = changed(hand)
    copy.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    copy.PixelData = b"\0\0"
    copy.save_as(meta, enforce_file_format=True)
    head = meta.getvalue()[: 144 + struct.unpack("<I", meta.getvalue()[140:144])[0]]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    start = packer.compress(b"\xe0\x7f\x10\x00OB\0\0" + struct.pack("<I", 1_500_000_000)) + packer.flush(
        zlib.Z_FULL_FLUSH
    )
    stretch = packer.compress(bytes(15_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + start + stretch * 100 + packer.flush()


def giant(hand: Dataset, side: int, syntax: str, coded: bytes) -> Dataset:
    copy = changed(hand, Rows=side, Columns=side)
    copy.file_meta.TransferSyntaxUID = syntax
    copy.PixelData = encapsulate([coded])
    copy["PixelData"].is_undefined_length = True
    return copy


def jpeg_header(side: int) -> bytes:
    """A JPEG whose frame header claims side x side pixels, with next to nothing behind it."""
    from PIL import Image

    small = BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(small, "JPEG")
    data = bytearray(small.getvalue())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(data)


def nested(hand: Dataset, depth: int) -> Dataset:
    copy = changed(hand)
    inner = Dataset()
    inner.CodeValue = "1"
    for _ in range(depth):
        outer = Dataset()
        outer.ContentSequence = Sequence([inner])
        inner = outer
    copy.ContentSequence = Sequence([inner])
    return copy


BOMBS: dict[str, Callable[[Dataset], Dataset | bytes]] = {
    "inflates to 1.5 GB": lambda hand: deflated_bomb(hand),
    "RLE header of 65000 x 65000": lambda hand: giant(
        hand, 65000, RLELossless, struct.pack("<16I", 1, 64, *[0] * 14) + bytes(600)
    ),
    "JPEG header of 65500 x 65500": lambda hand: giant(hand, 65500, JPEGBaseline8Bit, jpeg_header(65500)),
    "JPEG inside larger than the header": lambda hand: giant(hand, 64, JPEGBaseline8Bit, jpeg_header(65500)),
    "pixels missing": lambda hand: changed(hand, Rows=60000, Columns=60000),
    "a blank picture": lambda hand: changed(hand, PixelData=bytes(len(hand.PixelData))),
    "no DICOM": lambda hand: b"MZ" + bytes(1000),
    "nothing": lambda hand: b"",
    "sequences nested 200 deep": lambda hand: kit.as_bytes(nested(hand, 200)),
    "cut in half": lambda hand: kit.as_bytes(hand)[: len(hand.PixelData) // 2],
}
"""Each by its name, made of a radiograph of a hand."""
MAY_BE_READ = ("sequences nested 200 deep",)
"""The picture itself is sound."""
