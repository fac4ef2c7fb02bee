"""kill -9 of the node while it receives, reads and delivers: nothing that it acknowledged is lost or doubled.

Two archives get every result: one that counts what it is sent, by UID, and DCMTK's dcmqrscp, whose index and files say
what a PACS holds afterwards.
"""

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
from pydicom import dcmread

import node_kit as kit
import tools
from carpal.node.audit import verify
from carpal.node.config import load
from carpal.queue.jobs import Jobs, State

pytestmark = pytest.mark.slow

IN_A_STUDY = 5
"""Radiographs of one study."""


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


def radiograph(number: int) -> kit.Dataset:
    return kit.radiograph(number, StudyInstanceUID=study_uid(number))


def study_uid(number: int) -> str:
    return f"{kit.ROOT}.2.{number // IN_A_STUDY}"


def configured(folder: Path, counting: kit.Pacs, archive: int) -> Killed:
    """A node whose results go to both."""
    second = f'[[peer]]\nname = "dcmqrscp"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {archive}\nresults = true\n'
    port = tools.free_port()
    return Killed(kit.write_config(folder / "node.toml", counting.port, port, more=second), port)


def storm(killed: Killed, stores: int, kills: int, lifetime: float) -> list[str]:
    """Sends `stores` radiographs, each again until it is acknowledged, while the node is killed `kills` times.

    The sender is never far ahead of the kills, and four of five kills wait for an acknowledgement of this life: on
    quick and on slow machines they hit a node at work, and the others hit one that starts.
    """
    acknowledged: list[str] = []
    done = threading.Event()

    def send_all() -> None:
        for number in range(stores):
            dataset = radiograph(number)
            while killed.kills < kills and number * kills > stores * (killed.kills + 2):
                time.sleep(0.01)
            while kit.send(killed.port, [dataset]) != [0]:
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
    return acknowledged


def stop_when_delivered(killed: Killed, stores: int) -> None:
    """Waits until the node has noted every delivery, then ends it."""
    config = load(killed.config)
    with Jobs(config.node.folder, config.queue_limits()) as jobs:
        assert kit.wait_for(lambda: jobs.counts()[State.DELIVERED] == stores, 300), jobs.counts()
    assert killed.process is not None
    killed.process.terminate()
    killed.process.wait(60)


def check(killed: Killed, pacs: kit.Pacs, acknowledged: list[str], stores: int) -> None:
    """Every acknowledged radiograph has its one report in the archive, and the queue and the audit log are whole."""
    assert len(acknowledged) == stores
    assert set(pacs.received) == {kit.report_uid(uid) for uid in acknowledged}
    config = load(killed.config)
    with Jobs(config.node.folder, config.queue_limits()) as jobs:
        assert jobs.counts()[State.DELIVERED] == sum(jobs.counts().values()) == stores
    assert verify(config.node.folder / "audit.jsonl").lines > stores


def check_archive(store: Path, port: int, stores: int) -> None:
    """dcmqrscp holds the reports of each study, every one once: in its index, and as files."""
    expected = sorted((study_uid(n), kit.report_uid(f"{kit.ROOT}.1.{n}")) for n in range(stores))
    assert kit.wait_for(lambda: len(set(tools.held(port))) == stores, 300), (
        f"{len(tools.held(port))} of {stores} arrived"
    )
    assert sorted(tools.held(port)) == expected
    files = [dcmread(path) for path in store.glob("SR*")]
    assert sorted((str(each.StudyInstanceUID), str(each.SOPInstanceUID)) for each in files) == expected


@pytest.mark.slow
def test_fifty_kills_during_five_hundred_stores_lose_and_double_nothing(tmp_path: Path) -> None:
    """An archive keeps what it has twice under one UID once; a report may be sent again, never as another object."""
    start, stores, archive = time.monotonic(), 500, tools.free_port()
    tools.tool("findscu")
    pacs = kit.Pacs()
    killed = configured(tmp_path, pacs, archive)
    with tools.dcmqrscp(tmp_path / "archive", archive) as store:
        acknowledged = storm(killed, stores, kills=50, lifetime=1)
        stop_when_delivered(killed, stores)
        pacs.close()
        assert killed.kills == 50
        check_archive(store, archive, stores)
    check(killed, pacs, acknowledged, stores)
    again = sum(number > 1 for number in pacs.received.values())
    print(
        f"{killed.kills} kills, {stores} stores, {again} reports sent more than once, {time.monotonic() - start:.0f} s"
    )
