"""Every page for everybody: axe-core finds nothing serious, nothing is wider than the screen; wide and light and in
English, and on a phone, dark and in German.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Page, expect

from browser_kit import PATIENCE, serious, unfold
from serve_kit import settled

pytestmark = pytest.mark.slow

expect.set_options(timeout=PATIENCE)
WIDE = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light", "locale": "en-US"}
PHONE = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "locale": "de-DE"}
CHILD = {"birth_date": "2010-01-01", "study_date": "2020-07-01", "patient_name": "Doe, Jane", "patient_id": "4711"}
"""Facts of the same child, so that the page has a curve."""


@pytest.fixture
def pages(address: str, engine: Any, png: bytes, two_hands_png: bytes) -> dict[str, str]:
    """The address of each kind of page, by what it shows."""
    with httpx2.Client(base_url=f"{address}/api/v1", timeout=PATIENCE / 1000) as client:

        def add(content: bytes = png, **facts: str) -> str:
            answer = client.post("/jobs", files={"files": ("hand.png", content)}, data=facts)
            job: str = answer.json()["jobs"][0]["id"]
            if facts.get("sex"):
                assert settled(client, f"/jobs/{job}")["state"] == "done"
            return job

        signed = add(sex="female", **(CHILD | {"study_date": "2019-01-01"}))
        sign = {"decision": "adjust", "months": 111, "reason": "carpals lag behind"}
        assert client.post(f"/jobs/{signed}/sign", json=sign).status_code == 200
        committed = add(sex="female", blind="true")
        assert client.post(f"/jobs/{committed}/commit", json={"months": 118}).status_code == 200
        assert client.post(f"/jobs/{committed}/sign", json={"decision": "accept"}).status_code == 200
        engine.more_for_boys = 11.0
        jobs = {
            "reading": add(sex="female", height_cm="140", **CHILD),
            "signed": signed,
            "blind": add(sex="male", blind="true"),
            "blind, committed": committed,
            "sex asked": add(),
            "sex unknown": add(sex="unknown", height_cm="140", **CHILD),
            "two hands": add(two_hands_png, sex="female"),
            "no age": add(sex="female", birth_date="1980-01-01", study_date="2020-07-01"),
        }
    studies = {name: f"/studies/{job}" for name, job in jobs.items()}
    rest = {"first": "/", "agreement": "/agreement", "login": "/login", "error": "/studies/" + 24 * "0"}
    return studies | rest


@pytest.mark.parametrize("view", [WIDE, PHONE], ids=["wide", "phone"])
def test_no_page_has_a_serious_fault(
    open_page: Callable[..., Page], pages: dict[str, str], view: dict[str, Any]
) -> None:
    page, found = open_page(**view), {}
    for name, path in pages.items():
        page.goto(path)
        assert page.get_attribute("html", "lang") == view["locale"][:2]
        if page.locator("#wait").count():
            page.wait_for_selector("#wait", state="hidden")
        unfold(page)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= view["viewport"]["width"], name
        found[name] = serious(page)
    page.goto("/login")
    page.fill('input[name="token"]', "no token of ours")
    page.press('input[name="token"]', "Enter")
    expect(page.locator(".trouble")).to_be_visible()
    found["login refused"] = serious(page)
    assert {name: faults for name, faults in found.items() if faults} == {}
    dark = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert dark == {"light": "rgb(244, 246, 248)", "dark": "rgb(16, 22, 28)"}[view["color_scheme"]]


def test_a_serious_fault_would_be_found(open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.goto("/login")
    assert serious(page) == []
    page.evaluate("() => document.querySelector('input[name=token]').closest('label').replaceWith("
                  "document.querySelector('input[name=token]'))")  # fmt: skip
    assert [rule for rule, _ in serious(page)] == ["label"]
