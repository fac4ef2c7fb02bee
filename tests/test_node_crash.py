"""kill -9 of the node while it receives, reads and delivers: nothing that it acknowledged is lost or doubled."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import node_kit as kit
from carpal.service.audit import verify
from carpal.service.config import load
from carpal.service.jobs import Jobs, State


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Killed:
    """A node in a process of its own that is killed at random moments and started again."""

    def __init__(self, config: Path, port: int) -> None:
        self.config, self.port, self.kills = config, port, 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, kit.__file__, str(self.config)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.kills += 1

    def listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def storm(folder: Path, stores: int, kills: int, lifetime: float) -> tuple[Killed, kit.Pacs, list[str]]:
    """Sends `stores` radiographs, each again until it is acknowledged, while the node is killed `kills` times.

    The sender is never far ahead of the kills, and four of five kills wait for an acknowledgement of this life: on
    quick and on slow machines they hit a node at work, and the others hit one that starts.
    """
    pacs, port = kit.Pacs(), free_port()
    killed = Killed(kit.write_config(folder / "node.toml", pacs.port, port), port)
    acknowledged: list[str] = []
    done = threading.Event()

    def send_all() -> None:
        for number in range(stores):
            dataset = kit.radiograph(number)
            while killed.kills < kills and number * kills > stores * (killed.kills + 2):
                time.sleep(0.01)
            while kit.send(port, [dataset]) != [0]:
                time.sleep(0.05)
            acknowledged.append(str(dataset.SOPInstanceUID))
        done.set()

    killed.start()
    sender = threading.Thread(target=send_all, daemon=True)
    sender.start()
    for _ in range(kills):
        assert kit.wait_for(killed.listening, 180), "the node does not come back"
        before = len(acknowledged)
        if random.random() < 0.8:
            assert kit.wait_for(lambda before=before: len(acknowledged) > before or done.is_set(), 180), "nothing taken"
        time.sleep(random.uniform(0, lifetime))
        killed.kill()
        killed.start()
    assert done.wait(300)
    assert kit.wait_for(lambda: len(pacs.received) == stores, 300), f"{len(pacs.received)} of {stores} arrived"
    return killed, pacs, acknowledged


def check(killed: Killed, pacs: kit.Pacs, acknowledged: list[str], stores: int) -> None:
    """Every acknowledged study has its one report in the archive, and the queue and the audit log are whole."""
    assert killed.process is not None
    killed.process.terminate()
    killed.process.wait(60)
    pacs.close()
    assert len(acknowledged) == stores
    assert set(pacs.received) == {kit.report_uid(uid) for uid in acknowledged}
    config = load(killed.config)
    with Jobs(config.node.folder, config.queue_limits()) as jobs:
        assert jobs.counts()[State.DELIVERED] == sum(jobs.counts().values()) == stores
    assert verify(config.node.folder / "audit.jsonl").lines > stores


@pytest.mark.slow
def test_fifty_kills_during_five_hundred_stores_lose_and_double_nothing(tmp_path: Path) -> None:
    """An archive keeps what it has twice under one UID once; a report may be sent again, never as another object."""
    start = time.monotonic()
    killed, pacs, acknowledged = storm(tmp_path, stores=500, kills=50, lifetime=1)
    assert killed.kills == 50
    check(killed, pacs, acknowledged, 500)
    again = sum(number > 1 for number in pacs.received.values())
    print(f"{killed.kills} kills, 500 stores, {again} reports sent more than once, {time.monotonic() - start:.0f} s")
