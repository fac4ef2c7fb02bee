"""The page in a real browser (Debian's Chromium): from upload to signed report, by mouse, keyboard and touch.

Where Chromium is missing these tests are skipped, and fail where CARPAL_CI_TOOLS is set.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
PATIENCE = 60_000
"""Milliseconds: the machine that runs the tests may be busy."""
expect.set_options(timeout=PATIENCE)
FACTS = {"birth_date": "2010-01-01", "study_date": "2020-07-01", "height_cm": "140", "patient_name": "Doe, Jane"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        missing = "Debian's chromium is not installed: apt-get install chromium"
        (pytest.fail if os.environ.get("CARPAL_CI_TOOLS") else pytest.skip)(missing)
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield found
        found.close()


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """Opens pages of the service; an error of a script on one of them fails the test."""
    contexts, errors = [], []

    def build(**options: Any) -> Page:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}, "base_url": address} | options))
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if "Content Security" in line.text else None)
        return page

    yield build
    for context in contexts:
        context.close()
    assert errors == []


def upload(page: Page, hand: Path, sex: str = "female", **facts: str) -> None:
    """Fills in the first page and waits for the answer."""
    page.goto("/")
    page.set_input_files("#files", hand)
    page.check(f'input[name="sex"][value="{sex}"]')
    for name, value in (FACTS | facts).items():
        page.fill(f'[name="{name}"]', value)
    page.click("#upload .actions .button")
    page.wait_for_url("**/studies/*")


def ready(page: Page) -> None:
    """Waits for the answer and for the picture."""
    page.wait_for_selector("#age")
    page.wait_for_selector("#wait", state="hidden")


def grey(page: Page) -> list[int]:
    """Every hundredth value of the canvas, once it is drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    values: list[int] = page.evaluate(
        "() => { const c = document.getElementById('canvas');"
        "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((_, i) => i % 400 === 0)]; }"
    )
    return values


def test_from_upload_to_the_signed_report(open_page: Callable[..., Page], hand_png: Path) -> None:
    page = open_page()
    upload(page, hand_png)
    ready(page)
    expect(page.locator("h1")).to_contain_text("Doe, Jane")
    expect(page.locator(".result .big")).to_contain_text("10 years")
    assert page.locator("#overlay g").count() == 17

    row = page.locator('tr[data-region="Wrist"]')
    row.hover()
    expect(page.locator('#overlay g[data-region="Wrist"]')).to_have_class("active")

    before = grey(page)
    page.locator("#level").fill("650")
    brighter = grey(page)
    assert sum(brighter) > sum(before)
    page.locator("#window").fill("800")
    assert grey(page) != brighter
    page.click("#invert")
    assert sum(grey(page)) != sum(brighter)
    page.click("#reset")
    assert grey(page) == before

    page.check('input[value="adjust"]')
    page.fill('.adjusting input[name="own_years"]', "9")
    page.fill('.adjusting input[name="own_months"]', "6")
    page.fill('textarea[name="reason"]', "carpals lag behind")
    page.click("text=Sign >> nth=-1")
    expect(page.locator(".signed")).to_contain_text("Adjusted: 9 years 6 months")
    report = page.request.get(page.get_attribute('a[href*="report.pdf"]', "href") or "")
    assert report.status == 200
    assert report.body().startswith(b"%PDF-")


def test_by_keyboard_only(open_page: Callable[..., Page], hand_png: Path) -> None:
    page = open_page()
    upload(page, hand_png)
    ready(page)

    def tab_to(selector: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"Tab never reaches {selector}")

    tab_to("#stage")
    before = grey(page)
    for key in ("+", "ArrowLeft", "w", "i", "r"):
        page.keyboard.press(key)
        after = grey(page)
        assert (after == before) == (key == "r"), key
    tab_to('input[name="decision"]')
    page.keyboard.press("Space")
    tab_to(".decide .button")
    page.keyboard.press("Enter")
    expect(page.locator(".signed")).to_contain_text("Accepted: 10 years")


def test_a_region_is_dragged_and_the_age_read_again(open_page: Callable[..., Page], hand_png: Path) -> None:
    page = open_page()
    upload(page, hand_png)
    ready(page)
    page.click(".correct summary")
    page.click("#edit")
    page.locator("#stage").scroll_into_view_if_needed()
    box = page.locator('#overlay g[data-region="Wrist"] rect').bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] - 4, box["y"] + box["height"] - 4)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 44, box["y"] + box["height"] - 14, steps=4)
    page.mouse.up()
    moved = page.locator('#overlay g[data-region="Wrist"] rect').bounding_box()
    assert moved
    assert moved["x"] - box["x"] == pytest.approx(-40, abs=3)
    assert moved["y"] - box["y"] == pytest.approx(-10, abs=3)
    page.mouse.move(moved["x"] + 4, moved["y"] + moved["height"] - 4)
    page.mouse.down()
    page.mouse.move(moved["x"] + 900, moved["y"] - 900)  # however far it is dragged, it stays on the radiograph
    page.mouse.up()
    page.select_option("#which", "DIP2")
    page.select_option("#really", "DIP4")
    page.click("#redo .button >> nth=0")
    expect(page.locator(".result .big")).to_contain_text("10 years 6 months")
    expect(page.locator(".result")).to_contain_text("regions put right by hand: DIP2, DIP4, Wrist")
    expect(page.locator(".result")).to_contain_text("the machine itself read 10 years")


def test_two_hands_are_shown_apart_and_one_is_signed(
    open_page: Callable[..., Page], two_hands_png: bytes, tmp_path: Path
) -> None:
    page = open_page()
    (tmp_path / "two.png").write_bytes(two_hands_png)
    upload(page, tmp_path / "two.png")
    ready(page)
    ages = page.locator(".results .result")
    expect(ages).to_have_count(2)
    expect(ages.nth(0)).to_contain_text("Hand on the left of the picture")
    expect(ages.nth(1)).to_contain_text("Hand on the right of the picture")
    assert page.locator("#overlay g").count() == 34
    page.locator('tr[data-region="right-Wrist"]').hover()
    expect(page.locator('#overlay g[data-region="right-Wrist"]')).to_have_class("active")
    expect(page.locator('#overlay g[data-region="left-Wrist"]')).not_to_have_class("active")
    assert page.locator("#edit").count() == 0
    page.set_viewport_size({"width": 390, "height": 844})
    name = page.locator('#overlay g[data-region="left-MCP3"] text')
    expect(name).to_be_visible()
    for _ in range(4):
        page.click("#zoom-out")  # until names are much wider than their boxes, and would hide the hands
    expect(name).to_be_hidden()
    page.click("#reset")
    expect(name).to_be_visible()
    page.set_viewport_size({"width": 1280, "height": 900})
    page.check('input[name="hand"][value="right"]')
    page.check('input[value="accept"]')
    page.click("text=Sign >> nth=-1")
    expect(page.locator(".signed")).to_contain_text("Accepted: 10 years, Hand on the right of the picture")


def test_an_unknown_sex_has_two_ages_and_no_accepting(
    open_page: Callable[..., Page], hand_png: Path, engine: Any
) -> None:
    engine.more_for_boys = 11.0
    page = open_page()
    upload(page, hand_png, sex="unknown")
    ready(page)
    ages = page.locator(".results .result")
    expect(ages.nth(0)).to_contain_text("Bone age as a girl")
    expect(ages.nth(0)).to_contain_text("10 years 120.0 months")
    expect(ages.nth(1)).to_contain_text("Bone age as a boy")
    expect(ages.nth(1)).to_contain_text("10 years 11 months 131.0 months")
    assert page.locator('input[value="accept"], input[value="adjust"]').count() == 0
    found = [each["id"] for each in Axe().run(page)["violations"] if each["impact"] in ("serious", "critical")]
    assert found == []
    page.click("text=Complete or correct")
    page.check('details input[name="sex"][value="male"]')
    page.click("text=Save")
    expect(page.locator(".result .big")).to_contain_text("10 years 11 months")
    page.check('input[value="accept"]')
    page.click("text=Sign >> nth=-1")
    expect(page.locator(".signed")).to_contain_text("Accepted: 10 years 11 months")


def test_blind_first(open_page: Callable[..., Page], hand_png: Path) -> None:
    page = open_page()
    page.goto("/")
    page.check('input[name="blind"]')
    page.set_input_files("#files", hand_png)
    page.check('input[name="sex"][value="male"]')
    page.click("#upload .actions .button")
    page.wait_for_selector("#blind")
    assert "10 years" not in page.content()
    assert page.locator("#overlay g").count() == 0
    page.fill('[name="own_years"]', "11")
    page.click("text=Commit >> nth=-1")
    expect(page.locator(".result")).to_contain_text("Your own reading: 11 years")


def test_a_bad_file_and_a_wrong_address_say_so(open_page: Callable[..., Page], tmp_path: Path) -> None:
    page = open_page()
    page.goto("/")
    bad = tmp_path / "notes.png"
    bad.write_text("not a picture")
    page.set_input_files("#files", bad)
    page.click("#upload .actions .button")
    expect(page.locator("#trouble")).to_contain_text("not a radiograph")
    page.goto("/studies/000000000000000000000000")
    expect(page.locator("h1")).to_have_text("That did not work")


def test_dark_phone_and_accessible(open_page: Callable[..., Page], hand_png: Path) -> None:
    first = open_page()
    upload(first, hand_png)
    ready(first)
    study, colours = first.url, set()
    for scheme in ("light", "dark"):
        page = open_page(viewport={"width": 390, "height": 844}, color_scheme=scheme)
        for path in ("/", study, "/agreement", "/nothing"):
            page.goto(path)
            if path == study:
                ready(page)
            assert page.evaluate("() => document.documentElement.scrollWidth") <= 390, path
            found = Axe().run(page)["violations"]
            serious = [each for each in found if each["impact"] in ("serious", "critical")]
            assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in serious] == [], path
        colours.add(page.evaluate("() => getComputedStyle(document.body).backgroundColor"))
    assert len(colours) == 2


def test_the_widest_screens_are_used(open_page: Callable[..., Page], hand_png: Path) -> None:
    """4K: nothing is wider than the screen, the answer lies beside the radiograph, and both take their share."""
    page = open_page(viewport={"width": 3840, "height": 2160})
    upload(page, hand_png)
    ready(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 3840
    look, answer = (page.locator(each).bounding_box() for each in (".look", ".answer"))
    assert look
    assert answer
    assert look["x"] + look["width"] <= answer["x"]
    assert min(look["width"], answer["width"]) > 1000
    size = page.evaluate("() => parseFloat(getComputedStyle(document.documentElement).fontSize)")
    assert size >= 20, "letters grow with the screen"
