"""An adult gets no age, whichever way the date of birth came: with the upload, or put in later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from carpal.anatomy import REGIONS

Queue = Callable[..., dict[str, Any]]
ADULT, CHILD = "1980-01-01", "2010-01-01"


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
    assert "10 years" not in page.text
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
