"""Debian's Chromium without a window, for the scripts of `bench/`; its flags also for the tests' browser."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser, closed at the end. Ends the script where there is no Chromium."""
    path = shutil.which("chromium")
    if path is None:
        sys.exit("Debian's Chromium is needed and there is no `chromium` to run. Install it: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()
