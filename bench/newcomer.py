"""How long a newcomer waits: from `carpal serve` to an age on the page, and from dropping a radiograph to its age.

    python bench/newcomer.py examples/6456.jpg [--times 5]

Starts the service with the released weights on an empty folder and opens the page in Debian's Chromium. What people do
(open the page, look for the file, choose the sex) takes no time here: the script drops the file on the page, chooses
*female*, presses **Read** and waits until the age is on the screen, then until the radiograph is. Seconds, as JSON;
the first radiograph by itself, the later ones (`--times` less one) as their median and the longest.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from chromium import launched
from playwright.sync_api import Page
from serving import served

PATIENCE = 120_000
"""Milliseconds: the machine may be busy."""
DROP = """([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name));
  const event = new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
  document.getElementById("drop").dispatchEvent(event);
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("--times", type=int, default=5, help="radiographs, one after another (default: 5)")
    arguments = parser.parse_args()
    with launched() as browser, tempfile.TemporaryDirectory() as folder, served(Path(folder)) as server:
        page = browser.new_page(base_url=server.address)
        page.set_default_timeout(PATIENCE)
        page.goto("/")
        opened, first = time.monotonic(), read(page, arguments.image)
        age, later = time.monotonic(), [read(page, arguments.image) for _ in range(arguments.times - 1)]
    found = {
        "start of the service": server.answered - server.started,
        "first page": opened - server.answered,
        "first radiograph, to its age": first[0],
        "and to its picture": first[1],
        "from carpal serve to the first age and picture": age - server.started,
    }
    if later:
        found |= {"later ones, median": statistics.median(each[0] for each in later)}
        found |= {"later ones, longest": max(each[0] for each in later)}
    print(json.dumps({name: round(seconds, 2) for name, seconds in found.items()}, indent=2))
    print(f"load average {os.getloadavg()[0]:.1f}, {len(os.sched_getaffinity(0))} cores", file=sys.stderr)


def read(page: Page, image: Path) -> tuple[float, float]:
    """Drops the radiograph on the first page: seconds until its age is on the screen, and until it is itself."""
    page.goto("/")
    start = time.monotonic()
    page.evaluate(DROP, [image.name, base64.b64encode(image.read_bytes()).decode()])
    page.check('#upload input[name="sex"][value="female"]')
    page.click("#upload .actions .button")
    page.wait_for_selector("#age")
    age = time.monotonic() - start
    page.wait_for_selector("#wait", state="hidden")
    return age, time.monotonic() - start


if __name__ == "__main__":
    main()
