"""The reader's process: what becomes of hands, of incomplete ones and of files made to break decoders."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import threading
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

import node_fixtures
import node_kit as kit
from bombs_kit import BOMBS, MAY_BE_READ
from carpal.errors import ReaderDied, WeightsError
from carpal.node.config import NodeConfig
from carpal.node.reader import Outcome, Reader
from carpal.types import Radiograph
from dicom_kit import compress
from node_kit import changed, read
from process_kit import cpu_seconds, forget_peak, peak_mb

MEMORY_MB = 300
SECONDS = 2.0


reader_config, reader = node_fixtures.reader_config, node_fixtures.reader


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
    compress(packed, RLELossless)
    again = read(reader, tmp_path, packed, known=[first.result["pixels"], first.result["picture"]])
    assert (again.outcome, again.files) == (Outcome.READ, first.files)
    assert again.result["pixels"] != first.result["pixels"]
    assert read(reader, tmp_path, packed, known=[first.result["pixels"]]).code == "duplicate-uid"


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_by_name_in_time_and_memory(reader: Reader, tmp_path: Path, hand: Dataset, name: str) -> None:
    content = BOMBS[name](hand)
    read(reader, tmp_path, hand)
    pid = reader.pid
    assert pid is not None
    before, start = forget_peak(pid), cpu_seconds(pid)
    answer = read(reader, tmp_path, content)
    seconds = cpu_seconds(pid) - start
    assert answer.outcome in (Outcome.REFUSED, Outcome.IGNORED, *((Outcome.READ,) if name in MAY_BE_READ else ())), (
        answer
    )
    assert answer.code != "internal"
    assert answer.code is not None or answer.outcome is Outcome.READ
    assert "Planted" not in f"{answer.message}"
    assert seconds < SECONDS
    assert peak_mb(pid) - before < MEMORY_MB
    assert reader.pid == pid, "the reader survived it"


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
