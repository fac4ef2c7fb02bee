"""Two hands or an unknown sex in a DICOM file: over REST the same objects as the command writes, and signed ones."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from starlette.testclient import TestClient

from carpal.imaging.read import read_radiograph
from carpal.inference.assess import cut_out, read_hands
from carpal.report import forms
from carpal.types import Radiograph, Sex
from dicom_kit import errors_of, header_of
from node_kit import as_bytes, radiograph

pytestmark = pytest.mark.slow

Settle = Callable[..., dict[str, Any]]
FORMS = ("pdf", "png", "json", "sr.dcm", "capture.dcm", "gsps.dcm", "pdf.dcm", "fhir.json", "hl7")
AS_THE_COMMAND = {"sr": "sr.dcm", "capture": "capture.dcm", "gsps": "gsps.dcm", "fhir": "fhir.json", "hl7": "hl7"}
HTML = {"Accept": "text/html"}
CASES = {"two hands": (2, "F", Sex.FEMALE), "unknown sex": (1, "O", None), "both": (2, "O", None)}


def file_of(drawn: Radiograph, hands: int, sex: str) -> bytes:
    """A DX object of one drawn hand, or of two beside each other."""
    one = drawn.pixels_HW
    pixels_HW = one if hands == 1 else np.concatenate([one[:, ::-1], one], axis=1)
    shape = {"Rows": pixels_HW.shape[0], "Columns": pixels_HW.shape[1]}
    dated = {"PatientBirthDate": "20160101", "StudyTime": "101112"}
    return as_bytes(radiograph(1, **shape, **dated, PatientSex=sex, PixelData=pixels_HW.tobytes()))


@pytest.fixture
def send(client: TestClient, engine: Any, drawn_hand: Radiograph, settle: Settle) -> Callable[[str], tuple[str, bytes]]:
    """Queues a case and waits; boys read 11 months older. Gives the job's address and the file."""
    engine.more_for_boys = 11.0

    def run(case: str) -> tuple[str, bytes]:
        hands, sex, stated = CASES[case]
        data = file_of(drawn_hand, hands, sex)
        facts = {} if stated else {"sex": "unknown"}
        job = client.post("/api/v1/jobs", files={"files": ("hand.dcm", data)}, data=facts).json()["jobs"][0]
        assert settle(client, job["id"])["state"] == "done"
        return f"/api/v1/jobs/{job['id']}", data

    return run


def observations(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for entry in bundle["entry"] if entry["resource"]["resourceType"] == "Observation"]


@pytest.mark.parametrize("case", ["two hands", "unknown sex"])
def test_every_form_exists_and_is_the_commands(
    client: TestClient, engine: Any, send: Callable[[str], tuple[str, bytes]], case: str
) -> None:
    address, data = send(case)
    got = {form: client.get(f"{address}/report.{form}") for form in AS_THE_COMMAND.values()}
    assert {form: answer.status_code for form, answer in got.items()} == dict.fromkeys(got, 200)
    picture = read_radiograph(data, "the radiograph")
    results = read_hands(picture, CASES[case][2], engine)
    hands = [(cut_out(picture, result)) for result in results]
    made = forms.make_all(list(AS_THE_COMMAND), results, header_of(data), hands)
    assert [kind for kind, form in AS_THE_COMMAND.items() if got[form].content != made[kind].content] == []
    page = client.get(address.replace("/api/v1/jobs", "/studies"), headers=HTML).text
    assert all(f"/report.{form}?" in page for form in FORMS)


def test_one_object_holds_every_age_and_none_as_the_answer(
    client: TestClient, send: Callable[[str], tuple[str, bytes]], tmp_path: Path
) -> None:
    address, _ = send("both")
    bundle = client.get(f"{address}/report.fhir.json").json()
    whole, *readings = observations(bundle)[:5]
    assert "valueQuantity" not in whole["resource"]
    assert [reading["resource"]["valueQuantity"]["value"] for reading in readings] == [120, 131, 120, 131]
    segments = [line.split("|") for line in client.get(f"{address}/report.hl7").text.split("\r")]
    ages = [s[4:6] for s in segments if s[0] == "OBX" and s[3].startswith("37362-1") and s[4] in ("", *SUB_IDS)]
    assert ages == [["", ""], ["left F", "120"], ["left M", "131"], ["right F", "120"], ["right M", "131"]]
    report = tmp_path / "sr.dcm"
    report.write_bytes(client.get(f"{address}/report.sr.dcm").content)
    assert errors_of(report) == []


SUB_IDS = ("left F", "left M", "right F", "right M")


def numbers(document: Dataset) -> list[float | None]:
    """Bone ages of the document's groups (TID 1501, then 1410), None for one without a value."""
    found = []
    for item in document.ContentSequence[-1].ContentSequence:
        for value in item.get("ContentSequence", ()):
            if value.ValueType == "NUM" and value.ConceptNameCodeSequence[0].CodeValue == "37362-1":
                measured = value.get("MeasuredValueSequence") or [None]
                found.append(None if measured[0] is None else float(measured[0].NumericValue))
    return found


def test_of_two_hands_the_signed_report_holds_the_one_that_was_signed(
    client: TestClient, send: Callable[[str], tuple[str, bytes]], tmp_path: Path
) -> None:
    address, _ = send("two hands")
    machine = pydicom.dcmread(io.BytesIO(client.get(f"{address}/report.sr.dcm").content))
    assert numbers(machine)[:3] == [None, 120, 120]
    decision = {"decision": "adjust", "months": 114, "reason": "carpals", "hand": "right"}
    assert client.post(f"{address}/sign", json=decision).status_code == 200
    content = client.get(f"{address}/report.sr.dcm").content
    (tmp_path / "sr.dcm").write_bytes(content)
    assert errors_of(tmp_path / "sr.dcm") == []
    signed = pydicom.dcmread(io.BytesIO(content))
    reference = signed.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert reference.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == machine.SOPInstanceUID
    assert reference.SeriesInstanceUID == machine.SeriesInstanceUID == signed.SeriesInstanceUID
    assert signed.SOPInstanceUID != machine.SOPInstanceUID
    assert (signed.VerificationFlag, numbers(signed)[0], len(numbers(signed))) == ("VERIFIED", 114, 1 + 17)
    remarks = [str(element.value) for element in signed.iterall() if element.keyword == "TextValue"]
    assert any("adjusted for the hand at the right of the picture by local" in remark for remark in remarks)
    bundle = client.get(f"{address}/report.fhir.json").json()
    own = bundle["entry"][-1]["resource"]
    [derived] = [entry for entry in bundle["entry"] if entry["fullUrl"] == own["derivedFrom"][0]["reference"]]
    assert (own["valueQuantity"]["value"], derived["resource"]["valueQuantity"]["value"]) == (114, 120)
    assert "hand at the right of the picture" in json.dumps(derived["resource"]["note"])


def test_rejected_as_a_whole_no_age_is_left(
    client: TestClient, send: Callable[[str], tuple[str, bytes]], tmp_path: Path
) -> None:
    address, _ = send("unknown sex")
    assert client.post(f"{address}/sign", json={"decision": "reject", "reason": "moved"}).status_code == 200
    (tmp_path / "sr.dcm").write_bytes(client.get(f"{address}/report.sr.dcm").content)
    assert numbers(pydicom.dcmread(tmp_path / "sr.dcm")) == [None]
    assert errors_of(tmp_path / "sr.dcm") == []
    bundle = client.get(f"{address}/report.fhir.json").json()
    own, whole = bundle["entry"][-1]["resource"], observations(bundle)[0]
    assert own["derivedFrom"] == [{"reference": whole["fullUrl"]}]
    assert (own["status"], "valueQuantity" in own) == ("final", False)
