"""Regions were put right, then signed: the new objects have UIDs of their own, the signed ones name the machine's."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from starlette.testclient import TestClient

from carpal.types import Radiograph
from dicom_kit import errors_of
from node_kit import as_bytes, radiograph

Settle = Callable[..., dict[str, Any]]
BOXES = {"Radius": [10, 20, 50, 60], "Wrist": [12, 20, 52, 60]}


@pytest.fixture
def address(client: TestClient, drawn_hand: Radiograph, settle: Settle) -> str:
    """A DICOM study that the machine read as 120 months; with regions put right it reads 126."""
    pixels_HW = drawn_hand.pixels_HW
    shape = {"Rows": pixels_HW.shape[0], "Columns": pixels_HW.shape[1]}
    data = as_bytes(radiograph(1, **shape, PatientBirthDate="20160101", PixelData=pixels_HW.tobytes()))
    job = client.post("/api/v1/jobs", files={"files": ("hand.dcm", data)}).json()["jobs"][0]
    assert settle(client, job["id"])["state"] == "done"
    return f"/api/v1/jobs/{job['id']}"


def dicom_of(client: TestClient, address: str, form: str = "sr.dcm") -> Dataset:
    return pydicom.dcmread(io.BytesIO(client.get(f"{address}/report.{form}").content))


def ages(document: Dataset) -> list[float]:
    """The hand's age and, behind it, those of the regions."""
    groups = document.ContentSequence[-1].ContentSequence
    return [
        float(item.MeasuredValueSequence[0].NumericValue)
        for group in groups
        for item in group.get("ContentSequence", ())
        if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == "37362-1"
    ]


def uids(document: Dataset) -> set[str]:
    """The instance and every tracking identifier in it."""
    groups = [group for item in document.ContentSequence for group in item.get("ContentSequence", ())]
    inside = [item for group in groups for item in group.get("ContentSequence", ()) if item.ValueType == "UIDREF"]
    return {str(document.SOPInstanceUID), *(str(item.UID) for item in inside)}


def put_right(client: TestClient, address: str, boxes: dict[str, list[float]] = BOXES) -> None:
    assert client.put(f"{address}/regions", json={"boxes": boxes}).json()["months"] == 126.0


def test_a_signed_sr_names_what_the_machine_read_before_regions_were_put_right(
    client: TestClient, address: str, tmp_path: Path
) -> None:
    machine = dicom_of(client, address)
    put_right(client, address)
    corrected = dicom_of(client, address)
    assert (ages(machine)[0], ages(corrected)[0]) == (120.0, 126.0)
    assert machine.SOPInstanceUID != corrected.SOPInstanceUID, "other content, another UID"
    assert client.post(f"{address}/sign", json={"decision": "accept"}).status_code == 200
    content = client.get(f"{address}/report.sr.dcm").content
    (tmp_path / "sr.dcm").write_bytes(content)
    assert errors_of(tmp_path / "sr.dcm") == []
    signed = pydicom.dcmread(io.BytesIO(content))
    (series,) = signed.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == machine.SOPInstanceUID
    assert series.SeriesInstanceUID == machine.SeriesInstanceUID
    assert signed.SOPInstanceUID not in (machine.SOPInstanceUID, corrected.SOPInstanceUID)
    assert (ages(signed)[0], len(ages(signed))) == (126.0, 1 + 17)
    said = " ".join(str(element.value) for element in signed.iterall() if element.keyword == "TextValue")
    assert "regions put right by hand: Radius, Wrist" in said
    assert "the machine read 120.0 months" in said


def test_a_signed_fhir_observation_is_derived_from_what_the_machine_read(client: TestClient, address: str) -> None:
    before = client.get(f"{address}/report.fhir.json").json()
    put_right(client, address)
    corrected = client.get(f"{address}/report.fhir.json").json()
    assert corrected["identifier"] != before["identifier"]
    client.post(f"{address}/sign", json={"decision": "accept"})
    bundle = client.get(f"{address}/report.fhir.json").json()
    own = bundle["entry"][-1]["resource"]
    machine = {entry["fullUrl"]: entry["resource"] for entry in bundle["entry"]}[own["derivedFrom"][0]["reference"]]
    assert (own["valueQuantity"]["value"], machine["valueQuantity"]["value"]) == (126.0, 120.0)
    assert own["derivedFrom"][0]["reference"] in {entry["fullUrl"] for entry in before["entry"]}
    notes = [note["text"] for note in own["note"]]
    assert "the machine read 120.0 months" in notes[0]
    assert "regions put right by hand: Radius, Wrist" in notes
    assert "put right" not in str(machine["note"])


def test_the_same_regions_give_the_same_uids_and_others_other_ones(client: TestClient, address: str) -> None:
    found = {"machine": dicom_of(client, address)}
    put_right(client, address)
    found["first"] = dicom_of(client, address)
    put_right(client, address, dict(reversed(BOXES.items())))
    assert dicom_of(client, address) == found["first"], "the order in which regions are sent says nothing"
    put_right(client, address, BOXES | {"Wrist": [13, 20, 53, 60]})
    found["second"] = dicom_of(client, address)
    everything = [uid for document in found.values() for uid in uids(document)]
    assert len(uids(found["machine"])) >= 18
    shared = [uid for uid in set(everything) if everything.count(uid) > 1]
    assert shared == [], "an object that differs never has another's UID"


def test_each_page_in_an_envelope_has_a_uid_of_its_own(client: TestClient, address: str) -> None:
    def pages() -> list[Dataset]:
        return [dicom_of(client, address, f"pdf.dcm?language={language}") for language in ("en", "de")]

    found = pages()
    assert pages() == found, "the same page, the same object"
    put_right(client, address)
    found += pages()
    client.post(f"{address}/sign", json={"decision": "accept"})
    found += pages()
    assert len({page.EncapsulatedDocument for page in found}) == 6
    assert len({page.SOPInstanceUID for page in found}) == 6
