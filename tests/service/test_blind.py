"""`carpal serve --blind`: a study is read blind first unless the form says otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

Build = Callable[..., TestClient]
HTML = {"Accept": "text/html"}


@pytest.mark.parametrize("setting", [True, False])
@pytest.mark.parametrize(("sent", "expected"), [(None, None), ("true", True), ("false", False)])
def test_what_rest_does_not_say_is_as_the_service_was_started(
    build: Build, png: bytes, setting: bool, sent: str | None, expected: bool | None
) -> None:
    facts = {"sex": "female"} | ({} if sent is None else {"blind": sent})
    answer = build(blind=setting).post("/api/v1/jobs", files={"files": ("hand.png", png)}, data=facts)
    assert answer.json()["jobs"][0]["blind"] is (setting if expected is None else expected)


def test_a_fact_that_is_added_later_opens_no_blind_study(build: Build, png: bytes) -> None:
    client = build(blind=True)
    job = client.post("/api/v1/jobs", files={"files": ("hand.png", png)}).json()["jobs"][0]
    assert client.patch(f"/api/v1/jobs/{job['id']}", data={"sex": "male", "blind": "false"}).json()["blind"] is True


@pytest.mark.parametrize("setting", [True, False])
@pytest.mark.parametrize("ticked", [True, False])
def test_the_box_of_the_page_says_it_ticked_or_not(build: Build, png: bytes, setting: bool, ticked: bool) -> None:
    client = build(blind=setting)
    page = client.get("/", headers=HTML).text
    fields: list[tuple[str, str, Any]] = re.findall(
        r'<input type="(hidden|checkbox)" name="(?:form_token|blind)" value="([^"]+)"( checked)?', page
    )
    assert [kind for kind, *_ in fields[-3:]] == ["hidden", "hidden", "checkbox"]
    assert bool(fields[-1][2]) is setting
    values = [value for kind, value, _ in fields[-2:] if kind == "hidden" or ticked]  # as a browser sends them
    data = {"form_token": fields[0][1], "sex": "female", "blind": values}
    client.post("/studies", files={"files": ("hand.png", png)}, data=data, headers=HTML)
    (job,) = client.get("/api/v1/jobs").json()["jobs"]
    assert job["blind"] is ticked
