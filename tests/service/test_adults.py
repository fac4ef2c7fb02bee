"""An adult gets no age, whichever way the date of birth came: with the file, with the upload, or put in later."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from carpal.anatomy import REGIONS
from carpal.types import Radiograph
from node_kit import as_bytes, radiograph

Queue = Callable[..., dict[str, Any]]
ADULT, CHILD = "1980-01-01", "2010-01-01"
HTML = {"Accept": "text/html"}


def result_of(client: TestClient, job: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = client.get(f"/api/v1/jobs/{job['id']}/result").json()
    return body


@pytest.mark.parametrize("sex", ["female", "unknown"])
def test_an_adult_by_the_form_has_no_age_anywhere(client: TestClient, queue: Queue, sex: str) -> None:
    job = queue(client, sex=sex, birth_date=ADULT, study_date="2020-07-01")
    body = result_of(client, job)
    assert (body["months"], body["regions"], body["interval"]) == (None, [], None)
    assert body["refused"]["code"] == "adult"
    assert "120" not in str({key: value for key, value in body.items() if key != "model"})
    page = client.get(f"/studies/{job['id']}", headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert "the patient is an adult" in page.text
    german = client.get(f"/studies/{job['id']}", headers=HTML | {"Accept-Language": "de"}).text
    assert "Der Patient ist erwachsen. Ein Knochenalter gibt es nur bei Kindern." in german
    assert "the patient is an adult (the stated age" in german, "what was measured is not lost"
    assert "10 years" not in page.text
    home = client.get("/", headers=HTML).text
    assert "10 years" not in home
    assert re.search(r"<td>\N{EN DASH}</td>\s*<td>refused</td>", home), "the list says why there is no age"
    assert client.get(f"/api/v1/jobs/{job['id']}/report.pdf").status_code == 404


def test_a_date_put_in_later_takes_the_age_away_and_a_mended_one_gives_it_back(
    client: TestClient, queue: Queue
) -> None:
    job = queue(client, study_date="2020-07-01")
    address = f"/api/v1/jobs/{job['id']}"
    assert result_of(client, job)["months"] == 120.0
    boxes = {"boxes": {REGIONS[0]: [0, 0, 40, 40]}}
    assert client.put(f"{address}/regions", json=boxes).json()["months"] == 126.0
    assert client.patch(address, data={"birth_date": ADULT}).status_code == 200
    assert result_of(client, job)["refused"]["code"] == "adult"
    (shown,) = client.get(f"{address}/report.json").json()
    assert (shown["months"], shown["refused"]["code"]) == (None, "adult"), "put-right regions do not bring it back"
    assert client.put(f"{address}/regions", json=boxes).status_code == 409
    assert client.patch(address, data={"birth_date": CHILD}).status_code == 200
    assert result_of(client, job)["months"] == 120.0
    assert client.get(f"{address}/report.json").json()[0]["months"] == 126.0


@pytest.fixture
def adult(client: TestClient, drawn_hand: Radiograph, settle: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """A child's DICOM file whose date of birth is wrong by 30 years."""
    pixels_HW = drawn_hand.pixels_HW
    shape = {"Rows": pixels_HW.shape[0], "Columns": pixels_HW.shape[1], "PixelData": pixels_HW.tobytes()}
    dates = {"PatientBirthDate": "19800101", "StudyDate": "20200701", "PatientAge": "040Y"}
    file = as_bytes(radiograph(1, **shape, **dates, PatientSex="F"))
    job = client.post("/api/v1/jobs", files={"files": ("hand.dcm", file)}).json()["jobs"][0]
    return settle(client, job["id"])


def test_a_wrong_date_in_the_file_can_be_mended_on_the_page_and_stays_recorded(
    client: TestClient, adult: dict[str, Any]
) -> None:
    page = client.get(f"/studies/{adult['id']}", headers=HTML).text
    assert result_of(client, adult)["refused"]["code"] == "adult"
    assert '<details class="card" open><summary>Complete or correct' in page
    assert "in the file:" not in page
    (token,) = set(re.findall(r'name="form_token" value="([^"]+)"', page))
    mended = {"form_token": token, "sex": "female", "birth_date": CHILD, "study_date": "2020-07-01"}
    page = client.post(f"/studies/{adult['id']}/facts", data=mended, headers=HTML).text
    assert "10 years" in page
    assert re.search(r'born 2010-01-01</span>.*in the file: <span class="whole">born 1980-01-01</span></small>', page)
    assert "radiograph of 2020-07-01</span>, " not in page, "the other date is the file's own"
    body = result_of(client, adult)
    assert (body["months"], body["growth"]["chronological_months"]) == (120.0, pytest.approx(126, abs=0.1))
    assert client.get(f"/api/v1/jobs/{adult['id']}/report.pdf").status_code == 200
    boxes = {"boxes": {REGIONS[0]: [0, 0, 40, 40]}}
    assert client.put(f"/api/v1/jobs/{adult['id']}/regions", json=boxes).json()["months"] == 126.0


def test_an_adult_of_a_file_has_no_age_by_assess(client: TestClient, drawn_hand: Radiograph) -> None:
    pixels_HW = drawn_hand.pixels_HW
    shape = {"Rows": pixels_HW.shape[0], "Columns": pixels_HW.shape[1], "PixelData": pixels_HW.tobytes()}
    file = as_bytes(radiograph(1, **shape, PatientBirthDate="19800101", StudyDate="20200701", PatientSex="F"))
    body = client.post("/api/v1/assess", files={"file": ("hand.dcm", file)}).json()
    assert (body["months"], body["refused"]["code"]) == (None, "adult")
