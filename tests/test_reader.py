"""The reader's process: what becomes of hands, of incomplete ones and of files made to break decoders."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import struct
import threading
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

import node_fixtures
import node_kit as kit
from carpal.errors import ReaderDied, WeightsError
from carpal.service.config import NodeConfig
from carpal.service.reader import Outcome, Reader
from carpal.types import Radiograph
from node_kit import changed, read

MEMORY_MB = 300
SECONDS = 2.0


reader_config, reader = node_fixtures.reader_config, node_fixtures.reader


def cpu_seconds(reader: Reader) -> float:
    """What the child has computed so far: unlike the clock, the same on a busy machine."""
    fields = Path(f"/proc/{reader.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(reader: Reader) -> float:
    """The most memory that the child has ever held."""
    status = Path(f"/proc/{reader.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


@pytest.fixture(scope="module")
def hand(drawn_hand: Radiograph) -> Dataset:
    pixels_HW = drawn_hand.pixels_HW
    return kit.radiograph(1, Rows=pixels_HW.shape[0], Columns=pixels_HW.shape[1], PixelData=pixels_HW.tobytes())


def test_a_hand_gives_an_age_and_a_report_of_the_same_study(reader: Reader, tmp_path: Path, hand: Dataset) -> None:
    answer = read(reader, tmp_path, hand)
    assert (answer.outcome, answer.code) == (Outcome.READ, None)
    [assessment] = answer.result["assessments"]
    assert 0 <= assessment["months"] <= 228
    report = dcmread(BytesIO(answer.files["sr.dcm"]))
    assert (report.Modality, report.StudyInstanceUID, report.PatientID) == ("SR", hand.StudyInstanceUID, hand.PatientID)
    assert read(reader, tmp_path, hand).files == answer.files, "the same object, byte for byte"


@pytest.mark.parametrize(
    ("tags", "instance", "known", "code"),
    [
        ({"BodyPartExamined": "KNEE"}, None, (), "no-route"),
        ({"Modality": "OT"}, None, (), "no-route"),
        ({"Manufacturer": "carpal"}, None, (), "own-result"),
        ({}, f"{kit.ROOT}.1.2", (), "other-uid"),
        ({}, None, ("0" * 64,), "duplicate-uid"),
    ],
)
def test_what_is_not_for_us_is_ignored(
    reader: Reader, tmp_path: Path, hand: Dataset, tags: Any, instance: Any, known: Any, code: str
) -> None:
    answer = read(reader, tmp_path, changed(hand, **tags), instance, known)
    assert (answer.outcome, answer.code, answer.files) == (Outcome.IGNORED, code, {})


def test_the_same_picture_under_a_corrected_header_is_read(reader: Reader, tmp_path: Path, hand: Dataset) -> None:
    refused = read(reader, tmp_path, changed(hand, PatientSex="O"))
    corrected = read(reader, tmp_path, hand, known=[refused.result["pixels"]])
    assert corrected.outcome is Outcome.READ
    uids = [dcmread(BytesIO(answer.files["sr.dcm"])).SOPInstanceUID for answer in (refused, corrected)]
    assert uids[0] != uids[1]


def test_the_same_picture_compressed_anew_is_no_other_picture(reader: Reader, tmp_path: Path, hand: Dataset) -> None:
    first = read(reader, tmp_path, hand)
    packed = changed(hand)
    packed.compress(RLELossless, generate_instance_uid=False)
    again = read(reader, tmp_path, packed, known=[first.result["pixels"], first.result["picture"]])
    assert (again.outcome, again.files) == (Outcome.READ, first.files)
    assert again.result["pixels"] != first.result["pixels"]
    assert read(reader, tmp_path, packed, known=[first.result["pixels"]]).code == "duplicate-uid"


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


BOMBS = {
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
    "cut in half": lambda hand: kit.as_bytes(hand)[: len(hand.PixelData) // 2],
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_by_name_in_time_and_memory(reader: Reader, tmp_path: Path, hand: Dataset, name: str) -> None:
    content = BOMBS[name](hand)
    read(reader, tmp_path, hand)
    before, pid, start = peak_mb(reader), reader.pid, cpu_seconds(reader)
    answer = read(reader, tmp_path, content)
    seconds = cpu_seconds(reader) - start
    assert answer.outcome in (Outcome.REFUSED, Outcome.IGNORED), answer
    assert answer.code not in (None, "internal")
    assert "Planted" not in f"{answer.message}"
    assert seconds < SECONDS
    assert peak_mb(reader) - before < MEMORY_MB
    assert reader.pid == pid, "the reader survived it"


def test_sequences_nested_beyond_reason_are_named(reader: Reader, tmp_path: Path, hand: Dataset) -> None:
    data = kit.as_bytes(nested(hand, 200))
    start = cpu_seconds(reader)
    answer = read(reader, tmp_path, data, str(hand.SOPInstanceUID))
    assert answer.outcome in (Outcome.READ, Outcome.REFUSED, Outcome.IGNORED)
    assert answer.code != "internal"
    assert cpu_seconds(reader) - start < SECONDS


def test_a_hundred_mutated_files_have_an_outcome_each(reader: Reader, tmp_path: Path) -> None:
    data = kit.as_bytes(kit.radiograph(1))
    for _ in range(100):
        broken = bytearray(data)
        for _ in range(random.randint(1, 20)):
            broken[random.randrange(132, 900)] = random.randrange(256)
        answer = read(reader, tmp_path, bytes(broken[: random.randint(400, len(broken))]))
        assert answer.code != "internal", answer
        assert answer.outcome is not Outcome.FAILED


def test_too_slow_is_stopped_and_replaced(reader_config: NodeConfig, tmp_path: Path, hand: Dataset) -> None:
    quick = kit.FakeNetworkReader(
        dataclasses.replace(reader_config, reading=dataclasses.replace(reader_config.reading, seconds=0.3))
    )
    quick.start()
    os.mkfifo(tmp_path / "fifo")  # opening it waits for ever
    with pytest.raises(ReaderDied, match="longer"):
        quick.read(tmp_path / "fifo", "1.2", [])
    assert quick.pid is None
    quick.config = reader_config
    assert read(quick, tmp_path, hand).outcome is Outcome.READ
    quick.close()


def test_a_reader_that_is_killed_by_what_it_reads_says_so(reader_config: NodeConfig, tmp_path: Path) -> None:
    victim = kit.FakeNetworkReader(reader_config)
    victim.start()
    pid = victim.pid
    assert pid is not None
    os.mkfifo(tmp_path / "fifo")
    killer = threading.Timer(0.2, lambda: os.kill(pid, signal.SIGSEGV))
    killer.start()
    with pytest.raises(ReaderDied, match="signal 11"):
        victim.read(tmp_path / "fifo", "1.2", [])
    killer.join()


def test_weights_that_are_missing_are_named_at_the_start(reader_config: NodeConfig) -> None:
    missing = dataclasses.replace(
        reader_config, reading=dataclasses.replace(reader_config.reading, weights="/none.onnx")
    )
    with pytest.raises(WeightsError):
        Reader(missing).start()
