"""Associations held at once, for a minute: how long a C-STORE takes, what memory the node takes, what is delivered.

    python bench/node_load.py [--associations 20] [--seconds 60] [--drain 60] [--reader released] [--side 1500]

Each association is a process of DCMTK's storescu that stores one radiograph after the other, each under an instance UID
of its own (`+II`), so that none is taken for one that came before. The node runs in a process of its own. By default an
instant reader (tests/node_kit.py) stands in for the network: this measures receiving, queueing and delivering. With
`--reader released` it is the node as it is installed, and the network wants the same cores.

After the minute the archive has `--drain` seconds more; what is not delivered by then is counted, not waited for.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import node_kit as kit
import tools
from carpal.node.config import Bounds, load
from carpal.queue.jobs import Jobs, State
from process_kit import cpu_seconds, forget_peak, peak_mb

EXAMPLE = Path(__file__).parents[1] / "examples" / "6456.jpg"
LOG = """
log4cplus.rootLogger = INFO, console
log4cplus.appender.console = log4cplus::ConsoleAppender
log4cplus.appender.console.layout = log4cplus::PatternLayout
log4cplus.appender.console.layout.ConversionPattern = %D{%H:%M:%S.%q} %m%n
"""
LINE = re.compile(r"(\d\d:\d\d:\d\d\.\d+) (Sending Store Request|Received Store Response)(.*)")
DAY = 86_400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--associations", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--drain", type=float, default=60, help="most seconds of waiting for deliveries afterwards")
    parser.add_argument("--reader", choices=("instant", "released"), default="instant")
    parser.add_argument("--side", type=int, default=1500, help="pixels of a side; 8 bits each")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(measure(Path(name), **vars(arguments)), indent=2))


def measure(folder: Path, associations: int, seconds: float, drain: float, reader: str, side: int) -> dict[str, object]:
    """Runs the load and returns what was seen."""
    pacs, port = kit.Pacs(), tools.free_port()
    own = Bounds().association_seconds  # the tests' node waits longer for a request
    config = kit.write_config(folder / "node.toml", pacs.port, port, association_seconds=own)
    (folder / "hand.dcm").write_bytes(kit.as_bytes(hand(side)))
    before = os.getloadavg()[0]
    node = start(config, reader, folder / "log")
    try:
        while not kit.echo(port):
            assert node.poll() is None, f"the node has ended: {(folder / 'log').read_text()[-1000:]}"
            time.sleep(0.2)
        family = [node.pid, *children(node.pid)]
        idle, spent = [forget_peak(pid) for pid in family], cpu_seconds(node.pid)
        logs, ended = send(folder, port, associations, seconds)
        peaks, spent, delivered = [peak_mb(pid) for pid in family], cpu_seconds(node.pid) - spent, len(pacs.received)
        times, others = outcomes(logs)
        until = time.monotonic()
        kit.wait_for(lambda: len(pacs.received) >= len(times), drain)
        until = time.monotonic() - until
    finally:
        node.terminate()
        node.wait(60)
        pacs.close()
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {before:.1f} before",
        "associations": associations,
        "seconds": seconds,
        "reader": reader,
        "object_mb": round((folder / "hand.dcm").stat().st_size / 1e6, 2),
        **summary(times, seconds),
        "unanswered_at_the_end": len(others[1]),
        "other_answers": others[0],
        "associations_ended_early": ended,
        "node_mb": {"idle": round(idle[0]), "peak": round(peaks[0])},
        "readers_mb": {"idle": [round(mb) for mb in idle[1:]], "peak": [round(mb) for mb in peaks[1:]]},
        "node_cpu_seconds": round(spent, 1),
        "reports_in_the_archive": {"after_the_load": delivered, "later": len(pacs.received), "s": round(until, 1)},
        "reports_sent_twice": sum(number > 1 for number in pacs.received.values()),
        "queue": held(config),
    }


def hand(side: int) -> kit.Dataset:
    """An example radiograph in a square of that many pixels."""
    with Image.open(EXAMPLE) as image:
        scale = side / max(image.size)
        grey = image.convert("L").resize((round(image.width * scale), round(image.height * scale)))
    square_HW = np.zeros((side, side), np.uint8)
    square_HW[: grey.height, : grey.width] = np.asarray(grey)
    return kit.radiograph(0, Rows=side, Columns=side, PixelData=square_HW.tobytes())


def start(config: Path, reader: str, log: Path) -> subprocess.Popen[bytes]:
    """The node in a process of its own."""
    released = [sys.executable, "-m", "carpal", "node", "--config", str(config)]
    command = released if reader == "released" else [sys.executable, kit.__file__, str(config)]
    with log.open("w") as file:
        return subprocess.Popen(command, stdout=file, stderr=file)


def children(pid: int) -> list[int]:
    """The readers' processes."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread of one association, which has ended since
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def send(folder: Path, port: int, associations: int, seconds: float) -> tuple[list[str], list[str]]:
    """What each storescu has logged until it was stopped, and what became of those that ended before."""
    (folder / "log.cfg").write_text(LOG)
    words = [tools.tool("storescu"), "-lc", str(folder / "log.cfg"), "-aet", "TESTER", "-aec", "CARPAL", "+II"]
    words += ["--repeat", "1000000", "127.0.0.1", str(port), str(folder / "hand.dcm")]
    files = [folder / f"sender-{number}.log" for number in range(associations)]
    senders = []
    for file in files:
        with file.open("w") as log:
            senders.append(subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT))
    time.sleep(seconds)
    early = [sender.returncode for sender in senders if sender.poll() is not None]
    for sender in senders:
        sender.terminate()
        sender.wait()
    return [file.read_text() for file in files], [f"exit code {code}" for code in early]


def outcomes(logs: list[str]) -> tuple[list[float], tuple[list[str], list[str]]]:
    """Seconds of each store that succeeded; other answers; and the requests that had none."""
    times: list[float] = []
    others: list[str] = []
    unanswered: list[str] = []
    for log in logs:
        sent = None
        for moment, what, rest in LINE.findall(log):
            at = datetime.strptime(moment, "%H:%M:%S.%f")
            if what.startswith("Sending"):
                sent, asked = at, moment
            elif sent is not None:
                times.append((at - sent).total_seconds() % DAY) if "Success" in rest else others.append(
                    rest.strip(" ()")
                )
                sent = None
        if sent is not None:
            unanswered.append(asked)
    return times, (others, unanswered)


def summary(times: list[float], seconds: float) -> dict[str, object]:
    """How many stores succeeded, and how long they took."""
    p50, p99, longest = np.percentile(times, (50, 99, 100), method="higher") if times else (float("nan"),) * 3
    return {
        "stores": len(times),
        "stores_per_second": round(len(times) / seconds, 1),
        "p50_s": round(float(p50), 3),
        "p99_s": round(float(p99), 3),
        "longest_s": round(float(longest), 3),
    }


def held(config: Path) -> dict[str, int]:
    """What the node's own queue says at the end; one job a store, for each has a UID of its own."""
    opened = load(config)
    with Jobs(opened.node.folder, opened.queue_limits()) as jobs:
        counts = jobs.counts()
    return {"jobs": sum(counts.values()), **{str(state): counts[state] for state in State if counts[state]}}


if __name__ == "__main__":
    main()
