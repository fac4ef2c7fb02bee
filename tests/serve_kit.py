"""`carpal serve` as a process of its own, with the released weights, and a client that has read its address."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

SOURCES = Path(__file__).parents[1] / "src"
PATIENCE = 120.0
"""Seconds: the machine that runs the tests may be busy."""


@dataclass(frozen=True)
class Served:
    """A running service. `log` is where its two outputs go, `started` the clock at its start."""

    client: httpx2.Client
    process: subprocess.Popen[bytes]
    data: Path
    log: Path
    started: float

    @property
    def port(self) -> int:
        port = self.client.base_url.port
        assert port is not None
        return port

    def wait(self, job: str) -> dict[str, Any]:
        """The job when nothing more happens to it."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            state: dict[str, Any] = self.client.get(f"/api/v1/jobs/{job}").json()
            if state["state"] not in ("queued", "reading"):
                return state
            time.sleep(0.05)
        raise AssertionError("the job did not end")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def served(folder: Path, more: Sequence[str] = ()) -> Iterator[Served]:
    """Starts `python -m carpal serve` on a free port and a new data folder; ends it and shows its output on failure."""
    port, log, start = free_port(), folder / "log.txt", time.monotonic()
    command = [sys.executable, "-m", "carpal", "serve", "--port", str(port), "--data", str(folder / "data"), *more]
    with log.open("wb") as output:
        environment = os.environ | {"PYTHONPATH": str(SOURCES)}
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
                while not _answers(client):
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < start + PATIENCE, log.read_text()
                    time.sleep(0.05)
                yield Served(client, process, folder / "data", log, start)
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _answers(client: httpx2.Client) -> bool:
    try:
        return client.get("/api/v1/health").status_code == 200
    except httpx2.TransportError:
        return False
