"""In a real browser: two hands in a picture, a child of unknown sex, and the widest screens."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from browser_kit import PATIENCE, ready, upload

pytestmark = pytest.mark.slow

expect.set_options(timeout=PATIENCE)
COVERED = """() => {
  const names = [...document.querySelectorAll("#overlay text")].filter((name) => name.checkVisibility());
  const boxes = names.map((name) => name.getBoundingClientRect());
  return names.filter((_, i) => boxes.some((other, j) => j < i && Math.abs(other.x - boxes[i].x) < 20
    && Math.abs(other.y - boxes[i].y) < 8)).map((name) => name.textContent);
}"""
"""Names of regions that stand over another one."""


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
    expect(name).to_be_hidden()  # names are much wider than their boxes, and would hide the hands
    for _ in range(3):
        page.click("#zoom-in")
    expect(name).to_be_visible()
    page.click("#reset")
    expect(name).to_be_hidden()
    page.set_viewport_size({"width": 1280, "height": 900})
    page.check('input[name="hand"][value="right"]')
    page.check('input[value="accept"]')
    page.click("text=Sign >> nth=-1")
    expect(page.locator(".signed")).to_contain_text("Accepted: 10 years, Hand on the right of the picture")


def test_no_name_of_a_region_stands_over_another(
    open_page: Callable[..., Page], hand_png: Path, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    close_R4 = np.array([[i, i, i + 60, i + 60] for i in range(60, 77)], np.float32)
    monkeypatch.setattr(sys.modules[type(engine).__module__], "FOUND_R4", close_R4)
    page = open_page()
    upload(page, hand_png)
    ready(page)
    names = page.locator("#overlay text")
    assert 0 < names.filter(visible=True).count() < names.count() == 17
    assert page.evaluate(COVERED) == []
    page.locator('tr[data-region="Wrist"]').hover()
    expect(page.locator('#overlay g[data-region="Wrist"] text')).to_be_visible()


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
    page.click("text=Complete or correct")
    page.check('details input[name="sex"][value="male"]')
    page.click("text=Save")
    expect(page.locator(".result .big")).to_contain_text("10 years 11 months")
    page.check('input[value="accept"]')
    page.click("text=Sign >> nth=-1")
    expect(page.locator(".signed")).to_contain_text("Accepted: 10 years 11 months")


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
