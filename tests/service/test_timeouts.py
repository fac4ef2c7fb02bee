"""What is too slow is ended: a body that does not come, one that trickles, a radiograph that takes too long to read."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from carpal.errors import ConfigError
from carpal.web.app import warm_up
from carpal.web.middleware import Gate
from carpal.web.settings import Settings

pytestmark = pytest.mark.slow

HTML = {"Accept": "text/html"}


async def until_the_end(scope: Any, receive: Any, send: Any) -> None:
    """An application that reads the body, then answers."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


def ask(gate: Gate, pause: float, parts: int) -> tuple[int, dict[str, Any], int, float]:
    """A byte every `pause` seconds: the status, the body, how many bytes were taken, and the seconds it took."""
    taken, sent, start = 0, [], time.monotonic()

    async def receive() -> Any:
        nonlocal taken
        await asyncio.sleep(pause)
        taken += 1
        return {"type": "http.request", "body": b"x", "more_body": taken < parts}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"host", b"localhost")]}
    asyncio.run(gate(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"]), taken, time.monotonic() - start


def test_a_body_that_does_not_come_is_waited_for(tmp_path: Path) -> None:
    status, body, taken, _ = ask(Gate(until_the_end, Settings(tmp_path, body_timeout=0.05)), 60, 1)
    assert (status, body["code"], taken) == (408, "timeout", 0)


def test_a_body_that_trickles_is_ended_by_the_deadline_of_the_whole(tmp_path: Path) -> None:
    gate = Gate(until_the_end, Settings(tmp_path, body_timeout=30, body_deadline=0.3))
    status, body, taken, seconds = ask(gate, 0.02, 10_000)
    assert (status, body["code"]) == (408, "timeout")
    assert 0 < taken < 10_000, "each byte came in time, all of them did not"
    assert 0.3 <= seconds < 60


def test_a_slow_body_within_the_deadline_is_taken(tmp_path: Path) -> None:
    status, _, taken, _ = ask(Gate(until_the_end, Settings(tmp_path, body_timeout=30, body_deadline=30)), 0.01, 20)
    assert (status, taken) == (200, 20)


def test_a_deadline_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="body_deadline is 0"):
        Settings(tmp_path, body_deadline=0)


def test_a_radiograph_that_takes_too_long_is_a_504(
    build: Callable[..., TestClient], engine: Any, png: bytes, problem: Callable[..., bool], monkeypatch: Any
) -> None:
    go, run = threading.Event(), engine.run
    monkeypatch.setattr(engine, "run", lambda *args: (go.wait(60), run(*args))[1])
    client = build(assess_timeout=0.2)
    send = {"files": {"file": ("Doe_Jane.png", png)}, "data": {"sex": "female"}}
    answer = client.post("/api/v1/assess", **send)
    assert problem(answer, 504, "timeout")
    assert "POST /api/v1/jobs" in answer.json()["error"]
    assert "Doe" not in answer.text
    go.set()
    assert build(assess_timeout=60).post("/api/v1/assess", **send).status_code == 200, "the engine is free again"


@pytest.fixture
def drop(build: Callable[..., TestClient], png: bytes) -> Callable[[], tuple[TestClient, str]]:
    """Uploads one radiograph as the page does; the client and the study."""

    def send() -> tuple[TestClient, str]:
        client = build()
        (token,) = set(re.findall(r'name="form_token" value="([^"]+)"', client.get("/", headers=HTML).text))
        facts = {"form_token": token, "sex": "female", "alone": "true"}
        location = client.post("/studies", files={"files": ("h.png", png)}, data=facts).json()["location"]
        return client, location.removeprefix("/studies/")

    return send


def test_the_answer_to_one_upload_comes_with_its_age(
    drop: Callable[[], tuple[TestClient, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carpal.web.pages.SOON", 120.0)
    client, study = drop()
    assert client.get(f"/api/v1/jobs/{study}").json()["state"] == "done"
    assert 'id="age"' in client.get(f"/studies/{study}", headers=HTML).text


def test_the_answer_to_one_upload_does_not_wait_for_long(
    drop: Callable[[], tuple[TestClient, str]], engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, run = threading.Event(), engine.run
    monkeypatch.setattr(engine, "run", lambda *args: (go.wait(120), run(*args))[1])
    monkeypatch.setattr("carpal.web.pages.SOON", 0.05)
    client, study = drop()
    assert client.get(f"/api/v1/jobs/{study}").json()["state"] in ("queued", "reading")
    go.set()


def test_the_network_is_warm_before_the_first_radiograph(engine: Any) -> None:
    warm_up(engine)
    assert engine.asked == 1
    engine.fails = True
    warm_up(engine)  # what fails here fails again, with its message, when a radiograph comes
    assert engine.asked == 2
