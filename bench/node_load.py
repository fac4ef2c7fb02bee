"""Twenty senders at once, for a minute: how long a C-STORE takes, what memory the node holds, and that nothing is lost.

    python bench/node_load.py [--senders 20] [--seconds 60] [--side 1500]

The node runs in a process of its own with an instant reader (tests/node_kit.py): this measures receiving, queueing and
delivering, not the network. Each sender keeps one association open and stores one radiograph after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import node_kit as kit
import tools
from carpal.service.config import load
from carpal.service.counters import resident
from carpal.service.jobs import Jobs, State


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--senders", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--side", type=int, default=1500, help="pixels of a side; 8 bits each")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(measure(Path(name), arguments.senders, arguments.seconds, arguments.side), indent=2))


def measure(folder: Path, senders: int, seconds: float, side: int) -> dict[str, object]:
    """Runs the load and returns what was seen."""
    pacs, port = kit.Pacs(), tools.free_port()
    config = kit.write_config(folder / "node.toml", pacs.port, port)
    with open(folder / "log", "w") as log:
        node = subprocess.Popen([sys.executable, kit.__file__, str(config)], stdout=log, stderr=log)
    while not kit.echo(port):
        time.sleep(0.2)
    idle, peak, times, refused = resident(node.pid), 0, [], []
    end, lock = time.monotonic() + seconds, threading.Lock()
    pixels = np.random.default_rng(0).integers(0, 255, (side, side), np.uint8).tobytes()

    def send(first: int) -> None:
        association, number = kit.associate(port, seconds=120), first
        if not association.is_established:
            refused.append("association")
            return
        while time.monotonic() < end:
            dataset = kit.radiograph(number, Rows=side, Columns=side, PixelData=pixels)
            start = time.monotonic()
            status = association.send_c_store(dataset).get("Status")
            with lock:
                times.append(time.monotonic() - start) if status == 0 else refused.append(f"{status}")
            if not association.is_established:
                return
            number += 1
        association.release()

    threads = [threading.Thread(target=send, args=(n * 100_000,)) for n in range(senders)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        peak = max(peak, resident(node.pid))
        time.sleep(0.2)
    kit.wait_for(lambda: len(pacs.received) >= len(times), 300)
    node.terminate()
    node.wait(60)
    opened = load(config)
    with Jobs(opened.node.folder, opened.queue_limits()) as jobs:
        held = jobs.counts()[State.DELIVERED]
    pacs.close()
    ordered = sorted(times)
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}",
        "senders": senders,
        "object_mb": round(side * side / 1e6, 2),
        "stores": len(times),
        "refused": refused,
        "delivered": held,
        "stores_per_second": round(len(times) / seconds, 1),
        "p50_s": round(ordered[len(ordered) // 2], 3),
        "p99_s": round(ordered[int(len(ordered) * 0.99)], 3),
        "idle_mb": round(idle / 2**20),
        "peak_mb": round(peak / 2**20),
    }


if __name__ == "__main__":
    main()
