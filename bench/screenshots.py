"""Takes the pictures of docs/page.md: `carpal serve` with the released weights, in Debian's Chromium.

    python bench/screenshots.py examples/6456.jpg --out docs/images

Writes page.png and page-dark.png (a study from top to bottom), page-top.png (its upper part, beside the hand in the
README), phone.png (390 pixels wide, dark), blind.png, agreement.png and error.png. The child is made up, and so are her
dates and the readers' ages. Her earlier radiograph is the same file, signed with an age of the reader's, so that there
is a curve over time. Each file is cut to 256 colours; the script ends with an error where one is larger than 300 KB,
where a page is wider than its window, or where Chromium is missing. Look at every picture before it is committed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from chromium import launched
from PIL import Image
from playwright.sync_api import Browser, Page
from serving import served

LANGUAGE = ("--language", "en")
CHILD = {"sex": "female", "birth_date": "2014-03-02", "patient_name": "Example, Jane", "patient_id": "EXAMPLE-1"}
TODAY = {"study_date": "2024-09-01", "height_cm": "138"}
EARLIER = {"study_date": "2023-03-01"}
EARLIER_MONTHS = 100
OTHER_MONTHS = 117
"""What the made-up readers signed for the earlier radiograph, and committed for a study that was read blind first."""
HAND_ASPECT = 1328 / 1210
"""Height to width of examples/6456-read.png."""
LARGEST = 300_000
PATIENCE = 120_000
"""Milliseconds: the first radiograph waits for the network."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder (default: docs/images)")
    arguments = parser.parse_args()
    with launched() as browser, tempfile.TemporaryDirectory() as data, served(Path(data), LANGUAGE) as server:
        arguments.out.mkdir(parents=True, exist_ok=True)
        take_all(browser, server.address, arguments.image, arguments.out)


def take_all(browser: Browser, address: str, image: Path, out: Path) -> None:
    """Uploads, signs, and writes every picture."""
    page = opened(browser, address)
    earlier = upload(page, image, CHILD | EARLIER)
    sign(page, earlier, "adjust", EARLIER_MONTHS, "carpals lag behind")
    blind = upload(page, image, CHILD | TODAY | {"blind": "true"})
    save(page, blind, out / "blind.png")
    post(page, f"{blind}/commit", {"months": OTHER_MONTHS})
    sign(page, blind, "accept")
    save(page, "/agreement", out / "agreement.png")
    low = {"width": 1280, "height": 440}
    save(opened(browser, address, viewport=low), "/studies/000000000000000000000000", out / "error.png")
    page.request.delete(f"/api/v1/jobs/{blind.rsplit('/', 1)[1]}")  # else today's radiograph would stand there twice
    study = upload(page, image, CHILD | TODAY)
    save(page, study, out / "page.png")
    with Image.open(out / "page.png") as whole:
        whole.crop((0, 0, whole.width, round(whole.width * HAND_ASPECT))).save(out / "page-top.png", optimize=True)
    save(opened(browser, address, color_scheme="dark"), study, out / "page-dark.png")
    phone = {"width": 390, "height": 844}
    save(opened(browser, address, viewport=phone, has_touch=True, color_scheme="dark"), study, out / "phone.png")


def opened(browser: Browser, address: str, **options: Any) -> Page:
    """A page of a new visitor, light and 1280 pixels wide unless told otherwise."""
    context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}, "base_url": address} | options))
    context.set_default_timeout(PATIENCE)
    return context.new_page()


def upload(page: Page, image: Path, facts: dict[str, str]) -> str:
    """Fills in the first page as a reader does and waits for the answer; the study's address."""
    page.goto("/")
    page.set_input_files("#files", image)
    for name, value in facts.items():
        if name in ("sex", "blind"):
            page.check(f'#upload [name="{name}"][value="{value}"]')
        else:
            page.fill(f'#upload [name="{name}"]', value)
    page.click("#upload .actions .button")
    page.wait_for_url("**/studies/*")
    page.wait_for_selector("#blind" if "blind" in facts else "#age")
    return page.url


def post(page: Page, study: str, body: dict[str, Any]) -> None:
    """Sends one decision by REST: the address of a study's page, and what is done to it."""
    answer = page.request.post(study.replace("/studies/", "/api/v1/jobs/"), data=body)
    assert answer.ok, answer.text()


def sign(page: Page, study: str, decision: str, months: float | None = None, reason: str = "") -> None:
    """Signs what was read."""
    post(page, f"{study}/sign", {"decision": decision, "months": months, "reason": reason})


def save(page: Page, path: str, to: Path) -> None:
    """Writes the whole page as PNG of 256 colours."""
    page.goto(path)
    if page.locator("#wait").count():
        page.wait_for_selector("#wait", state="hidden")
    wide, window = page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
    assert wide <= window, f"{to.name}: the page is {wide} pixels wide in a window of {window}"
    shot = few_colours(Image.open(BytesIO(page.screenshot(full_page=True))).convert("RGB"))
    shot.save(to, optimize=True)
    size = to.stat().st_size
    print(f"{to}: {shot.width} x {shot.height}, {size / 1000:.0f} KB")
    if size > LARGEST:
        sys.exit(f"{to.name} has {size} bytes, more than {LARGEST}. Take less of the page")


def few_colours(shot: Image.Image) -> Image.Image:
    """The same in 256 colours: 64 greys for the radiograph, the page's 64 most frequent colours, 128 for the others."""
    colours_N, place_P, count_N = np.unique(
        np.asarray(shot).reshape(-1, 3), axis=0, return_inverse=True, return_counts=True
    )
    grey_N = np.ptp(colours_N.astype(int), axis=1) == 0
    frequent_N = np.argsort(np.where(grey_N, 0, count_N))[-64:]
    others = Image.fromarray(colours_N[~grey_N][None]).quantize(128).convert("RGB")
    palette_K3 = np.concatenate(
        [
            colours_N[frequent_N],
            np.unique(np.asarray(others)[0], axis=0),
            np.repeat(np.linspace(0, 255, 64).round()[:, None], 3, 1),
        ]
    )
    near_N = [int(((palette_K3 - colour) ** 2).sum(1).argmin()) for colour in colours_N.astype(float)]
    few = Image.fromarray(np.array(near_N, np.uint8)[place_P.ravel()].reshape(shot.height, shot.width))
    few.putpalette(palette_K3.astype(np.uint8).tobytes())
    return few


if __name__ == "__main__":
    main()
