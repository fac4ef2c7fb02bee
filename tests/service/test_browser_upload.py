"""Many files in a real browser: a request for each, what is refused beside what is taken, a list that goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Request, expect

from browser_kit import PATIENCE

pytestmark = pytest.mark.slow

expect.set_options(timeout=PATIENCE)
ROWS = "#studies tbody tr"


@pytest.fixture
def folder(hand_png: Path) -> Path:
    """Three radiographs and, between them, a text."""
    found = hand_png.parent / "folder"
    found.mkdir()
    for name in ("a.png", "b.png", "d.png"):
        (found / name).write_bytes(hand_png.read_bytes())
    (found / "c.txt").write_text("<b>no radiograph</b>")
    return found


def send(page: Page, folder: Path) -> list[Request]:
    """Chooses the folder and sends it; the requests that carried files."""
    requests: list[Request] = []
    page.on("request", lambda each: requests.append(each) if each.method == "POST" else None)
    page.goto("/")
    page.set_input_files("#folder", folder)
    page.check('input[name="sex"][value="female"]')
    page.click("#upload .actions .button")
    return requests


def test_several_files_and_a_bad_one(open_page: Callable[..., Page], folder: Path) -> None:
    page = open_page()
    requests = send(page, folder)
    expect(page.locator("#count")).to_have_text("3 of 4 taken")
    assert len(requests) == 4, "one request for each file"
    expect(page.locator("#refused li")).to_have_count(1)
    expect(page.locator("#refused")).to_contain_text("c.txt the radiograph: not a radiograph")
    expect(page.locator(ROWS)).to_have_count(3)
    for row in range(3):
        expect(page.locator(ROWS).nth(row)).to_contain_text("10 years")  # read meanwhile, without a reload
    assert page.locator("#files").evaluate("(input) => input.files.length") == 0, "nobody sends them twice"
    page.click("text=a.png")
    expect(page.locator(".result .big")).to_contain_text("10 years")


def test_more_files_than_one_request_may_have(open_page: Callable[..., Page], address: str, hand_png: Path) -> None:
    """101 files were a 413 while they went in one request."""
    page = open_page()
    many = hand_png.parent / "many"
    many.mkdir()
    for number in range(101):
        (many / f"{number}.png").write_text("no radiograph, so that it goes quickly")
    requests = send(page, many)
    expect(page.locator("#count")).to_have_text("0 of 101 taken")
    assert len(requests) == 101
    expect(page.locator("#refused li")).to_have_count(101)


def test_the_list_goes_on_by_itself(open_page: Callable[..., Page], engine: Any, hand_png: Path) -> None:
    """A page that was loaded while a study waits shows its age without a hand on it, and keeps the focus."""
    go, run = threading.Event(), engine.run
    engine.run = lambda *args: (go.wait(PATIENCE / 1000), run(*args))[1]
    page, other = open_page(), open_page()
    page.goto("/")
    page.set_input_files("#files", hand_png)
    page.check('input[name="sex"][value="female"]')
    page.click("#upload .actions .button")
    page.wait_for_url("**/studies/*")
    other.goto("/")
    row = other.locator(ROWS)
    expect(row).to_contain_text("being read")
    row.locator("a").focus()
    go.set()
    expect(row).to_contain_text("10 years")
    assert other.evaluate("() => document.activeElement.getAttribute('href')").startswith("/studies/")


def test_a_file_that_is_too_large_is_not_even_sent(open_page: Callable[..., Page], folder: Path) -> None:
    page = open_page()
    page.add_init_script(
        "addEventListener('DOMContentLoaded', () => { document.getElementById('upload').dataset.largest = 100; })"
    )
    requests = send(page, folder)
    expect(page.locator("#count")).to_have_text("0 of 4 taken")
    expect(page.locator("#refused li").first).to_contain_text("larger than 63.")
    assert len(requests) == 1, "c.txt is small enough"


def test_a_service_that_asks_to_wait_is_asked_again(open_page: Callable[..., Page], folder: Path) -> None:
    page, turned = open_page(), []

    def turn_away(route: Any) -> None:
        if len(turned) < 2:
            turned.append(route.request.url)
            route.fulfill(status=429, headers={"Retry-After": "1"}, json={"error": "Too many requests"})
        else:
            route.continue_()

    page.route("**/studies", turn_away)
    send(page, folder)
    expect(page.locator("#count")).to_have_text("3 of 4 taken")
    assert len(turned) == 2
