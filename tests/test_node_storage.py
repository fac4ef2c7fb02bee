"""Storage that is locked or fails, and a backlog of 10,000 results: refused with the right code, nothing lost."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import node_fixtures
import node_kit as kit
from carpal.errors import NodeError
from carpal.node import scu
from carpal.node.audit import Audit, verify
from carpal.node.config import NodeConfig
from carpal.node.delivery import Sender
from carpal.node.monitoring import Metrics
from carpal.queue.jobs import Clock, Jobs, Limits, State
from carpal.queue.outbox import Outbox

pytestmark = pytest.mark.slow

OUT_OF_RESOURCES = 0xA700


_quiet, pacs, config = node_fixtures.log, node_fixtures.pacs, node_fixtures.config


def lock(config: NodeConfig) -> sqlite3.Connection:
    """Another program that holds the queue's write lock until it is rolled back."""
    other = sqlite3.connect(config.node.folder / "queue.sqlite", isolation_level=None, timeout=60)
    other.execute("BEGIN IMMEDIATE")
    return other


def test_a_database_that_is_locked_for_a_while_only_delays_the_answer(
    config: NodeConfig, pacs: kit.Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kit.running(config) as node:
        put, arrived = node.jobs.put, threading.Event()
        answers: list[int | None] = []

        def told(*words: Any, **named: Any) -> Any:
            arrived.set()
            return put(*words, **named)

        monkeypatch.setattr(node.jobs, "put", told)
        other = lock(config)
        sender = threading.Thread(target=lambda: answers.extend(kit.send(node.port, [kit.radiograph(1)])))
        sender.start()
        assert arrived.wait(60)
        assert kit.echo(node.port)
        assert answers == [], "no success before the row is there"
        other.execute("ROLLBACK")
        other.close()
        sender.join(60)
        assert answers == [0]
        assert kit.wait_for(lambda: node.jobs.counts()[State.DELIVERED] == 1)
    assert pacs.received == {f"{kit.ROOT}.4.1": 1}


def test_a_database_that_stays_locked_refuses_with_a700_and_recovers(config: NodeConfig, pacs: kit.Pacs) -> None:
    with kit.running(config) as node:
        with node.jobs._lock:
            node.jobs._db.execute("PRAGMA busy_timeout=50")  # instead of a minute
        other = lock(config)
        assert kit.send(node.port, [kit.radiograph(1)]) == [OUT_OF_RESOURCES]
        assert kit.echo(node.port)
        other.execute("ROLLBACK")
        other.close()
        assert kit.send(node.port, [kit.radiograph(1)]) == [0]
        assert kit.wait_for(lambda: node.jobs.counts()[State.DELIVERED] == 1)
    assert pacs.received == {f"{kit.ROOT}.4.1": 1}


class FailsToCommit:
    """A connection whose COMMIT fails in the threads of associations, while `failing`."""

    def __init__(self, connection: sqlite3.Connection, failing: threading.Event) -> None:
        self.connection, self.failing = connection, failing

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)

    def execute(self, sql: str, *values: Any) -> Any:
        if sql == "COMMIT" and self.failing.is_set() and not ours():
            raise sqlite3.OperationalError("disk I/O error")
        return self.connection.execute(sql, *values)


def ours() -> bool:
    """Whether this is a thread of the node's own, and none of an association."""
    return threading.current_thread().name.startswith(("carpal-", "MainThread"))


def test_eio_at_any_flush_of_a_store_is_refused_or_kept_and_never_lost(
    config: NodeConfig, pacs: kit.Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The object, its folders and the audit line are flushed, and the row is committed: each fails once."""
    fsync, failing, left = os.fsync, threading.Event(), [0]

    def flaky(handle: int) -> None:
        if not ours():
            left[0] -= 1
            if left[0] == 0:
                raise OSError(5, "Input/output error")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", flaky)
    with kit.running(config) as node:
        monkeypatch.setattr(node.jobs, "_db", FailsToCommit(node.jobs._db, failing))
        refused = []
        for number in range(6):
            left[0] = number  # 0: no flush fails, but the commit
            failing.set() if number == 0 else failing.clear()
            refused += kit.send(node.port, [kit.radiograph(number)])
            left[0] = 0
            failing.clear()
            assert kit.echo(node.port)
            assert kit.send(node.port, [kit.radiograph(number)]) == [0], "sent again"
        assert set(refused) == {0, OUT_OF_RESOURCES}
        assert refused[:4] == [OUT_OF_RESOURCES] * 4
        assert kit.wait_for(lambda: node.jobs.counts()[State.DELIVERED] == 6)
        assert list(node.jobs.spool.partial.iterdir()) == []
    assert set(pacs.received) == {f"{kit.ROOT}.4.{n}" for n in range(6)}
    verify(config.node.folder / "audit.jsonl")


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where a flush costs nothing."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def fill(jobs: Jobs, number: int) -> None:
    """So many read radiographs, each with one result to deliver: written at once, for no test is about that."""
    now, columns = jobs.now(), "key, kind, source, sha256, size, meta, state, due, created, updated"
    ids = [f"{n:032x}" for n in range(number)]
    with jobs.transaction() as db:
        db.executemany(
            f"INSERT INTO jobs (id, {columns}) VALUES (?1, ?1, 'dicom', 'S', ?1, 1, '{{}}', 'done', ?2, ?2, ?2)",
            [(name, now) for name in ids],
        )
        db.executemany(
            "INSERT INTO deliveries (job, name, destination, state, due, created, updated) "
            "VALUES (?1, 'sr.dcm', 'pacs', 'waiting', ?2, ?2, ?2)",
            [(name, now + n / number) for n, name in enumerate(ids)],
        )


def test_a_backlog_of_ten_thousand_is_drained_in_order_after_an_outage_with_none_lost(
    config: NodeConfig, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, steady = 10_000, node_fixtures.Steady()
    calls = [0]
    sent: list[str] = []

    def archive(_: NodeConfig, __: object, files: Sequence[Path]) -> Iterator[NodeError | None]:
        """Away three times, then it ends an association halfway, then it takes everything at once."""
        calls[0] += 1
        if calls[0] <= 3:
            raise NodeError("pacs does not answer")
        for place, path in enumerate(files):
            if calls[0] == 4 and place == 7:
                return
            sent.append(path.parent.name)
            yield None

    monkeypatch.setattr(scu, "store", archive)
    limits = Limits(min_free=0, first_delay=60, longest_delay=3600)
    with Jobs(memory / "queue", limits, Clock(steady=steady)) as jobs:
        fill(jobs, number)
        sender = Sender(config, jobs, Audit(memory / "audit.jsonl"), Metrics())
        waited = []
        while calls[0] < 4:
            steady.seconds += 60
            if sender.deliver():
                waited.append(steady.seconds)
        assert waited == [1060, 1120, 1240, 1480], "after 1, 2 and 4 minutes, with 10,000 as with one"
        steady.seconds += 3600  # what the ended association left behind is due again
        while sender.deliver():
            pass
        assert Outbox(jobs).counts() == {"waiting": 0, "uncommitted": 0, "sent": number, "dead": 0}
        assert jobs.counts()[State.DELIVERED] == number
    assert len(sent) == len(set(sent)) == number
    assert sent == sorted(sent), "the oldest first"
