"""What tests in a real browser share: a filled-in first page, what the canvas shows, what axe-core finds."""

from __future__ import annotations

from pathlib import Path

from axe_core_python.sync_playwright import Axe
from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as Late

PATIENCE = 120_000
"""Milliseconds: the machine that runs the tests may be busy."""
FACTS = {"birth_date": "2010-01-01", "study_date": "2020-07-01", "height_cm": "140", "patient_name": "Doe, Jane"}


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
    """Waits for the answer and for the picture, with its regions in their places."""
    page.wait_for_selector("#age")
    page.wait_for_selector("#wait", state="hidden")
    drawn(page)


def drawn(page: Page) -> None:
    """Waits until what was asked of the viewer so far is on the screen: it draws with the next frame."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def grey(page: Page) -> list[int]:
    """Every hundredth value of the canvas, once it is drawn."""
    drawn(page)
    values: list[int] = page.evaluate(
        "() => { const c = document.getElementById('canvas');"
        "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((_, i) => i % 400 === 0)]; }"
    )
    return values


def tab_to(page: Page, selector: str) -> None:
    """Presses Tab until the element has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab never reaches {selector}")


def choose(page: Page, file: Path) -> None:
    """Opens the file chooser of the element in focus with Space and picks the file.

    Once, on a busy machine, none had opened in a minute; why is not known. So it is pressed again, as one would.
    """
    tries = 6
    for attempt in range(1, tries + 1):
        try:
            with page.expect_file_chooser(timeout=PATIENCE / tries) as chooser:
                page.keyboard.press("Space")
            chooser.value.set_files(file)
            return
        except Late:
            if attempt == tries:
                raise


def unfold(page: Page) -> None:
    """Opens what is folded away, so that nothing of the page is hidden from whoever looks at it."""
    page.evaluate(
        "() => { document.querySelectorAll('details').forEach((each) => { each.open = true; });"
        "document.querySelector('input[value=adjust]')?.click(); document.getElementById('edit')?.click(); }"
    )


def serious(page: Page) -> list[tuple[str, list[str]]]:
    """What axe-core finds serious or critical: the rule and the elements that break it."""
    found = Axe().run(page, options={"resultTypes": ["violations"]})["violations"]
    heavy = [each for each in found if each["impact"] in ("serious", "critical")]
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in heavy]
