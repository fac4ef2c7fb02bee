"""The page in a real browser (Debian's Chromium): from upload to signed report, by mouse, keyboard and touch.

Where Chromium is missing these tests are skipped, and fail where CARPAL_CI_TOOLS is set.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from browser_kit import PATIENCE, choose, drawn, grey, ready, tab_to, upload

pytestmark = pytest.mark.slow

expect.set_options(timeout=PATIENCE)


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
    page.locator('#overlay g[data-region="MCP1"] rect').hover(position={"x": 3, "y": 3})
    expect(page.locator('tr[data-region="MCP1"]')).to_have_class("active")
    expect(row).not_to_have_class("active")

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
    page.goto("/")
    tab_to(page, "#files")
    choose(page, hand_png)
    expect(page.locator("#chosen")).to_have_text(hand_png.name)
    tab_to(page, '#upload input[name="sex"]')
    page.keyboard.press("ArrowRight")  # from "as the file states it" to "female"
    expect(page.locator('#upload input[value="female"]')).to_be_checked()
    tab_to(page, "#upload .actions .button")
    page.keyboard.press("Enter")
    page.wait_for_url("**/studies/*")
    ready(page)
    expect(page.locator("h1")).to_contain_text("female")
    tab_to(page, "#stage")
    before = grey(page)
    for key in ("+", "ArrowLeft", "w", "i", "r"):
        page.keyboard.press(key)
        after = grey(page)
        assert (after == before) == (key == "r"), key
    tab_to(page, 'input[name="decision"]')
    page.keyboard.press("Space")
    expect(page.locator('input[value="accept"]')).to_be_checked()
    tab_to(page, ".decide .button")
    page.keyboard.press("Enter")
    expect(page.locator(".signed")).to_contain_text("Accepted: 10 years")


def test_files_are_dropped_and_a_folder_is_chosen(open_page: Callable[..., Page], hand_png: Path) -> None:
    page = open_page()
    page.goto("/")
    dropped = page.evaluate_handle(
        "() => { const t = new DataTransfer(); for (const n of ['a.png', 'b.dcm', '.hidden'])"
        "t.items.add(new File(['x'], n)); return t; }"
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
    expect(page.locator("#chosen")).to_have_text("a.png, b.dcm")
    for number in range(5):
        (hand_png.parent / "folder" / "inner").mkdir(parents=True, exist_ok=True)
        (hand_png.parent / "folder" / "inner" / f"{number}.png").write_bytes(hand_png.read_bytes())
    page.set_input_files("#folder", hand_png.parent / "folder")
    expect(page.locator("#chosen")).to_contain_text("(5)")
    page.check('input[name="sex"][value="male"]')
    page.click("#upload .actions .button")
    page.wait_for_function("() => document.querySelectorAll('.list tbody tr').length === 5")


def test_a_region_is_dragged_and_the_age_read_again(open_page: Callable[..., Page], hand_png: Path) -> None:
    page = open_page()
    upload(page, hand_png)
    ready(page)
    page.click(".correct summary")
    page.click("#edit")
    page.locator("#stage").scroll_into_view_if_needed()
    drawn(page)
    box = page.locator('#overlay g[data-region="Wrist"] rect').bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] - 4, box["y"] + box["height"] - 4)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 44, box["y"] + box["height"] - 14, steps=4)
    page.mouse.up()
    drawn(page)
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


def test_blind_first(open_page: Callable[..., Page], hand_png: Path) -> None:
    page = open_page()
    page.goto("/")
    page.check('input[type="checkbox"][name="blind"]')
    page.set_input_files("#files", hand_png)
    page.check('input[name="sex"][value="male"]')
    page.click("#upload .actions .button")
    page.wait_for_selector("#blind")
    assert "10 years" not in page.content()
    assert page.locator("#overlay g").count() == 0
    years, months = (page.locator(f'[name="own_{unit}"]').bounding_box() for unit in ("years", "months"))
    assert years
    assert months
    assert years["y"] == months["y"], "side by side"
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
    expect(page.locator("#refused")).to_contain_text("notes.png the radiograph: not a radiograph")
    page.goto("/studies/000000000000000000000000")
    expect(page.locator("h1")).to_have_text("That did not work")
