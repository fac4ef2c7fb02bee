"""`carpal serve` as a process of its own (`bench/serving.py`), and a client that has read its address."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import serving

PATIENCE = serving.PATIENCE


@dataclass(frozen=True)
class Served:
    """A running service and a client of it."""

    client: httpx2.Client
    server: serving.Server

    def wait(self, job: str) -> dict[str, Any]:
        """The job when nothing more happens to it."""
        return settled(self.client, f"/api/v1/jobs/{job}")


def settled(client: httpx2.Client, path: str) -> dict[str, Any]:
    """The job of this path when nothing more happens to it."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        state: dict[str, Any] = client.get(path).json()
        if state["state"] not in ("queued", "reading"):
            return state
        time.sleep(0.05)
    raise AssertionError("the job did not end")


@contextmanager
def served(folder: Path, more: Sequence[str] = ()) -> Iterator[Served]:
    """A service on a free port and a new data folder, as long as the block lasts."""
    with (
        serving.served(folder, more) as server,
        httpx2.Client(base_url=server.address, timeout=PATIENCE) as client,
    ):
        yield Served(client, server)
