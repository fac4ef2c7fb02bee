"""The HTML pages: what they show, in both languages; names that hold markup stay text."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid
from pypdf import PdfReader
from starlette.testclient import TestClient

from carpal.types import Interval, Radiograph
from carpal.web.review import Reading, Study

Queue = Callable[..., dict[str, Any]]
HTML = {"Accept": "text/html"}
EVIL = "<script>alert('x')</script>"
STATIC = Path(__file__).parents[2] / "src" / "carpal" / "web" / "static"


def form_token(page: str) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', page)
    assert found
    return found.group(1)


def dicom(radiograph: Radiograph, **tags: Any) -> bytes:
    """The drawn hand as a DICOM file with these tags."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = ComputedRadiographyImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["hand"])
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    pixels = radiograph.pixels_HW.astype(np.uint16) * 16
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture
def study(client: TestClient, queue: Queue) -> str:
    """A read study of a girl whose name is a script, with everything that a form can tell."""
    facts = {"birth_date": "2010-01-01", "study_date": "2020-07-01", "height_cm": "140", "patient_id": "4711"}
    job = queue(client, patient_name=EVIL, **facts)
    return f"/studies/{job['id']}"


def test_a_name_that_holds_a_script_is_text_on_the_page(client: TestClient, study: str) -> None:
    for path in (study, "/"):
        page = client.get(path, headers=HTML).text
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page


def test_a_name_that_holds_a_script_is_text_in_the_pdf(client: TestClient, study: str) -> None:
    identifier = study.rpartition("/")[2]
    pdf = client.get(f"/api/v1/jobs/{identifier}/report.pdf").content
    (page,) = PdfReader(io.BytesIO(pdf)).pages
    assert EVIL in page.extract_text()
    assert "/JavaScript" not in pdf.decode("latin-1")


def test_a_file_name_that_holds_a_script_is_text_in_json_and_html(client: TestClient, png: bytes, settle: Any) -> None:
    name = "<script>.png"
    answer = client.post("/api/v1/jobs", files={"files": (name, png)}, data={"sex": "male"})
    job = answer.json()["jobs"][0]
    settle(client, job["id"])
    assert answer.headers["content-type"] == "application/json"
    result = client.get(f"/api/v1/jobs/{job['id']}/report.json")
    assert json.loads(result.text)[0]["image"] == name
    assert name not in client.get("/", headers=HTML).text


def test_the_page_shows_what_a_reader_would_draw(client: TestClient, study: str) -> None:
    page = client.get(study, headers=HTML).text
    for words in (
        "10 years", "120.0", "Chronological age", "10 years 6 months", "z-score", "normal", "Greulich",
        "Compared with other children", "Adult height", "Pinneau", "Asynchrony", "Radius and ulna", "MCP1", "Wrist",
    ):  # fmt: skip
        assert words in page
    assert page.count('<tr data-region="') == 17
    assert page.count('<svg class="chart"') == 2


def test_the_page_speaks_german(client: TestClient, study: str) -> None:
    page = client.get(study, headers=HTML | {"Accept-Language": "de-AT,de;q=0.9,en;q=0.5"}).text
    for words in ('<html lang="de">', "Knochenalter", "10 Jahre", "Lebensalter", "Erwachsenengröße", "Unterschreiben"):
        assert words in page
    token = form_token(page)
    client.post("/language", data={"language": "en", "form_token": token}, headers=HTML)
    assert '<html lang="en">' in client.get(study, headers=HTML | {"Accept-Language": "de"}).text


def test_earlier_readings_of_the_child_become_a_curve(client: TestClient, queue: Queue) -> None:
    facts = {"birth_date": "2010-01-01", "patient_id": "4711"}
    queue(client, study_date="2019-01-01", **facts)
    job = queue(client, study_date="2020-01-01", **facts)
    page = client.get(f"/studies/{job['id']}", headers=HTML).text
    assert page.count('<circle class="earlier"') == 1
    assert page.count('<circle class="child"') == 1
    assert "error of a velocity is not known" in page


class Sure:
    """A calibration of intervals: a year to either side."""

    def interval(self, sex: Any, months: float, probabilities_K: Any) -> Interval:
        return Interval(months - 12, months + 12, 0.9)


def test_with_an_interval_velocity_and_height_have_their_error(client: TestClient, engine: Any, queue: Queue) -> None:
    engine.calibration = Sure()
    facts = {"birth_date": "2010-01-01", "patient_id": "4711", "height_cm": "140"}
    queue(client, study_date="2018-01-01", **facts)
    engine.months = 132.0
    job = queue(client, study_date="2020-01-01", **facts)
    page = client.get(f"/studies/{job['id']}", headers=HTML).text
    assert page.count('<circle class="earlier"') == 1
    pace = r"Since the reading before: 0\.5 years of bone age a year \(95 % interval \N{MINUS SIGN}\d\.\d to \d\.\d\)"
    assert re.search(pace, page)
    assert "90 % interval: 10 years \N{EN DASH} 12 years" in page
    height = r'class="big">\d{3} \N{EN DASH} \d{3} cm</p>\s*<p class="source">From 140\.0 cm and .* Group: .* Pinneau'
    assert re.search(height, page)


def test_the_dashboard_has_both_charts_and_the_drift(client: TestClient) -> None:
    readings = client.app.app.state.desk.studies.readings  # type: ignore[attr-defined]
    for number in range(25):
        readings.add(Study(f"{number:024x}", f"2026-01-{number + 1:02}", "anna", "a.png", sex="male"))
        readings.sign(Reading(f"{number:024x}", "anna", decision="adjust", months=120.0 + number, machine_months=120.0))
    page = client.get("/agreement", headers=HTML).text
    charts = page.split('<svg class="chart"')[1:]
    assert len(charts) == 2
    assert [chart.count('<circle class="child"') for chart in charts] == [25, 25]
    assert [chart.count('<polyline class="mean"') for chart in charts] == [1, 1], "bias; running mean of 20"
    assert charts[0].count('<polyline class="earlier"') == 2, "limits of agreement"
    for words in ("+12.0", "Bias of the last 20, months", "+14.5", "Lancet 1986"):
        assert words in page


def test_dicom_brings_sex_dates_and_name(client: TestClient, drawn_hand: Radiograph, settle: Queue) -> None:
    data = dicom(
        drawn_hand,
        PatientName="Doe^Jane",
        PatientID="4711",
        PatientSex="F",
        PatientBirthDate="20100101",
        StudyDate="20200101",
    )
    job = client.post("/api/v1/jobs", files={"files": ("hand.dcm", data)}).json()["jobs"][0]
    assert settle(client, job["id"])["sex"] == "female"
    page = client.get(f"/studies/{job['id']}", headers=HTML).text
    assert "Doe, Jane" in page
    assert "4711" in page


def test_dicom_has_every_form_and_the_signed_ones_name_the_machines(
    client: TestClient, drawn_hand: Radiograph, settle: Queue
) -> None:
    data = dicom(drawn_hand, PatientSex="F", PatientBirthDate="20100101", StudyDate="20200101", StudyTime="120000")
    job = client.post("/api/v1/jobs", files={"files": ("hand.dcm", data)}).json()["jobs"][0]
    settle(client, job["id"])
    address = f"/api/v1/jobs/{job['id']}/report."
    for form in ("pdf", "png", "json", "sr.dcm", "capture.dcm", "gsps.dcm", "pdf.dcm", "fhir.json", "hl7"):
        assert client.get(address + form).status_code == 200, form
    machine = pydicom.dcmread(io.BytesIO(client.get(address + "sr.dcm").content))
    bundle = client.get(address + "fhir.json").json()
    assert (machine.VerificationFlag, bundle["entry"][0]["resource"]["status"]) == ("UNVERIFIED", "preliminary")

    reading = {"decision": "adjust", "months": 114, "reason": "carpals"}
    client.post(f"/api/v1/jobs/{job['id']}/sign", json=reading)
    signed = pydicom.dcmread(io.BytesIO(client.get(address + "sr.dcm").content))
    (earlier,) = signed.PredecessorDocumentsSequence
    reference = earlier.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == machine.SOPInstanceUID != signed.SOPInstanceUID
    assert signed.VerificationFlag == "VERIFIED"
    assert signed.VerifyingObserverSequence[0].VerifyingObserverName == "local"
    assert "114" in str(signed)

    after = client.get(address + "fhir.json").json()
    report, own = after["entry"][0]["resource"], after["entry"][-1]["resource"]
    urls = {entry["fullUrl"]: entry["resource"] for entry in after["entry"]}
    derived = urls[own["derivedFrom"][0]["reference"]]
    assert report["status"] == own["status"] == "final"
    assert (own["valueQuantity"]["value"], derived["valueQuantity"]["value"]) == (114.0, 120.0)
    assert report["result"][0]["reference"] in urls


def test_the_page_asks_for_the_sex(client: TestClient, queue: Queue, settle: Queue) -> None:
    job = queue(client, sex="")
    page = client.get(f"/studies/{job['id']}", headers=HTML).text
    assert "Which sex?" in page
    data = {"form_token": form_token(page), "sex": "male"}
    client.post(f"/studies/{job['id']}/facts", data=data, headers=HTML)
    assert settle(client, job["id"])["state"] == "done"


def test_uploading_without_scripts_leads_to_the_study(client: TestClient, png: bytes) -> None:
    token = form_token(client.get("/", headers=HTML).text)
    send = {"data": {"form_token": token, "sex": "female"}, "headers": HTML, "follow_redirects": False}
    answer = client.post("/studies", files={"files": ("a.png", png)}, **send)  # type: ignore[arg-type]
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/studies/")
    two = [("files", ("a.png", png)), ("files", ("b.txt", b"x"))]
    answer = client.post("/studies", files=two, **send)  # type: ignore[arg-type]
    assert "b.txt" in answer.text
    assert "not a radiograph" in answer.text


def test_signing_on_the_page(client: TestClient, study: str) -> None:
    token = form_token(client.get(study, headers=HTML).text)
    data = {"form_token": token, "decision": "adjust", "own_years": "9", "own_months": "6", "reason": EVIL}
    page = client.post(f"{study}/sign", data=data, headers=HTML).text
    assert "Adjusted: 9 years 6 months" in page
    assert EVIL not in page
    identifier = study.rpartition("/")[2]
    text = PdfReader(io.BytesIO(client.get(f"/api/v1/jobs/{identifier}/report.pdf").content)).pages[0].extract_text()
    assert "Adjusted: 9 years 6 months, signed by local" in text
    assert "The machine read: 120.0 months (abababababab)" in text.replace("\n", " ")


def test_the_viewer_gets_every_grey_value(client: TestClient, drawn_hand: Radiograph, settle: Queue) -> None:
    data = dicom(drawn_hand, PatientSex="M")
    job = client.post("/api/v1/jobs", files={"files": ("hand.dcm", data)}).json()["jobs"][0]
    answer = client.get(f"/studies/{job['id']}/pixels")
    shape = int(answer.headers["x-height"]), int(answer.headers["x-width"])
    grey = np.frombuffer(answer.content, "<u2").reshape(shape)
    np.testing.assert_array_equal(grey, drawn_hand.pixels_HW.astype(np.uint16) * 16)


def test_an_error_is_a_page_for_people(client: TestClient) -> None:
    answer = client.get("/nothing", headers=HTML)
    assert answer.status_code == 404
    assert "That did not work" in answer.text
    assert '<a class="button" href="/">' in answer.text


def test_the_page_stays_small(client: TestClient, study: str) -> None:
    """300 KB without the radiograph: the HTML with every file that it loads."""
    html = client.get(study, headers=HTML).content
    loaded = set(re.findall(r'(?:src|href)="/static/([^"]+)"', html.decode()))
    assert loaded == {"icon.svg", "style.css", "viewer.js"}
    total = len(html) + sum((STATIC / name).stat().st_size for name in loaded)
    assert total < 300_000


def test_the_page_loads_nothing_from_elsewhere(client: TestClient, study: str) -> None:
    for path in ("/", study, "/agreement", "/login"):
        html = client.get(path, headers=HTML).text
        assert re.findall(r'(?:src|href|action)="(?!/|#)([^"]*)"', html) == []
        assert " style=" not in html
        assert " on" + "click=" not in html
