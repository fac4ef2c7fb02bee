"""The size that a compressed picture states by itself, read without decoding it.

A DICOM header may say 64 x 64 where the JPEG inside says 65,500 x 65,500, and the decoders believe the JPEG.
"""

from __future__ import annotations

import struct

JPEG_START = b"\xff\xd8"
JPEG_2000_START = b"\xff\x4f\xff\x51"
FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""SOF0..SOF15 without DHT, JPG and DAC (ITU T.81, table B.1), and JPEG-LS's SOF55 (T.87)."""


def coded_size(frame: bytes) -> tuple[int, int] | None:
    """(width, height) in the header of a JPEG, lossless JPEG, JPEG-LS or JPEG 2000 frame; None where none is found."""
    if frame.startswith(JPEG_START):
        return _jpeg_size(frame)
    start = frame.find(JPEG_2000_START, 0, 4096)  # a JP2 box may stand before it
    if start < 0 or len(frame) < start + 24:
        return None
    right, bottom, left, top = struct.unpack(">4I", frame[start + 8 : start + 24])
    return right - left, bottom - top


def _jpeg_size(frame: bytes) -> tuple[int, int] | None:
    at = len(JPEG_START)
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker in FRAME_MARKERS:
            height, width = struct.unpack(">HH", frame[at + 5 : at + 9])
            return width, height
        # A fill byte stands alone; every other segment before the frame header states its length.
        at += 1 if marker == 0xFF else 2 + struct.unpack(">H", frame[at + 2 : at + 4])[0]
    return None
