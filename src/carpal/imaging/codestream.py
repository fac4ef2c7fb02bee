"""What a compressed picture states by itself: size, bits, samples and coding, read without decoding it.

A DICOM header may say 64 x 64 where the JPEG inside says 65,500 x 65,500, and the decoders believe the JPEG. And GDCM
ends the whole process where a JPEG's header is odd, so it gets only headers that were checked here.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

JPEG_START: Final = b"\xff\xd8"
JPEG_2000_START: Final = b"\xff\x4f\xff\x51"
FRAME_MARKERS: Final = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""SOF0..SOF15 without DHT, JPG and DAC (ITU T.81, table B.1), and JPEG-LS's SOF55 (T.87)."""
JPEG_SYNTAXES: Final = {0xC0: ".50", 0xC1: ".51", 0xC2: ".51", 0xC3: ".70", 0xF7: ".81"}
KEPT_MARKERS: Final = {0xC4, 0xDB, 0xDD, *range(0xC0, 0xC4), 0xF7, 0xF8}
"""DHT, DQT, DRI, JPEG-LS's presets, and the five coding processes that are read: what a decoder needs of the header."""
DROPPED_MARKERS: Final = {*range(0xE0, 0xF0), 0xFE}
"""APP0..APP15 and COM."""
LOSSY_BITS: Final = (8, 12)
LOSSLESS_BITS: Final = tuple(range(2, 17))
"""Bits of a sample that T.81 allows (table B.2)."""
JPEG_2000, HIGH_THROUGHPUT = "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203"
PART_15: Final = 0x4000
"""The bit of Rsiz that says High-Throughput JPEG 2000 (ITU T.814, A.2)."""
RLE: Final = "1.2.840.10008.1.2.5"
RLE_SEGMENTS: Final = {1: (8, 1), 2: (16, 1), 3: (8, 3), 6: (16, 3)}
"""Each byte of each sample is a segment of its own (PS3.5 G.2): bits and samples by the number of segments."""


class Coded(NamedTuple):
    """Width, height, bits of a sample, the DICOM transfer syntax that such a picture has, and the samples of a pixel.

    None where not stated.
    """

    width: int | None
    height: int | None
    bits: int | None
    syntax: str | None
    samples: int | None


def describe(frame: bytes) -> Coded | None:
    """What the header of a JPEG, JPEG-LS, JPEG 2000 or RLE frame states; None for anything else."""
    if frame.startswith(JPEG_START):
        return _jpeg(frame)
    start = frame.find(JPEG_2000_START, 0, 4096)  # a JP2 box may stand before it
    if start >= 0 and len(frame) >= start + 43:
        features, right, bottom, left, top = struct.unpack(">H4I", frame[start + 6 : start + 24])
        (samples,) = struct.unpack(">H", frame[start + 40 : start + 42])
        syntax = HIGH_THROUGHPUT if features & PART_15 else JPEG_2000
        return Coded(right - left, bottom - top, (frame[start + 42] & 0x7F) + 1, syntax, samples)
    if len(frame) >= 64:
        segments, first = struct.unpack("<2I", frame[:8])
        if first == 64 and 1 <= segments <= 15:  # the RLE header of PS3.5 G.5 states no size
            bits, samples = RLE_SEGMENTS.get(segments, (None, None))
            return Coded(None, None, bits, RLE, samples)
    return None


def _jpeg(frame: bytes) -> Coded | None:
    at = len(JPEG_START)
    while at + 10 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker in FRAME_MARKERS:
            bits, height, width, samples = struct.unpack(">BHHB", frame[at + 4 : at + 10])
            end = JPEG_SYNTAXES.get(marker)
            return Coded(width, height, bits, None if end is None else f"1.2.840.10008.1.2.4{end}", samples)
        # A fill byte stands alone; every other segment before the frame header states its length.
        at += 1 if marker == 0xFF else 2 + struct.unpack(">H", frame[at + 2 : at + 4])[0]
    return None


def checked_jpeg(frame: bytes, width: int, height: int, bits_allocated: int) -> bytes:
    """The JPEG with a header of tables, frame and scan only, from its first scan on as it came.

    `width` and `height` (pixels) and `bits_allocated` (8 or 16) are those of the DICOM header, for which the decoder's
    buffer is made. GDCM 3.2 throws through its own C code, which ends the process, where bytes stand between the
    segments, for a JFIF version other than 1, four components, and bits of a sample that no JPEG has. Raises ValueError
    for all that, for arithmetic coding, and where size or bits differ.
    """
    kept, at, process = [JPEG_START], len(JPEG_START), None
    while frame[at : at + 1] == b"\xff" and at + 4 <= len(frame):
        marker = frame[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        end = at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        if marker == 0xDA and process is not None:
            return b"".join([*kept, frame[at:]])
        if marker in FRAME_MARKERS and marker in KEPT_MARKERS and process is None:
            process = marker
            bits, *size, components = struct.unpack(">BHHB", frame[at + 4 : at + 10])
            if bits not in (LOSSLESS_BITS if marker in (0xC3, 0xF7) else LOSSY_BITS) or components not in (1, 3):
                raise ValueError(f"a JPEG of {bits} bits a sample and {components} components: none is coded so")
            if size != [height, width] or (bits > 8) != (bits_allocated > 8):
                raise ValueError(f"a JPEG of size {size} and {bits} bits in a header of other size or bits")
        elif marker not in (KEPT_MARKERS | DROPPED_MARKERS) - FRAME_MARKERS:
            break
        if marker in KEPT_MARKERS:
            kept.append(frame[at:end])
        at = end
    raise ValueError("the header of the JPEG is damaged, or of a kind that is not read")
