"""Eight clients that assess over REST, against eight readers in one process without any service: how much it adds.

    python bench/rest_load.py examples/6456.jpg [--clients 8] [--rounds 6] [--seconds 10]

Definition. Both sides are warm, read the same file, and have the same number of closed loops: a loop asks again as soon
as it was answered. *Bare* is one process that has loaded the network once and reads in that many threads, with
`carpal.read(bytes, sex, engine)`. *REST* is `carpal serve` in a process of its own, asked by that many clients, each
with one connection, with `POST /api/v1/assess`. Rounds alternate, so that what else the machine does meets both; the
side that is not asked sleeps. The ratio is p99 over p99. CPU seconds a reading are those of the process alone: the
clients' are not among them. With `--clients 1` it is what the service adds for somebody who is alone.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from serving import SOURCES, served

BOUNDARY = "carpal-bench"
Ask = Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=10, help="of a round and side")
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that both processes are ended, too
    if arguments.bare:
        bare(arguments.image, arguments.clients)
        return
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(compare(arguments, Path(folder)), indent=2))


def compare(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Alternates between both sides; returns what was seen."""
    same = [sys.executable, __file__, arguments.image, "--clients", str(arguments.clients), "--bare"]
    environment = os.environ | {"PYTHONPATH": str(SOURCES)}
    times: dict[str, list[float]] = {"bare": [], "rest": []}
    cpu = dict.fromkeys(times, 0.0)
    with (
        served(folder, ["--rate", "1000000"]) as server,
        subprocess.Popen(same, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as reader,
    ):
        try:
            clients = [client(server.port, arguments.image.read_bytes()) for _ in range(arguments.clients)]
            loops(clients, 1.0)  # warm
            tell(reader, 1.0)
            for number in range(arguments.rounds):
                print(f"round {number + 1}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
                for side, pid in (("bare", reader.pid), ("rest", server.process.pid)):
                    before = cpu_seconds(pid)
                    found = tell(reader, arguments.seconds) if side == "bare" else loops(clients, arguments.seconds)
                    times[side] += found
                    cpu[side] += cpu_seconds(pid) - before
        finally:
            reader.terminate()
    p99 = {side: quantile(found, 0.99) for side, found in times.items()}
    return {
        "clients": arguments.clients,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        **{side: summary(found, cpu[side], arguments) for side, found in times.items()},
        "p99 ratio": round(p99["rest"] / p99["bare"], 3),
        "median ratio": round(statistics.median(times["rest"]) / statistics.median(times["bare"]), 3),
        "load average": os.getloadavg(),
    }


def summary(found: list[float], cpu: float, arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds of one side."""
    return {
        "readings": len(found),
        "a second": round(len(found) / (arguments.rounds * arguments.seconds), 2),
        "p50": round(quantile(found, 0.5), 3),
        "p99": round(quantile(found, 0.99), 3),
        "longest": round(max(found), 3),
        "CPU a reading": round(cpu / len(found), 3),
    }


def loops(askers: list[Ask], seconds: float) -> list[float]:
    """Closed loops, one thread each, until the time is over; what was begun is finished. Seconds of each answer."""
    end, found = time.monotonic() + seconds, []

    def run(ask: Ask) -> None:
        while time.monotonic() < end:
            start = time.monotonic()
            ask()
            found.append(time.monotonic() - start)

    threads = [threading.Thread(target=run, args=(ask,)) for ask in askers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def client(port: int, image: bytes) -> Ask:
    """One connection that asks for the age of a girl."""
    body = b"".join(
        [
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="sex"\r\n\r\nfemale\r\n'.encode(),
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="hand.jpg"\r\n\r\n'.encode(),
            image,
            f"\r\n--{BOUNDARY}--\r\n".encode(),
        ]
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def ask() -> None:
        try:
            connection.request("POST", "/api/v1/assess", body, headers)
        except (ConnectionError, http.client.CannotSendRequest):  # it was idle for too long
            connection.close()
            connection.request("POST", "/api/v1/assess", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content

    return ask


def bare(image: Path, readers: int) -> None:
    """The side without a service: for each line of input, seconds, it reads in closed loops and answers one line."""
    import carpal

    engine, data = carpal.load(), image.read_bytes()
    for line in sys.stdin:
        askers: list[Ask] = [lambda: carpal.read(data, "female", engine) and None] * readers
        print(json.dumps(loops(askers, float(line))), flush=True)


def tell(reader: subprocess.Popen[str], seconds: float) -> list[float]:
    """Lets the bare side read for so long."""
    assert reader.stdin is not None
    assert reader.stdout is not None
    reader.stdin.write(f"{seconds}\n")
    reader.stdin.flush()
    return list(json.loads(reader.stdout.readline()))


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def quantile(found: list[float], share: float) -> float:
    """The smallest time that at least this share of all does not exceed."""
    return sorted(found)[min(int(share * len(found)), len(found) - 1)]


if __name__ == "__main__":
    main()
