"""A DICOM file whose PatientName is a script: text wherever it appears, markup nowhere."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pydicom
import pytest
from pypdf import PdfReader
from starlette.testclient import TestClient

from carpal.types import Radiograph
from node_kit import as_bytes, radiograph

pytestmark = pytest.mark.slow

EVIL = "<script>alert('x')</script><b>"
HTML = {"Accept": "text/html"}


class Tags(HTMLParser):
    """What a browser makes of a page: its elements and what each script element loads or holds."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scripts: list[dict[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "script":
            self.scripts.append(dict(attributes))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def study(client: TestClient, drawn_hand: Radiograph, settle: Callable[..., dict[str, Any]]) -> str:
    pixels_HW = drawn_hand.pixels_HW
    shape = {"Rows": pixels_HW.shape[0], "Columns": pixels_HW.shape[1]}
    names = {"PatientName": EVIL, "PatientID": EVIL, "PatientBirthDate": "20160101"}
    data = as_bytes(radiograph(1, **shape, **names, PixelData=pixels_HW.tobytes()))
    job = client.post("/api/v1/jobs", files={"files": ("hand.dcm", data)}).json()["jobs"][0]
    assert settle(client, job["id"])["state"] == "done"
    return str(job["id"])


@pytest.mark.parametrize("path", ["/studies/{}", "/"])
def test_it_is_text_on_the_page(client: TestClient, study: str, path: str) -> None:
    page = client.get(path.format(study), headers=HTML).text
    assert EVIL not in page
    found = Tags()
    found.feed(page)
    assert EVIL in found.text
    assert "b" not in found.tags
    assert {(script.get("src") or "")[:8] for script in found.scripts if script.get("type") == "module"} == {"/static/"}
    assert {script.get("type") for script in found.scripts} <= {"module", "application/json"}


def test_it_is_text_in_fhir_which_no_browser_takes_for_a_page(client: TestClient, study: str) -> None:
    answer = client.get(f"/api/v1/jobs/{study}/report.fhir.json", headers=HTML)
    assert answer.headers["content-type"] == "application/fhir+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    (patient,) = (
        entry["resource"]
        for entry in json.loads(answer.text)["entry"]
        if entry["resource"]["resourceType"] == "Patient"
    )
    assert patient["name"][0]["text"] == EVIL
    assert patient["identifier"][0]["value"] == EVIL
    assert not any("div" in entry["resource"].get("text", {}) for entry in json.loads(answer.text)["entry"])


def test_it_is_text_in_the_other_forms(client: TestClient, study: str) -> None:
    address = f"/api/v1/jobs/{study}/report."
    report = pydicom.dcmread(io.BytesIO(client.get(f"{address}sr.dcm").content))
    assert (str(report.PatientName), report.PatientID) == (EVIL, EVIL)
    pdf = client.get(f"{address}pdf").content
    assert EVIL in PdfReader(io.BytesIO(pdf)).pages[0].extract_text()
    assert b"/JavaScript" not in pdf
    line = next(line for line in client.get(f"{address}hl7").text.split("\r") if line.startswith("PID|"))
    assert EVIL in line
    assert EVIL not in client.get(f"{address}json").text, "the JSON of an assessment names nobody"
