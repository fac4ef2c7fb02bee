"""What the released weights make of a radiograph, through DCMTK alone: dumped, stored, found and fetched again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

import tools
from carpal.cli import main

pytestmark = pytest.mark.slow

pytest.importorskip("onnxruntime")
pytest.importorskip("reportlab")
EXAMPLE = Path(__file__).parents[1] / "examples" / "6456.jpg"
STUDY = "1.2.826.0.1.3680043.10.999.7.1"
PATIENT = {"PatientName": "Example^Hand", "PatientID": "6456", "PatientBirthDate": "20150818", "AccessionNumber": "A-7"}
TAGS = {"Modality": "DX", "BodyPartExamined": "HAND", "PatientSex": "F", "StudyDate": "20260101", "Laterality": "L"}
EXPECTED = {
    "SR": ("1.2.840.10008.5.1.4.1.1.88.33", "Bone age, structured report"),
    "OT": ("1.2.840.10008.5.1.4.1.1.7", "Bone age, picture"),
    "PR": ("1.2.840.10008.5.1.4.1.1.11.1", "Bone age, regions"),
    "DOC": ("1.2.840.10008.5.1.4.1.1.104.1", "Bone age, PDF"),
}
"""SOP class and series description by modality."""


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The four DICOM objects of one reading of the released weights."""
    folder = tmp_path_factory.mktemp("reading")
    hand, given = folder / "hand.dcm", {**PATIENT, **TAGS, "StudyInstanceUID": STUDY}
    words = [word for name, value in given.items() for word in ("-k", f"{name}={value}")]
    made = tools.run("img2dcm", EXAMPLE, hand, *words)
    assert made.returncode == 0, made.stderr
    assert main(["assess", str(hand), "--sr", "--capture", "--gsps", "--pdf", str(folder / "reports")]) == 0
    return sorted((folder / "reports").glob("*.dcm"))


def test_dcmdump_reads_every_object_without_a_word(objects: list[Path]) -> None:
    assert len(objects) == 4
    for path in objects:
        dumped = tools.run("dcmdump", path)
        assert (dumped.returncode, dumped.stderr) == (0, ""), path.name
        assert f"UI [{STUDY}]" in dumped.stdout


def found(port: int, **keys: str) -> str:
    """What findscu prints of its matches."""
    words = [word for name, value in keys.items() for word in ("-k", f"{name}={value}".removesuffix("="))]
    answer = tools.run("findscu", "-S", "-aec", "PACS", "127.0.0.1", str(port), *words)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout + answer.stderr


def test_an_archive_finds_and_gives_back_what_it_was_sent(objects: list[Path], tmp_path: Path) -> None:
    port, fetched = tools.free_port(), tmp_path / "fetched"
    fetched.mkdir()
    at = ("-aec", "PACS", "127.0.0.1", str(port))
    with tools.dcmqrscp(tmp_path / "pacs", port):
        stored = tools.run("storescu", *at, *objects)
        assert stored.returncode == 0, stored.stderr
        asked = dict.fromkeys(("PatientName", "AccessionNumber", "StudyDate", "StudyInstanceUID"), "")
        study = found(port, QueryRetrieveLevel="STUDY", PatientID="6456", **asked)
        assert study.count("(Pending)") == 1, "one study"
        for value in ("Example^Hand", "A-7", "20260101", STUDY):
            assert value in study
        for modality in EXPECTED:
            asked = {"StudyInstanceUID": STUDY, "Modality": modality, "SeriesInstanceUID": ""}
            series = found(port, QueryRetrieveLevel="SERIES", **asked)
            assert series.count("(Pending)") == 1, modality
        wanted = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY}")
        got = tools.run("getscu", "-S", *at, "-od", fetched, *wanted)
        assert got.returncode == 0, got.stderr
    back = {dataset.Modality: dataset for dataset in map(dcmread, fetched.iterdir())}
    assert {modality: (d.SOPClassUID, d.SeriesDescription) for modality, d in back.items()} == EXPECTED
    sent: dict[str, Any] = {dataset.Modality: dataset for dataset in map(dcmread, objects)}
    for modality, dataset in back.items():
        assert dataset == sent[modality], f"{modality} came back as it was sent"
        assert {name: str(dataset[name].value) for name in PATIENT} == PATIENT
