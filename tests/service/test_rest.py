"""The REST interface: every route, and the one shape of its errors."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from carpal.anatomy import REGIONS
from carpal.web.study_store import Studies, UploadFacts

pytestmark = pytest.mark.slow

Queue = Callable[..., dict[str, Any]]
Problem = Callable[..., bool]
NOBODY = "0" * 24


def test_assess_gives_the_object_of_the_command_line(client: TestClient, png: bytes) -> None:
    answer = client.post("/api/v1/assess", files={"file": ("hand.png", png)}, data={"sex": "female"})
    assert answer.status_code == 200
    body = answer.json()
    assert list(body)[:9] == [
        "image", "sex", "months", "interval", "regions", "warnings", "refused", "model", "carpal",
    ]  # fmt: skip
    assert (body["image"], body["sex"], body["months"], body["refused"]) == ("hand.png", "female", 120.0, None)
    assert [region["name"] for region in body["regions"]] == list(REGIONS)


def test_assess_keeps_nothing(client: TestClient, png: bytes) -> None:
    client.post("/api/v1/assess", files={"file": ("hand.png", png)}, data={"sex": "female"})
    assert client.get("/api/v1/jobs").json() == {"jobs": []}


def test_sex_is_never_guessed(client: TestClient, png: bytes, problem: Problem) -> None:
    answer = client.post("/api/v1/assess", files={"file": ("hand.png", png)})
    assert problem(answer, 422, "missing-sex")
    answer = client.post("/api/v1/assess", files={"file": ("hand.png", png)}, data={"sex": "other"})
    assert problem(answer, 422, "invalid")


def test_jobs_are_read_one_after_the_other(client: TestClient, png: bytes, settle: Queue) -> None:
    files = [("files", (f"{n}.png", png)) for n in range(3)]
    answer = client.post("/api/v1/jobs", files=files, data={"sex": "male"})
    assert answer.status_code == 202
    jobs = answer.json()["jobs"]
    assert [job["file"] for job in jobs] == ["0.png", "1.png", "2.png"]
    for job in jobs:
        assert settle(client, job["id"])["state"] == "done"
        assert client.get(f"/api/v1/jobs/{job['id']}/result").json()["months"] == 120.0
    listed = client.get("/api/v1/jobs", params={"limit": 2}).json()["jobs"]
    assert [job["file"] for job in listed] == ["2.png", "1.png"]


def test_one_bad_file_does_not_stop_the_others(client: TestClient, png: bytes, problem: Problem) -> None:
    files = [("files", ("good.png", png)), ("files", ("bad.png", b"nothing"))]
    body = client.post("/api/v1/jobs", files=files, data={"sex": "male"}).json()
    assert [job["file"] for job in body["jobs"]] == ["good.png"]
    assert [(entry["file"], entry["code"]) for entry in body["refused"]] == [("bad.png", "unreadable-image")]
    assert problem(client.post("/api/v1/jobs", files=files[1:]), 422, "unreadable-image")


def test_a_job_without_sex_waits_for_it(client: TestClient, queue: Queue, settle: Queue, problem: Problem) -> None:
    job = queue(client, sex="")
    assert (job["state"], job["sex"]) == ("needs-sex", None)
    address = f"/api/v1/jobs/{job['id']}"
    assert problem(client.get(f"{address}/result"), 409, "missing-sex")
    assert client.patch(address, data={"sex": "male"}).status_code == 200
    assert settle(client, job["id"])["state"] == "done"
    assert client.get(f"{address}/result").json()["sex"] == "male"


def test_another_sex_is_read_anew(client: TestClient, queue: Queue, settle: Queue) -> None:
    job = queue(client, sex="male")
    client.patch(f"/api/v1/jobs/{job['id']}", data={"sex": "female"})
    assert settle(client, job["id"])["sex"] == "female"
    assert client.get(f"/api/v1/jobs/{job['id']}/result").json()["sex"] == "female"


@pytest.mark.parametrize(("form", "magic"), [("json", b"["), ("pdf", b"%PDF-"), ("png", b"\x89PNG")])
def test_every_form_of_report_exists(client: TestClient, queue: Queue, form: str, magic: bytes) -> None:
    job = queue(client, birth_date="2010-01-01", study_date="2020-02-01")
    answer = client.get(f"/api/v1/jobs/{job['id']}/report.{form}", params={"language": "de"})
    assert answer.status_code == 200
    assert answer.content.startswith(magic)
    assert f'filename="bone-age-{job["id"]}.{form}"' in answer.headers["content-disposition"]


def test_forms_of_dicom_do_not_exist_for_a_picture(client: TestClient, queue: Queue, problem: Problem) -> None:
    job = queue(client)
    for form in ("sr.dcm", "fhir.json", "hl7"):
        assert problem(client.get(f"/api/v1/jobs/{job['id']}/report.{form}"), 404, "no-such-form")


def test_a_deleted_study_is_gone(client: TestClient, queue: Queue, problem: Problem, tmp_path: Any) -> None:
    job = queue(client)
    assert (tmp_path / "data" / "uploads" / job["id"]).is_file()
    assert client.delete(f"/api/v1/jobs/{job['id']}").status_code == 204
    assert problem(client.get(f"/api/v1/jobs/{job['id']}"), 404, "not-found")
    assert not (tmp_path / "data" / "uploads" / job["id"]).exists()


def test_jobs_survive_a_restart(build: Callable[..., TestClient], queue: Queue, settle: Queue, engine: Any) -> None:
    first = build()
    job = queue(first)
    first.__exit__()
    asked = engine.asked
    second = build()
    assert settle(second, job["id"])["state"] == "done"
    assert second.get(f"/api/v1/jobs/{job['id']}/result").json()["months"] == 120.0
    assert engine.asked == asked, "it was read a second time"


@pytest.mark.parametrize("taken", [False, True], ids=["queued", "being read when it was killed"])
def test_what_was_not_read_is_read_after_a_restart(
    build: Callable[..., TestClient], settle: Queue, engine: Any, png: bytes, tmp_path: Path, taken: bool
) -> None:
    (tmp_path / "data").mkdir()
    before = Studies(tmp_path / "data", engine)
    study = before.receive(io.BytesIO(png), "hand.png", UploadFacts(sex="male"), "local")
    assert (before.jobs.lease("web-worker", 600, ["web"]) is not None) if taken else True
    before.jobs.close()
    client = build()
    assert settle(client, study.id)["state"] == "done"
    assert client.get(f"/api/v1/jobs/{study.id}/result").json()["months"] == 120.0


def test_regions_that_are_put_right_change_the_age(client: TestClient, queue: Queue, problem: Problem) -> None:
    job = queue(client)
    address = f"/api/v1/jobs/{job['id']}/regions"
    body = client.put(address, json={"boxes": {"Radius": [10, 20, 50, 60]}}).json()
    assert body["months"] == 126.0
    radius = body["regions"][REGIONS.index("Radius")]
    np.testing.assert_allclose(radius["box"], [10, 20, 50, 60], atol=0.5)
    assert body["warnings"][-1] == "regions put right by hand: Radius"
    assert client.get(f"/api/v1/jobs/{job['id']}/report.json").json()[0]["months"] == 126.0
    assert client.get(f"/api/v1/jobs/{job['id']}/result").json()["months"] == 120.0, "the machine's own answer stays"
    assert client.put(address, json={"boxes": {}}).json()["months"] == 120.0
    assert client.get(f"/api/v1/jobs/{job['id']}/report.json").json()[0]["months"] == 120.0
    assert problem(client.put(address, json={"boxes": {"Radius": [10, 20, 5000, 60]}}), 422, "bad-input")
    assert problem(client.put(address, json={"boxes": {"Radius": [10, 20, 11, 21]}}), 422, "bad-input")
    assert problem(client.put(address, json={"boxes": {"Femur": [1, 2, 30, 40]}}), 422, "invalid")
    not_a_number = json.dumps({"boxes": {"Ulna": [1, 2, float("nan"), 40]}})
    assert problem(client.put(address, content=not_a_number), 422, "invalid")


def test_health_version_and_metrics(client: TestClient, queue: Queue) -> None:
    queue(client)
    assert client.get("/api/v1/health").json()["ok"] is True
    assert client.get("/api/v1/version").json()["model"]["name"] == "told"
    text = client.get("/api/v1/metrics").text
    assert 'carpal_requests_total{method="POST",route="/api/v1/jobs",status="202"} 1' in text
    assert 'carpal_jobs{state="done"} 1' in text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nothing", 404, "not-found"),
        ("GET", "/nothing", 404, "not-found"),
        ("GET", "/static/nothing.js", 404, "not-found"),
        ("GET", "/static/../app.py", 404, "not-found"),
        ("DELETE", "/api/v1/jobs", 405, "method-not-allowed"),
        ("PUT", "/", 405, "method-not-allowed"),
        ("GET", f"/api/v1/jobs/{NOBODY}", 404, "not-found"),
        ("GET", f"/api/v1/jobs/{NOBODY}/report.pdf", 404, "not-found"),
        ("GET", "/api/v1/jobs/..%2f..%2fetc", 404, "not-found"),
        ("GET", "/api/v1/jobs/x", 422, "invalid"),
        ("GET", f"/api/v1/jobs/{NOBODY}/report.exe", 404, "not-found"),
        ("GET", "/api/v1/jobs?limit=0", 422, "invalid"),
        ("POST", "/api/v1/assess", 422, "invalid"),
        ("POST", "/api/v1/jobs", 422, "invalid"),
        ("POST", f"/api/v1/jobs/{NOBODY}/sign", 404, "not-found"),
        ("POST", "/studies", 403, "bad-form"),
    ],
)
def test_every_error_has_the_one_shape(
    client: TestClient, problem: Problem, method: str, path: str, status: int, code: str
) -> None:
    assert problem(client.request(method, path), status, code)


def test_facts_are_checked_against_each_other(client: TestClient, png: bytes, problem: Problem) -> None:
    def send(**facts: str) -> Any:
        return client.post("/api/v1/jobs", files={"files": ("hand.png", png)}, data=facts)

    assert problem(send(birth_date="2015-01-01", study_date="2014-01-01"), 422, "bad-facts")
    assert problem(send(birth_date="2999-01-01"), 422, "bad-facts")
    assert problem(send(birth_date="yesterday"), 422, "invalid")
    assert problem(send(height_cm="1.38"), 422, "invalid")
    assert problem(send(height_cm="nan"), 422, "invalid")


def test_a_mistake_of_ours_says_nothing_of_the_patient(
    client: TestClient, png: bytes, engine: Any, problem: Problem, caplog: pytest.LogCaptureFixture
) -> None:
    engine.fails = True
    caplog.set_level("INFO")
    answer = client.post("/api/v1/assess", files={"file": ("Doe_Jane.png", png)}, data={"sex": "female"})
    assert problem(answer, 500, "internal")
    assert "RuntimeError in conftest.py" in caplog.text
    assert "Doe" not in caplog.text + answer.text
    assert "Jane" not in caplog.text + answer.text
