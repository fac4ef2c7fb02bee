"""A service over an engine that answers what it is told, and a client on loopback."""

from __future__ import annotations

import io
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image
from serving import free_port
from starlette.testclient import TestClient

from carpal.inference.engine import Reading
from carpal.quality.site import Check, Line, Site
from carpal.types import ModelId, Radiograph, Sex
from carpal.web.app import create_app
from carpal.web.settings import Settings

PATIENCE = 120.0
"""Seconds: the machine that runs the tests may be busy."""
FOUND_R4 = np.array([[6 * i, 5 * i, 6 * i + 20, 5 * i + 20] for i in range(17)], np.float32)


class ToldEngine:
    """Answers 120 months and 17 regions; given boxes replace those, and add the share of their shift to the age."""

    model = ModelId("told", "1", "ab" * 32)
    long_side = 128
    calibration = None
    refusal = None
    view_scale, flip = 1.0, True

    def __init__(self, months: float = 120.0) -> None:
        self.months, self.asked, self.fails = months, 0, False
        self.more_for_boys = 0.0

    def run(self, image_HW: Any, male: bool, boxes_R4: Any = None) -> Reading:
        self.asked += 1
        if self.fails:
            raise RuntimeError("Jane Doe's radiograph broke me")
        boxes = FOUND_R4 if boxes_R4 is None else np.where(np.isnan(boxes_R4), FOUND_R4, boxes_R4)
        months = self.months + (0.0 if boxes_R4 is None else 6.0) + self.more_for_boys * male
        steps = np.linspace(months + 60, months - 168, 228)
        return Reading(
            months,
            (1 / (1 + np.exp(-(steps - 60) / 6))).astype(np.float32),
            boxes.astype(np.float32),
            np.full(17, 0.9, np.float32),
            np.arange(100, 117, dtype=np.float32),
        )


@pytest.fixture
def engine() -> ToldEngine:
    return ToldEngine()


@pytest.fixture
def png(drawn_hand: Radiograph) -> bytes:
    """A drawn hand as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(drawn_hand.pixels_HW).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def two_hands_png(drawn_hand: Radiograph) -> bytes:
    """Two drawn hands beside each other in one picture, as a PNG file."""
    one = drawn_hand.pixels_HW
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate([one[:, ::-1], one], axis=1)).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def build(tmp_path: Path, engine: ToldEngine) -> Iterator[Callable[..., TestClient]]:
    """Starts services; `build(rate=5)` changes a setting, `site` calibrates. All share the data folder."""
    with ExitStack() as stack:

        def make(site: Site | None = None, **settings: Any) -> TestClient:
            values = {"data": tmp_path / "data", "quiet": False} | settings
            app = create_app(Settings(**values), engine, site)
            client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
            return stack.enter_context(client)

        yield make


@pytest.fixture
def site(engine: ToldEngine) -> Site:
    """A calibration that makes girls 6 months older and boys 6 months younger."""
    lines = {sex: Line(shift, 0.0, 120.0, 0.0, 228.0, 30) for sex, shift in ((Sex.FEMALE, 6.0), (Sex.MALE, -6.0))}
    return Site("Klinik Łódź", "2026-11-24", engine.model, lines, Check(9.0, 6.0, 3.0, (2.0, 4.0)))


@pytest.fixture
def client(build: Callable[..., TestClient]) -> TestClient:
    """The service as `carpal serve` starts it: loopback, no tokens."""
    return build()


@pytest.fixture
def address(tmp_path: Path, engine: Any) -> Iterator[str]:
    """A service on a free port, in a thread."""
    port = free_port()
    app = create_app(Settings(tmp_path / "data", port=port, rate=100_000), engine)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + PATIENCE
    while not server.started and time.monotonic() < end:
        time.sleep(0.05)
    assert server.started
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def queue(png: bytes) -> Callable[..., dict[str, Any]]:
    """Queues the drawn hand and waits for the end; returns the job."""

    def run(client: TestClient, headers: dict[str, str] | None = None, **facts: Any) -> dict[str, Any]:
        files = [("files", ("hand.png", png, "image/png"))]
        answer = client.post("/api/v1/jobs", files=files, data={"sex": "female"} | facts, headers=headers)
        assert answer.status_code == 202, answer.text
        return wait(client, answer.json()["jobs"][0]["id"], headers)

    return run


def wait(client: TestClient, job: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """The job when nothing more happens to it."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        state: dict[str, Any] = client.get(f"/api/v1/jobs/{job}", headers=headers).json()
        if state["state"] not in ("queued", "reading"):
            return state
        time.sleep(0.02)
    raise AssertionError("the job did not end")


@pytest.fixture
def settle() -> Callable[..., dict[str, Any]]:
    """Waits for a job."""
    return wait


def is_problem(answer: Any, status: int, code: str) -> bool:
    """Whether an answer has the one error shape, this status and this code."""
    body = answer.json()
    assert set(body) == {"ok", "code", "error", "errors", "status"}, body
    assert body["ok"] is False
    assert body["status"] == answer.status_code == status, body
    assert body["error"] == body["errors"][0]
    assert body["code"] == code, body
    return True


@pytest.fixture
def problem() -> Callable[..., bool]:
    """Checks the one error shape."""
    return is_problem


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium. Where it is missing its tests are skipped, and fail where CARPAL_CI_TOOLS is set."""
    chromium = shutil.which("chromium")
    if chromium is None:
        missing = "Debian's chromium is not installed: apt-get install chromium"
        (pytest.fail if os.environ.get("CARPAL_CI_TOOLS") else pytest.skip)(missing)
    from chromium import FLAGS
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS), timeout=1000 * PATIENCE)
        yield found
        found.close()


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Opens pages of the service; an error of a script on one of them fails the test."""
    from browser_kit import PATIENCE as MILLISECONDS

    contexts, errors = [], []

    def build(**options: Any) -> Any:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}, "base_url": address} | options))
        context.set_default_timeout(MILLISECONDS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if "Content Security" in line.text else None)
        return page

    yield build
    for context in contexts:
        context.close()
    assert errors == []
