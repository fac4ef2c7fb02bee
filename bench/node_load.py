"""Twenty senders at once, for a minute: how long a C-STORE takes, what memory the node holds, and that nothing is lost.

    python bench/node_load.py [--senders 20] [--seconds 60] [--side 1500] [--client storescu]

The node runs in a process of its own with an instant reader (tests/node_kit.py): this measures receiving, queueing and
delivering, not the network. Each sender keeps one association open and stores one radiograph after the other. Senders
are processes of DCMTK's storescu, or with `--client pynetdicom` threads of this process, which then wait for each other
and not for the node: read its times as an upper bound.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import node_kit as kit
import tools
from carpal.service.config import load
from carpal.service.counters import resident
from carpal.service.jobs import Jobs, State

LOG = """
log4cplus.rootLogger = INFO, console
log4cplus.appender.console = log4cplus::ConsoleAppender
log4cplus.appender.console.layout = log4cplus::PatternLayout
log4cplus.appender.console.layout.ConversionPattern = %D{%H:%M:%S.%q} %m%n
"""
LINE = re.compile(r"(\d\d:\d\d:\d\d\.\d+) (Sending Store Request|Received Store Response)(.*)")

Outcome = tuple[list[float], list[str]]
"""Seconds of each store that succeeded, and what became of the others."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--senders", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--side", type=int, default=1500, help="pixels of a side; 8 bits each")
    parser.add_argument("--client", choices=("storescu", "pynetdicom"), default="storescu")
    arguments = parser.parse_args()
    send = by_storescu if arguments.client == "storescu" else by_pynetdicom
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name), send, arguments.senders, arguments.seconds, arguments.side)
    print(json.dumps({"client": arguments.client, **found}, indent=2))


def by_storescu(folder: Path, port: int, senders: int, seconds: float, side: int) -> Outcome:
    """Processes of storescu, each with one association, stopped in the end; what they then waited for is left out."""
    (folder / "log.cfg").write_text(LOG)
    (folder / "hand.dcm").write_bytes(kit.as_bytes(large(0, side)))
    words = ["storescu", "-lc", str(folder / "log.cfg"), "-aet", "TESTER", "-aec", "CARPAL", "+II"]
    words += ["--repeat", "1000000", "127.0.0.1", str(port), str(folder / "hand.dcm")]
    files = [folder / f"sender-{n}.log" for n in range(senders)]
    processes = [subprocess.Popen(words, stdout=file.open("w"), stderr=subprocess.STDOUT) for file in files]
    time.sleep(seconds)
    others = [f"sender ended with {p.returncode}" for p in processes if p.poll() is not None]
    for process in processes:
        process.terminate()
        process.wait()
    times: list[float] = []
    for file in files:
        sent = None
        for moment, what, rest in LINE.findall(file.read_text()):
            at = datetime.strptime(moment, "%H:%M:%S.%f")
            if what.startswith("Sending"):
                sent = at
            elif "Success" in rest and sent is not None:
                times.append((at - sent).total_seconds() % 86_400)
            else:
                others.append(rest.strip())
    return times, others


def large(number: int, side: int) -> kit.Dataset:
    pixels = np.random.default_rng(0).integers(0, 255, (side, side), np.uint8).tobytes()
    return kit.radiograph(number, Rows=side, Columns=side, PixelData=pixels)


def by_pynetdicom(folder: Path, port: int, senders: int, seconds: float, side: int) -> Outcome:
    """Threads of this process, each with one association."""
    times: list[float] = []
    others: list[str] = []
    end, lock = time.monotonic() + seconds, threading.Lock()

    def send(first: int) -> None:
        association, number = kit.associate(port, seconds=120), first
        if not association.is_established:
            others.append("no association")
            return
        while time.monotonic() < end and association.is_established:
            dataset = large(number, side)
            start = time.monotonic()
            status = association.send_c_store(dataset).get("Status")
            with lock:
                times.append(time.monotonic() - start) if status == 0 else others.append(f"{status}")
            number += 1
        association.release()

    threads = [threading.Thread(target=send, args=(n * 100_000,)) for n in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times, others


def measure(
    folder: Path, send: Callable[[Path, int, int, float, int], Outcome], senders: int, seconds: float, side: int
) -> dict[str, object]:
    """Runs the load and returns what was seen."""
    pacs, port = kit.Pacs(), tools.free_port()
    config = kit.write_config(folder / "node.toml", pacs.port, port)
    config.write_text(config.read_text().replace("association_seconds = 1\n", ""))  # the node's own default
    with open(folder / "log", "w") as log:
        node = subprocess.Popen([sys.executable, kit.__file__, str(config)], stdout=log, stderr=log)
    while not kit.echo(port):
        time.sleep(0.2)
    idle, peaks, done = resident(node.pid), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            peaks.append(resident(node.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    load_average = os.getloadavg()[0]
    times, others = send(folder, port, senders, seconds, side)
    ended, settled = time.monotonic(), kit.wait_for(lambda: len(pacs.received) >= len(times), 300)
    done.set()
    watcher.join()
    node.terminate()
    node.wait(60)
    opened = load(config)
    with Jobs(opened.node.folder, opened.queue_limits()) as jobs:
        held = jobs.counts()[State.DELIVERED]
    pacs.close()
    ordered = sorted(times)
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {load_average:.0f} before",
        "senders": senders,
        "object_mb": round(side * side / 1e6, 2),
        "stores": len(times),
        "others": others,
        "delivered": held,
        "all_delivered_after_s": round(time.monotonic() - ended, 1) if settled else None,
        "stores_per_second": round(len(times) / seconds, 1),
        "p50_s": round(ordered[len(ordered) // 2], 3),
        "p99_s": round(ordered[int(len(ordered) * 0.99)], 3),
        "longest_s": round(ordered[-1], 3),
        "idle_mb": round(idle / 2**20),
        "peak_mb": round(max(peaks) / 2**20),
    }


if __name__ == "__main__":
    main()
