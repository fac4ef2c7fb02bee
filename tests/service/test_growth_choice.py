"""`carpal serve --reference`: the page, REST and the PDF compare with it, by the dates that are known now."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader
from starlette.testclient import TestClient

from carpal.cli import main
from carpal.growth.reference import DEFAULT
from dicom_kit import child_file

Queue = Callable[..., dict[str, Any]]


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    path = tmp_path / "ours.csv"
    rows = "".join(f"{sex},{age},{age},10\n" for sex in ("male", "female") for age in (12, 228))
    path.write_text(f"# name: ours-2026\n# citation: Our hospital\nsex,age_months,mean_months,sd_months\n{rows}")
    return path


def growth_of(client: TestClient, job: dict[str, Any]) -> Any:
    return client.get(f"/api/v1/jobs/{job['id']}/result").json()["growth"]


def test_a_result_is_compared_by_the_dates_that_are_known_now(client: TestClient, queue: Queue) -> None:
    job = queue(client, study_date="2020-01-01")
    assert growth_of(client, job) is None
    client.patch(f"/api/v1/jobs/{job['id']}", data={"birth_date": "2010-01-01"})
    found = growth_of(client, job)
    assert (found["reference"], found["chronological_months"]) == (DEFAULT, 120.0)
    client.patch(f"/api/v1/jobs/{job['id']}", data={"birth_date": "2012-01-01"})
    assert growth_of(client, job)["z_score"] > found["z_score"] + 1


def test_the_reference_of_the_service_is_used_and_named(
    build: Callable[..., TestClient], queue: Queue, ours: Path
) -> None:
    client = build(reference=str(ours))
    job = queue(client, birth_date="2010-01-01", study_date="2020-01-01")
    assert (growth_of(client, job)["reference"], growth_of(client, job)["z_score"]) == ("ours-2026", 0.0)
    page = client.get(f"/studies/{job['id']}", headers={"Accept": "text/html"}).text
    assert "Our hospital" in page
    pdf = client.get(f"/api/v1/jobs/{job['id']}/report.pdf").content
    assert "(Our hospital)" in " ".join(PdfReader(io.BytesIO(pdf)).pages[0].extract_text().split())
    answer = client.post("/api/v1/assess", files={"file": ("hand.dcm", child_file())}).json()
    assert answer["growth"]["reference"] == "ours-2026"


def test_dicom_forms_compare_by_the_page_s_date_and_the_same_reference(
    build: Callable[..., TestClient], ours: Path, settle: Queue
) -> None:
    pytest.importorskip("highdicom")
    client = build(reference=str(ours))
    facts = {"birth_date": "2012-01-05"}  # the file says 2014
    job = client.post("/api/v1/jobs", files={"files": ("hand.dcm", child_file())}, data=facts).json()["jobs"][0]
    settle(client, job["id"])
    z = growth_of(client, job)["z_score"]
    assert z == pytest.approx(-2.4, abs=0.05)
    report = client.get(f"/api/v1/jobs/{job['id']}/report.hl7").text
    assert f"z-score {z:+.2f} (ours-2026)" in report


def test_a_wrong_reference_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("carpal.inference.engine.open_engine", lambda *args, **kwargs: engine)
    assert main(["serve", "--data", str(tmp_path / "data"), "--reference", "who"]) == 2
    assert "name a FILE.csv with the columns" in capsys.readouterr().err
