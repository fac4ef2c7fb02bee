"""The newcomer's walk of docs/node.md, command by command as it stands there, in a fresh clone, with its times.

    python bench/orthanc_walk.py [--keep FOLDER]

The first block (apt-get) is left out: its programs must be there, and nothing may listen on ports 4242, 8042, 9110 and
11112. pip fetches from the registry that it is configured for. A person's reading and typing is not in the times.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECTION = "## Ten minutes with Orthanc\n"
SERVER = "cd demo && "
"""A block of one line that begins so is a window of its own."""
SERIES = "http://127.0.0.1:8042/series?expand"
SECONDS = 180


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="an empty folder to work in, which stays")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        walk(folder / "carpal")


def blocks() -> list[str]:
    """The commands of the section, block by block."""
    section = (ROOT / "docs" / "node.md").read_text(encoding="utf-8").partition(SECTION)[2].partition("\n## ")[0]
    return [block.strip() for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL)]


def walk(folder: Path) -> None:
    """Runs the blocks; what does not succeed ends it."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    print(
        f"commit {commit.stdout.strip()}, {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    start = time.monotonic()
    servers: list[subprocess.Popen[bytes]] = []
    try:
        for block in blocks()[1:]:
            if block.startswith(SERVER):
                servers.append(serve(folder, block, folder.parent / f"window-{len(servers) + 1}.log"))
            else:
                for line in block.splitlines():
                    folder = run(folder, line, start)
    finally:
        for server in servers:
            server.terminate()
            server.wait(60)


def run(folder: Path, line: str, start: float) -> Path:
    """One command; where the next one runs."""
    if line.startswith("cd "):
        return folder / line.removeprefix("cd ")
    before = time.monotonic()
    done = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True)
    while done.returncode == 0 and "storescu" in line and series() != ["DX", "OT", "SR"]:
        assert time.monotonic() - before < SECONDS, f"after {SECONDS} s Orthanc has only {series()}"
        time.sleep(0.1)
    now = time.monotonic()
    print(f"{now - start:6.1f} s, {now - before:5.1f} of them for: {line[:90]}")
    print("".join(f"          {told}\n" for told in done.stdout.splitlines()[-12:]), end="")
    if done.returncode != 0:
        sys.exit(f"exit code {done.returncode}: {done.stderr}")
    return folder


def series() -> list[str]:
    """The modality of every series that Orthanc holds."""
    with urllib.request.urlopen(SERIES, timeout=30) as answer:
        return sorted(each["MainDicomTags"]["Modality"] for each in json.loads(answer.read()))


def serve(folder: Path, line: str, log: Path) -> subprocess.Popen[bytes]:
    """A window of its own, once the program in it says that it has started."""
    command = shlex.split(line.removeprefix(SERVER))
    with log.open("w") as file:
        server = subprocess.Popen(command, cwd=folder / "demo", stdout=file, stderr=file)
    end = time.monotonic() + SECONDS
    while not re.search(r'"event": "started"|Orthanc has started', log.read_text()):
        assert server.poll() is None, f"{command[0]} has ended: {log.read_text()[-1000:]}"
        assert time.monotonic() < end, f"{command[0]} does not start: {log.read_text()[-1000:]}"
        time.sleep(0.1)
    return server


if __name__ == "__main__":
    main()
