"""Every bad file of the other tests, on every way in: one error shape, one code, and nothing of it is kept."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from bad_files import INFLATES_TO, NAMES, bad_file

Problem = Callable[..., bool]
HTML, JSON = {"Accept": "text/html"}, {"Accept": "application/json"}
FILE = "Doe_Jane.png"


@pytest.fixture(autouse=True)
def _little_is_a_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carpal.imaging.dicom.MAX_BYTES", INFLATES_TO // 2)


@pytest.fixture
def empty(tmp_path: Path) -> Callable[[], bool]:
    """Whether the service keeps no file."""
    return lambda: [path for name in ("uploads", "partial") for path in (tmp_path / "data" / name).iterdir()] == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("path", "field"), [("/api/v1/assess", "file"), ("/api/v1/jobs", "files")])
def test_over_rest(
    client: TestClient, problem: Problem, empty: Callable[[], bool], name: str, path: str, field: str
) -> None:
    data, code, words = bad_file(name)
    answer = client.post(path, files={field: (FILE, data)}, data={"sex": "female"})
    assert problem(answer, 422, code)
    assert words in answer.json()["error"]
    assert "Doe" not in answer.text
    assert empty()
    assert client.get("/api/v1/jobs").json() == {"jobs": []}


@pytest.mark.parametrize("name", NAMES)
def test_on_the_page(client: TestClient, problem: Problem, empty: Callable[[], bool], name: str) -> None:
    data, code, words = bad_file(name)
    found = re.search(r'name="form_token" value="([^"]+)"', client.get("/", headers=HTML).text)
    assert found
    form = {"form_token": found.group(1), "sex": "female"}
    by_script = client.post("/studies", files={"files": (FILE, data)}, data=form, headers=JSON)
    assert problem(by_script, 422, code)
    assert words in by_script.json()["error"]
    page = client.post("/studies", files={"files": (FILE, data)}, data=form, headers=HTML)
    assert page.status_code == 422
    assert html.escape(by_script.json()["error"], quote=False) in page.text.replace("&#39;", "'").replace("&#34;", '"')
    assert f"422 · {code}" in page.text
    assert "Doe" not in by_script.text + page.text
    assert empty()


def test_all_of_them_at_once_do_not_stop_a_good_one(client: TestClient, png: bytes) -> None:
    files = [("files", (f"{name}.bin", bad_file(name)[0])) for name in NAMES]
    files.insert(len(NAMES) // 2, ("files", ("good.png", png)))
    body = client.post("/api/v1/jobs", files=files, data={"sex": "female"}).json()
    assert [job["file"] for job in body["jobs"]] == ["good.png"]
    assert [(entry["file"], entry["code"]) for entry in body["refused"]] == [
        (f"{name}.bin", bad_file(name)[1]) for name in NAMES
    ]
