"""What has more than one age: two hands in a picture, a child of unknown sex; and ages that a hospital calibrated."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pypdf import PdfReader
from starlette.testclient import TestClient

from carpal.anatomy import REGIONS
from carpal.errors import ConfigError
from carpal.quality.site import Site
from carpal.types import Assessment, ModelId
from carpal.web.review import Reading, Readings, Study
from carpal.web.study_store import from_plain

Queue = Callable[..., dict[str, Any]]
Problem = Callable[..., bool]
HTML = {"Accept": "text/html"}

LEFT, RIGHT = "Hand on the left of the picture", "Hand on the right of the picture"


def text_of(pdf: bytes) -> list[str]:
    return [page.extract_text().replace("\n", " ") for page in PdfReader(io.BytesIO(pdf)).pages]


@pytest.fixture
def two(client: TestClient, two_hands_png: bytes, settle: Queue) -> dict[str, Any]:
    """A read picture of two hands of a girl."""
    facts = {"sex": "female", "birth_date": "2010-01-01", "study_date": "2020-07-01", "height_cm": "140"}
    answer = client.post("/api/v1/jobs", files={"files": ("two.png", two_hands_png)}, data=facts)
    return settle(client, answer.json()["jobs"][0]["id"])


@pytest.fixture
def unknown(client: TestClient, engine: Any, queue: Queue) -> dict[str, Any]:
    """A read hand whose sex nobody knows; boys read 11 months older."""
    engine.more_for_boys = 11.0
    return queue(client, sex="unknown", birth_date="2010-01-01", study_date="2020-07-01", height_cm="140")


def test_two_hands_have_an_age_each_and_the_picture_none(client: TestClient, two: Any, two_hands_png: bytes) -> None:
    for body in (
        client.get(f"/api/v1/jobs/{two['id']}/result").json(),
        client.post("/api/v1/assess", files={"file": ("two.png", two_hands_png)}, data={"sex": "female"}).json(),
    ):
        assert (body["months"], body["interval"], body["regions"], body["refused"]) == (None, None, [], None)
        assert [hand["side_in_image"] for hand in body["hands"]] == ["left", "right"]
        for hand in body["hands"]:
            assert (hand["months"], hand["sex"], len(hand["regions"])) == (120.0, "female", 17)
            assert "hands" not in hand
        left, right = (hand["regions"][0]["box"] for hand in body["hands"])
        assert 150 < right[0] - left[0] < 250, "boxes are in pixels of the whole picture"


def test_two_hands_stand_on_the_page_and_in_the_list(client: TestClient, two: Any) -> None:
    page = client.get(f"/studies/{two['id']}", headers=HTML).text
    for words in (LEFT, RIGHT, "two hands in the picture"):
        assert words in page
    assert page.count('class="big">10 years <small>120.0 months') == 2
    assert page.count('<tr data-region="') == 2 * len(REGIONS)
    assert '<tr data-region="left-Wrist">' in page
    assert "Put regions right" not in page
    assert f"{LEFT}: 10 years; {RIGHT}: 10 years" in client.get("/", headers=HTML).text


def test_two_hands_have_a_report_of_two_pages(client: TestClient, two: Any, problem: Problem) -> None:
    address = f"/api/v1/jobs/{two['id']}/report."
    first, second = text_of(client.get(address + "pdf").content)
    assert f"{LEFT} (this page). {RIGHT}: 10 years." in first
    assert f"{RIGHT} (this page). {LEFT}: 10 years." in second
    assert [entry["side_in_image"] for entry in client.get(address + "json").json()] == ["left", "right"]
    with Image.open(io.BytesIO(client.get(address + "png").content)) as picture:
        assert picture.width > 2 * 1100
    assert problem(client.get(address + "sr.dcm"), 404, "no-such-form")
    assert "no DICOM file" in client.get(address + "sr.dcm").json()["error"]


def test_of_two_hands_one_is_signed(client: TestClient, two: Any, problem: Problem) -> None:
    address = f"/api/v1/jobs/{two['id']}"
    assert problem(client.post(f"{address}/sign", json={"decision": "accept"}), 422, "missing-hand")
    assert problem(client.put(f"{address}/regions", json={"boxes": {}}), 409, "no-regions")
    signed = client.post(f"{address}/sign", json={"decision": "accept", "hand": "right"}).json()
    assert (signed["hand"], signed["months"], signed["decision"]) == ("right", 120.0, "accept")
    page = client.get(f"/studies/{two['id']}", headers=HTML).text
    assert f"Accepted: 10 years</strong>, {RIGHT}" in page
    text = text_of(client.get(f"{address}/report.pdf").content)[0]
    assert f"Accepted: 10 years, {RIGHT}, signed by local" in text
    assert ",right,," in client.get("/api/v1/readings.csv").text


def test_two_hands_may_be_rejected_together(client: TestClient, two: Any) -> None:
    reading = {"decision": "reject", "reason": "not a hand of this child"}
    assert client.post(f"/api/v1/jobs/{two['id']}/sign", json=reading).json()["hand"] == ""


def test_an_unknown_sex_gives_both_ages_and_none_of_its_own(client: TestClient, unknown: Any, png: bytes) -> None:
    assert unknown["sex"] == "unknown"
    for body in (
        client.get(f"/api/v1/jobs/{unknown['id']}/result").json(),
        client.post("/api/v1/assess", files={"file": ("hand.png", png)}, data={"sex": "unknown"}).json(),
        client.get(f"/api/v1/jobs/{unknown['id']}/report.json").json()[0],
    ):
        assert (body["sex"], body["months"], body["interval"], body["regions"]) == (None, None, None, [])
        assert {sex: each["months"] for sex, each in body["by_sex"].items()} == {"female": 120.0, "male": 131.0}
        assert {sex: each["sex"] for sex, each in body["by_sex"].items()} == {"female": "female", "male": "male"}


def test_both_ages_stand_on_the_page_with_their_sex(client: TestClient, unknown: Any) -> None:
    page = client.get(f"/studies/{unknown['id']}", headers=HTML).text
    girl, boy = page.index("Bone age as a girl"), page.index("Bone age as a boy")
    assert girl < page.index("10 years <small>120.0") < boy < page.index("10 years 11 months <small>131.0")
    assert "only one can be this child" in page
    assert 'value="accept"' not in page
    assert page.count("As a girl") >= 3
    assert "As a girl: 10 years; As a boy: 10 years 11 months" in client.get("/", headers=HTML).text
    german = client.get(f"/studies/{unknown['id']}", headers=HTML | {"Accept-Language": "de"}).text
    assert "Knochenalter als Mädchen" in german
    assert "Knochenalter als Junge" in german


def test_both_ages_stand_in_the_report(client: TestClient, unknown: Any) -> None:
    address = f"/api/v1/jobs/{unknown['id']}/report."
    (text,) = text_of(client.get(address + "pdf").content)
    assert "Bone age as a girl 10 years 120.0 months" in text
    assert "Bone age as a boy 10 years 11 months 131.0 months" in text
    assert client.get(address + "png").status_code == 200
    assert "no DICOM file" in client.get(address + "fhir.json").json()["error"]


def test_an_age_is_only_signed_once_the_sex_is_stated(
    client: TestClient, unknown: Any, problem: Problem, settle: Queue
) -> None:
    address = f"/api/v1/jobs/{unknown['id']}"
    for reading in ({"decision": "accept"}, {"decision": "adjust", "months": 130, "reason": "carpals"}):
        assert problem(client.post(f"{address}/sign", json=reading), 409, "unknown-sex")
    assert problem(client.put(f"{address}/regions", json={"boxes": {}}), 409, "no-regions")
    client.patch(address, data={"sex": "male"})
    assert settle(client, unknown["id"])["sex"] == "male"
    assert client.post(f"{address}/sign", json={"decision": "accept"}).json()["months"] == 131.0


def test_an_unknown_sex_may_be_rejected(client: TestClient, unknown: Any) -> None:
    reading = {"decision": "reject", "reason": "the sex must be known"}
    signed = client.post(f"/api/v1/jobs/{unknown['id']}/sign", json=reading).json()
    assert (signed["decision"], signed["months"]) == ("reject", None)
    assert client.get("/api/v1/agreement").json()["n"] == 0


def test_every_result_names_the_calibration(
    build: Callable[..., TestClient], site: Site, queue: Queue, png: bytes
) -> None:
    client = build(site=site)
    job = queue(client, birth_date="2010-01-01", study_date="2020-07-01")
    address = f"/api/v1/jobs/{job['id']}"
    for body in (
        client.get(f"{address}/result").json(),
        client.post("/api/v1/assess", files={"file": ("hand.png", png)}, data={"sex": "female"}).json(),
        client.get(f"{address}/report.json").json()[0],
    ):
        assert (body["months"], body["site"]) == (126.0, {"calibration": site.label, "raw_months": 120.0})
    assert client.get("/api/v1/version").json()["calibration"] == site.label
    page = client.get(f"/studies/{job['id']}", headers=HTML).text
    assert f"Calibrated by {site.label}; the network itself read 10 years." in page
    assert f"calibrated by {site.label}</p>" in client.get("/", headers=HTML).text, "the foot of every page"
    assert f"Calibrated by {site.label}; the network" in text_of(client.get(f"{address}/report.pdf").content)[0]
    boxes = {"boxes": {"Radius": [10, 20, 50, 60]}}
    assert client.put(f"{address}/regions", json=boxes).json()["site"]["raw_months"] == 126.0
    client.post(f"{address}/sign", json={"decision": "accept"})
    assert f',120.0,"{site.label}"' in client.get("/api/v1/readings.csv").text


def test_both_ages_are_calibrated_each_by_its_sex(build: Callable[..., TestClient], site: Site, queue: Queue) -> None:
    client = build(site=site)
    job = queue(client, sex="unknown")
    by_sex = client.get(f"/api/v1/jobs/{job['id']}/result").json()["by_sex"]
    assert {sex: each["months"] for sex, each in by_sex.items()} == {"female": 126.0, "male": 114.0}
    assert all(each["site"]["calibration"] == site.label for each in by_sex.values())


def test_a_calibration_of_other_weights_is_refused(build: Callable[..., TestClient], site: Site, engine: Any) -> None:
    engine.model = ModelId("other", "2", "cd" * 32)
    with pytest.raises(ConfigError, match="belongs to told"):
        build(site=site)


def test_results_and_readings_of_the_version_before_are_read(tmp_path: Path) -> None:
    """0.2.0 kept one assessment, and its tables lacked some columns."""
    model = {"name": "told", "version": "1", "sha256": "ab" * 32}
    plain = {
        "image": "old", "sex": "female", "months": 120.0, "regions": [], "model": model, "probabilities": [],
        "warnings": [], "refused": None, "interval": None,
    }  # fmt: skip
    (result,) = from_plain(plain, "new.png")
    assert isinstance(result, Assessment)
    assert (result.image, result.months) == ("new.png", 120.0)
    connection = sqlite3.connect(tmp_path / "readings.sqlite")
    connection.execute(
        "CREATE TABLE reading (study TEXT, reader TEXT, committed TEXT, own_months REAL, decision TEXT, "
        "months REAL, reason TEXT NOT NULL DEFAULT '', signed TEXT, machine_months REAL, machine TEXT, "
        "PRIMARY KEY (study, reader))"
    )
    connection.execute("INSERT INTO reading (study, reader, signed, months) VALUES ('a', 'anna', '2026', 120)")
    connection.execute(
        "CREATE TABLE study (id TEXT PRIMARY KEY, created TEXT NOT NULL, owner TEXT NOT NULL, file TEXT NOT NULL, "
        "sex TEXT, file_sex TEXT, birth_date TEXT, study_date TEXT, age_months REAL, height_cm REAL, patient_name TEXT "
        "NOT NULL DEFAULT '', patient_id TEXT NOT NULL DEFAULT '', blind INTEGER NOT NULL DEFAULT 0, job TEXT)"
    )
    connection.execute("INSERT INTO study (id, created, owner, file) VALUES ('old', '2026', 'anna', 'old.png')")
    connection.commit()
    connection.close()
    readings = Readings(tmp_path / "readings.sqlite")
    readings.add(Study("a", "2026", "anna", "old.png"))
    assert readings.signed("a") == Reading("a", "anna", signed="2026", months=120.0)
    assert readings.study("old") == Study("old", "2026", "anna", "old.png")
