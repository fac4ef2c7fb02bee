"""One mistake in a header never loses the study, in the node as little as in the decoder: each is read all the same."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import SecondaryCaptureImageStorage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

import node_fixtures
import node_kit as kit
from carpal.node.config import load, parse
from carpal.node.reader import Outcome, _settings
from carpal.node.reading import Reading
from carpal.queue.jobs import State
from carpal.types import Radiograph

_quiet = node_fixtures.log
UID = f"{kit.ROOT}.1.1"
MISTAKES: dict[str, Any] = {
    "SOPInstanceUID": ["", None, "hand-1", f"{UID} "],
    "SOPClassUID": ["", None],
    "Modality": ["", None, "dx", "DX ", ["DX", "OT"], ["", "DX"], "Dx"],
    "BodyPartExamined": ["LEFT HAND", "HAND_PA", "hand", "Hand/Wrist", ["ARM", "HAND"], "HAND, LEFT", "R-WRIST"],
    "StudyInstanceUID": ["", None, "1.2.010.3"],
    "SeriesInstanceUID": [None],
    "PatientSex": ["f", "", None, "female", ["F", "M"]],
    "PatientName": [None, "A" * 200],
    "PatientID": [None, ""],
    "StudyDate": [None, "2026", "20261399"],
    "PatientAge": ["10", "tenY"],
    "StudyDescription": [["a", "b"], "x" * 300],
    "Manufacturer": [["a", "b"]],
    "SpecificCharacterSet": ["ISO 2022 KLINGON"],
    "Rows": [None, 0],
    "BitsStored": [None, 99],
    "PhotometricInterpretation": [None, "MONOCHROME9"],
    "SamplesPerPixel": [None, 3],
    "RescaleSlope": ["0"],
    "WindowWidth": ["0"],
    "ModalityLUTSequence": [Sequence([Dataset()])],
}


@pytest.fixture(scope="module")
def reading() -> Reading:
    config = parse({"node": {"folder": "unused"}, "results": {"objects": ["sr"]}})
    return Reading(_settings(config), kit.fake_network())


def sent(drawn: Radiograph, **tags: Any) -> bytes:
    """The file as the receiver writes it: the meta information names what the command named, whatever the data set."""
    rows, columns = drawn.pixels_HW.shape
    dataset = kit.radiograph(1, Rows=rows, Columns=columns, PixelData=drawn.pixels_HW.tobytes())
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
        if value is None:
            delattr(dataset, keyword)
    buffer, dataset.preamble = BytesIO(), bytes(128)
    dataset.save_as(buffer, enforce_file_format=False)  # True would carry the data set's mistake over
    assert buffer.getvalue()[128:132] == b"DICM"
    return buffer.getvalue()


@pytest.mark.filterwarnings(
    "ignore:Invalid value", "ignore:The value length", "ignore:Unknown encoding", "ignore:The PN"
)
@pytest.mark.parametrize(
    ("keyword", "value"), [(keyword, value) for keyword in MISTAKES for value in MISTAKES[keyword]]
)
def test_a_mistake_in_the_header_loses_no_study(
    reading: Reading, drawn_hand: Radiograph, keyword: str, value: Any
) -> None:
    answer = reading.read(sent(drawn_hand, **{keyword: value}), UID, [])
    assert (answer.outcome, answer.code) == (Outcome.READ, None), answer.message
    check_reference(dcmread(BytesIO(answer.files["sr.dcm"])))


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_a_study_that_no_result_can_name_is_rejected_and_nothing_is_sent(
    reading: Reading, drawn_hand: Radiograph
) -> None:
    answer = reading.read(sent(drawn_hand, StudyInstanceUID="x"), UID, [])
    assert (answer.outcome, answer.code, answer.files) == (Outcome.REFUSED, "bad-identity", {})
    assert "StudyInstanceUID is no UID" in (answer.message or "")


def test_an_object_that_names_neither_class_nor_instance_nor_modality_is_that_of_its_command(
    tmp_path: Path, drawn_hand: Radiograph
) -> None:
    original = dcmread(BytesIO(sent(drawn_hand)))
    bare = dcmread(BytesIO(sent(drawn_hand, SOPInstanceUID=None, SOPClassUID=None, Modality=None)))
    archive = kit.Pacs()
    config = load(kit.write_config(tmp_path / "node.toml", archive.port))
    with kit.running(config, kit.FakeNetworkReader) as node:
        association = kit.associate(node.port)
        request = C_STORE()
        request.MessageID, request.Priority = 1, 0
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = original.SOPClassUID, UID
        encoded = encode(bare, False, True)
        assert encoded is not None
        request.DataSet = BytesIO(encoded)
        [context] = [each for each in association.accepted_contexts if each.abstract_syntax == original.SOPClassUID]
        association.dimse.send_msg(request, context.context_id)
        assert kit.wait_for(lambda: node.jobs.counts()[State.DELIVERED] == 1), node.jobs.latest()
        [job] = node.jobs.latest()
        [written] = (config.node.folder / "results" / job.id).iterdir()
        check_reference(dcmread(written))
        association.abort()
    archive.close()


def check_reference(report: Dataset) -> None:
    """The report speaks of the instance and class of the command, under which the archive has the radiograph."""
    [study] = report.CurrentRequestedProcedureEvidenceSequence
    [image] = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert image.ReferencedSOPInstanceUID == UID
    assert image.ReferencedSOPClassUID == kit.radiograph(1).SOPClassUID


@pytest.mark.parametrize("vr", ["OW", "UN", "OF", "US"])
def test_pixels_in_the_wrong_vr_lose_no_study(reading: Reading, drawn_hand: Radiograph, vr: str) -> None:
    data = sent(drawn_hand)
    long, short = b"\xe0\x7f\x10\x00OB\0\0", b"\xe0\x7f\x10\x00" + vr.encode()
    assert data.count(long) == 1
    head, pixels = data.split(long)
    length = pixels[:4] if vr != "US" else pixels[:2]  # a short VR has two bytes for it: 51200 fits
    changed = head + short + (b"\0\0" if vr != "US" else b"") + length + pixels[4:]
    assert reading.read(changed, UID, []).outcome is Outcome.READ


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"SOPInstanceUID": f"{kit.ROOT}.1.2"}, "other-uid"),
        ({"BodyPartExamined": "HANDLE"}, "no-route"),
        ({"BodyPartExamined": "BEHAND"}, "no-route"),
        ({"BodyPartExamined": "KNEE"}, "no-route"),
        ({"Modality": "OT"}, "no-route"),
        ({"Modality": ["OT", "DX"]}, "no-route"),
        ({"Modality": None, "SOPClassUID": SecondaryCaptureImageStorage}, "no-route"),
        ({"Manufacturer": "carpal "}, "own-result"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value")
def test_what_is_not_for_us_is_still_ignored(
    reading: Reading, drawn_hand: Radiograph, tags: dict[str, Any], code: str
) -> None:
    assert reading.read(sent(drawn_hand, **tags), UID, []).code == code
