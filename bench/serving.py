"""`carpal serve` as a process of its own, with the released weights: for the scripts of `bench/` and for tests.

It runs the package of this checkout, whichever one is installed.
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SOURCES = Path(__file__).parents[1] / "src"
PATIENCE = 120.0
"""Seconds that it may take to start, or to end: the machine may be busy."""


class Server(NamedTuple):
    """A running service. `log` is where its two outputs go, `started` and `answered` are clocks (`time.monotonic`)."""

    port: int
    process: subprocess.Popen[bytes]
    data: Path
    log: Path
    started: float
    answered: float

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def served(folder: Path, more: Sequence[str] = ()) -> Iterator[Server]:
    """Starts it on a free port with the data folder `folder`/data, waits until it is well, and ends it at last.

    Raises RuntimeError with its output where it ends by itself, or is not well in time.
    """
    port, log, start = free_port(), folder / "log.txt", time.monotonic()
    command = [sys.executable, "-m", "carpal", "serve", "--port", str(port), "--data", str(folder / "data"), *more]
    with log.open("wb") as output:
        environment = os.environ | {"PYTHONPATH": str(SOURCES)}
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            while not is_well(port):
                if process.poll() is not None or time.monotonic() > start + PATIENCE:
                    raise RuntimeError(f"`carpal serve` does not answer ({process.poll()}):\n{log.read_text()}")
                time.sleep(0.05)
            yield Server(port, process, folder / "data", log, start, time.monotonic())
        finally:
            process.terminate()
            process.wait(PATIENCE)


def is_well(port: int) -> bool:
    """Whether the service says that it reads radiographs."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/api/v1/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
