"""The durable queue: one SQLite table of jobs beside a spool of files. What `put` has returned survives any crash.

    put ──▶ queued ──lease──▶ leased ──finish──▶ done ──all results delivered──▶ delivered
              ▲                 │ ├─reject────▶ rejected   (with a reason; it may have results, such as a refusal's SR)
              └── fail, or the ─┘ └─fail──────▶ dead       (too many failures; `retry` queues it again)
                  lease ran out

The order is what makes it durable: the file is flushed to the disk before its row, the row is committed
(synchronous=FULL) before `put` returns, and results, their deliveries (`outbox.py`) and the new state are one commit.
Several threads and processes may use one folder; SQLite's write lock keeps them apart. A new version adds tables and
columns with a default, and changes none.

Time in the queue is seconds since 1970 that never jump, whatever happens to the machine's clock meanwhile (`Clock`).
The wall clock is asked once, at the start; from then on the kernel's count since boot adds to it, which nobody sets and
which goes on while a machine sleeps. So a wall clock that is put a day forward or back ends no lease early, holds back
no delivery and makes none too old. What was written before a restart may still come from another clock: `Jobs.lease`
and `Outbox.lease` take a time that lies further ahead than any of theirs can for one that has come.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from carpal.errors import NodeError, OutOfResources
from carpal.queue.spool import Spool


class State(StrEnum):
    """Where a job stands; the last three need nothing more from a worker."""

    QUEUED = "queued"
    LEASED = "leased"
    DONE = "done"
    DELIVERED = "delivered"
    REJECTED = "rejected"
    DEAD = "dead"


SETTLED: Final = (State.DONE, State.DELIVERED, State.REJECTED, State.DEAD)


@dataclass(frozen=True)
class Job:
    """One row, as it was when it was read. Times are seconds since 1970; `payload` is the file that arrived.

    `meta` is the caller's own (strings; nothing of it is ever logged), `code` and `message` say why a job was rejected
    or is dead, or what its last failure was; `result` is what `finish` or `reject` was given.
    """

    id: str
    key: str
    kind: str
    source: str
    sha256: str
    size: int
    payload: Path
    meta: dict[str, str]
    state: State
    tries: int
    interrupted: int
    due: float
    lease_until: float | None
    worker: str | None
    code: str | None
    message: str | None
    result: dict[str, Any] | None
    created: float
    updated: float
    pruned: bool
    """Its files were removed after a while (`upkeep.prune`); put again, it is queued again."""
    is_new: bool = field(default=False, compare=False)
    """True only on the job that `put` has just created."""

    @property
    def settled(self) -> bool:
        """No worker is needed any more."""
        return self.state in SETTLED


@dataclass(frozen=True)
class Limits:
    """What the queue refuses, and when it gives up. Delays double from `first_delay` to `longest_delay` seconds."""

    max_waiting: int = 10_000
    """Jobs that are queued or leased; one more raises OutOfResources."""
    max_payload: int = 256 * 2**20
    min_free: int = 2 * 2**30
    """Bytes that stay free on the disk."""
    max_tries: int = 3
    max_interrupted: int = 10
    """How often a lease may end without a word (the process was killed) before the job counts as its cause."""
    first_delay: float = 60
    longest_delay: float = 3600
    give_up_after: float = 48 * 3600
    """Seconds after which a delivery is not tried again by itself."""

    def delay(self, tries: int) -> float:
        """Seconds to wait after the given number of failures."""
        return min(self.first_delay * 2.0 ** max(tries - 1, 0), self.longest_delay)


class Jobs:
    """The queue in `folder`: queue.sqlite and the spool. Close it, or use it in a `with`."""

    def __init__(self, folder: Path, limits: Limits | None = None, clock: Clock | None = None) -> None:
        self.limits, self.now = limits or Limits(), (clock or Clock()).now
        try:
            self.spool = Spool(folder, self.limits.min_free)
            self._lock = threading.RLock()
            self._db = sqlite3.connect(
                folder / "queue.sqlite", timeout=60, isolation_level=None, check_same_thread=False
            )
            self._db.row_factory = sqlite3.Row
            for line in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA busy_timeout=60000"):
                self._db.execute(line)
            self._db.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise NodeError(
                f"the queue in {folder} cannot be opened - {error} - check that the folder may be written"
            ) from error

    def __enter__(self) -> Jobs:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the database; leases stay until they run out."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One commit, alone among all threads and processes. A disk that is full raises OutOfResources."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
            except sqlite3.OperationalError as error:
                raise OutOfResources(
                    f"the queue cannot be written - {error} - free disk space, or wait until it is unlocked"
                ) from error

    def put(
        self,
        payload: bytes | Path,
        key: str,
        kind: str,
        source: str,
        meta: Mapping[str, str] | None = None,
        sha256: str | None = None,
    ) -> Job:
        """Queues a payload; when this returns, nothing can lose it. The same `key` again returns the first job.

        `payload` is the bytes, or a complete file in `spool.partial`, which is moved away. `kind` is what a worker asks
        for ("dicom", "web"), `source` who sent it, as the audit log names it; `sha256` saves hashing a file again.
        Raises OutOfResources: disk, too many waiting, payload too large.
        """
        now = self.now()
        if self.find(key):  # its files must not be pruned meanwhile
            with self.transaction() as db:
                db.execute("UPDATE jobs SET updated = ? WHERE key = ?", (now, key))
        try:
            size = len(payload) if isinstance(payload, bytes) else payload.stat().st_size
            self._check_room(size)
            sha256 = self.spool.add(payload) if isinstance(payload, bytes) else self.spool.adopt(payload, sha256)
        finally:
            if isinstance(payload, Path):
                payload.unlink(missing_ok=True)
        identity = hashlib.sha256(key.encode()).hexdigest()[:32]
        values = (identity, key, kind, source, sha256, size, json.dumps(dict(meta or {})), State.QUEUED, now, now, now)
        with self.transaction() as db:
            columns = "id, key, kind, source, sha256, size, meta, state, due, created, updated"
            marks = ", ".join("?" * len(values))
            inserted = db.execute(f"INSERT OR IGNORE INTO jobs ({columns}) VALUES ({marks})", values).rowcount == 1
            db.execute(
                "UPDATE jobs SET pruned = 0, state = 'queued', tries = 0, interrupted = 0, due = ? "
                "WHERE id = ? AND pruned = 1",
                (now, identity),
            )
        return self._get("id = ?", (identity,), is_new=inserted)

    def _check_room(self, size: int) -> None:
        if size > self.limits.max_payload:
            raise OutOfResources(
                f"{size} bytes are more than the {self.limits.max_payload} that one object may have - "
                "send the radiograph alone, or raise queue.max_object_mb"
            )
        waiting = self._one("SELECT count(*) FROM jobs WHERE state IN ('queued', 'leased')")
        if waiting >= self.limits.max_waiting:
            raise OutOfResources(
                f"{waiting} jobs are waiting, as many as the queue holds - send again later, or raise queue.max_waiting"
            )

    def lease(self, worker: str, seconds: float, kinds: Sequence[str]) -> Job | None:
        """The job of these kinds that has waited longest, for this worker alone until `seconds` from now; or None.

        A lease that ran out counts as an interruption, and its job is handed out again.
        """
        now, marks = self.now(), ", ".join("?" * len(kinds))
        with self.transaction() as db:
            ended = f"lease_until <= ? OR (lease_until > ? AND kind IN ({marks}))"  # beyond: by another clock
            self._end_leases(db, now, ended, (now, now + max(seconds, 0) + SLACK, *kinds))
            row = db.execute(
                # A due time beyond the longest delay comes from a clock that was set back.
                f"SELECT id FROM jobs WHERE state = 'queued' AND kind IN ({marks}) AND (due <= ? OR due > ?) "
                "ORDER BY due, created LIMIT 1",
                (*kinds, now, now + self.limits.longest_delay),
            ).fetchone()
            if row is None:
                return None
            db.execute(
                "UPDATE jobs SET state = 'leased', worker = ?, lease_until = ?, updated = ? WHERE id = ?",
                (worker, now + seconds, now, row["id"]),
            )
        return self.get(row["id"])

    def release(self, worker: str) -> int:
        """Ends at once the leases of a worker that is known to be dead: call it at start. Returns how many."""
        with self.transaction() as db:
            return self._end_leases(db, self.now(), "worker = ?", (worker,))

    def _end_leases(self, db: sqlite3.Connection, now: float, where: str, values: tuple[Any, ...]) -> int:
        ended = db.execute(
            "UPDATE jobs SET state = CASE WHEN interrupted + 1 >= ? THEN 'dead' ELSE 'queued' END, "
            "code = 'interrupted', message = 'the process that worked on it ended without a word', "
            "interrupted = interrupted + 1, worker = NULL, lease_until = NULL, due = ?, updated = ? "
            f"WHERE state = 'leased' AND ({where})",
            (self.limits.max_interrupted, now, now, *values),
        )
        return ended.rowcount

    def finish(
        self,
        job: Job,
        result: Mapping[str, Any],
        files: Mapping[str, bytes] | None = None,
        destinations: Sequence[str] = (),
    ) -> bool:
        """Done: writes the result files, then result, state and one delivery of each file to each destination at once.

        False where the lease was lost meanwhile: then nothing changed, and another worker answers.
        """
        return self._settle(job, State.DONE, None, None, result, files or {}, destinations)

    def reject(
        self,
        job: Job,
        code: str,
        message: str,
        result: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes] | None = None,
        destinations: Sequence[str] = (),
    ) -> bool:
        """The input is to blame, and no retry would help: no age, but a reason, and files that state it."""
        return self._settle(job, State.REJECTED, code, message, result or {}, files or {}, destinations)

    def _settle(
        self,
        job: Job,
        state: State,
        code: str | None,
        message: str | None,
        result: Mapping[str, Any],
        files: Mapping[str, bytes],
        destinations: Sequence[str],
    ) -> bool:
        self.spool.write(job.id, files)
        now = self.now()
        with self.transaction() as db:
            changed = db.execute(
                "UPDATE jobs SET state = ?, code = ?, message = ?, result = ?, worker = NULL, lease_until = NULL, "
                "updated = ? WHERE id = ? AND state = 'leased' AND worker = ?",
                (state, code, message, json.dumps(dict(result)), now, job.id, job.worker),
            ).rowcount
            if changed:
                db.executemany(
                    "INSERT INTO deliveries (job, name, destination, state, due, created, updated) "
                    "VALUES (?, ?, ?, 'waiting', ?, ?, ?) "
                    "ON CONFLICT DO UPDATE "
                    "SET state = 'waiting', tries = 0, due = excluded.due, created = excluded.created",
                    [(job.id, name, where, now, now, now) for name in files for where in destinations],
                )
        return bool(changed)

    def fail(self, job: Job, code: str, message: str, fatal: bool = False) -> bool:
        """We are to blame: queued again after a delay, or dead after `max_tries`, or at once where `fatal`."""
        now, dead = self.now(), fatal or job.tries + 1 >= self.limits.max_tries
        with self.transaction() as db:
            changed = db.execute(
                "UPDATE jobs SET state = ?, tries = tries + 1, code = ?, message = ?, due = ?, worker = NULL, "
                "lease_until = NULL, updated = ? WHERE id = ? AND state = 'leased' AND worker = ?",
                (
                    State.DEAD if dead else State.QUEUED,
                    code,
                    message,
                    now + self.limits.delay(job.tries + 1),
                    now,
                    job.id,
                    job.worker,
                ),
            ).rowcount
        return bool(changed)

    def postpone(self, job: Job, seconds: float, code: str | None = None, message: str | None = None) -> None:
        """Gives a leased job back for so long: it waits for another one or for the disk, and no try has failed."""
        with self.transaction() as db:
            db.execute(
                "UPDATE jobs SET state = 'queued', due = ?, code = ?, message = ?, worker = NULL, lease_until = NULL "
                "WHERE id = ? AND state = 'leased' AND worker = ?",
                (self.now() + min(seconds, self.limits.longest_delay), code, message, job.id, job.worker),
            )

    def retry(self, job_id: str) -> Job:
        """Queues a settled job again from its first try: an operator's answer to a dead or rejected one."""
        now = self.now()
        with self.transaction() as db:
            db.execute(
                "UPDATE jobs SET state = 'queued', tries = 0, interrupted = 0, due = ?, updated = ? "
                "WHERE id = ? AND pruned = 0 AND state IN ('done', 'delivered', 'rejected', 'dead')",
                (now, now, job_id),
            )
        return self.get(job_id)

    def get(self, job_id: str) -> Job:
        """The job of that id. Raises KeyError."""
        return self._get("id = ?", (job_id,))

    def find(self, key: str) -> Job | None:
        """The job of that key, if there is one."""
        try:
            return self._get("key = ?", (key,))
        except KeyError:
            return None

    def starting(self, prefix: str) -> list[Job]:
        """Jobs whose key starts so, oldest first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT * FROM jobs WHERE substr(key, 1, ?2) = ?1 AND key >= ?1 AND key <= ?1 || '~' ORDER BY created",
                (prefix, len(prefix)),
            ).fetchall()
        return [self._job(row) for row in rows]

    def latest(self, state: State | None = None, limit: int = 100, kind: str | None = None) -> list[Job]:
        """Jobs by their last change, newest first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT * FROM jobs WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR kind = ?2) "
                "ORDER BY updated DESC LIMIT ?3",
                (state, kind, limit),
            ).fetchall()
        return [self._job(row) for row in rows]

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state, zeros included."""
        with self._lock:
            rows = dict(self._db.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())
        return {state: int(rows.get(state.value, 0)) for state in State}

    def _get(self, where: str, values: tuple[Any, ...], is_new: bool = False) -> Job:
        with self._lock:
            row = self._db.execute(f"SELECT * FROM jobs WHERE {where}", values).fetchone()
        if row is None:
            raise KeyError("no such job")
        return self._job(row, is_new)

    def _job(self, row: sqlite3.Row, is_new: bool = False) -> Job:
        fields = dict(row)
        fields["state"], fields["meta"] = State(fields["state"]), json.loads(fields["meta"])
        fields["result"] = None if fields["result"] is None else json.loads(fields["result"])
        return Job(**fields, payload=self.spool.incoming(fields["sha256"]), is_new=is_new)

    def _one(self, query: str, values: tuple[Any, ...] = ()) -> int:
        with self._lock:
            return int(self._db.execute(query, values).fetchone()[0])


SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, key TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, source TEXT NOT NULL,
    sha256 TEXT NOT NULL, size INTEGER NOT NULL, meta TEXT NOT NULL,
    state TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0, interrupted INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL, lease_until REAL, worker TEXT,
    code TEXT, message TEXT, result TEXT, created REAL NOT NULL, updated REAL NOT NULL,
    pruned INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, kind, due);
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY, job TEXT NOT NULL REFERENCES jobs (id), name TEXT NOT NULL, destination TEXT NOT NULL,
    state TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL, lease_until REAL,
    message TEXT, created REAL NOT NULL, updated REAL NOT NULL, UNIQUE (job, name, destination));
CREATE INDEX IF NOT EXISTS deliveries_by_state ON deliveries (state, due);
CREATE TABLE IF NOT EXISTS commitments (
    transaction_uid TEXT NOT NULL, delivery INTEGER NOT NULL REFERENCES deliveries (id), instance TEXT NOT NULL,
    PRIMARY KEY (transaction_uid, delivery));
CREATE INDEX IF NOT EXISTS commitments_by_delivery ON commitments (delivery);
"""


SLACK: Final = 60.0
"""Seconds by which the clocks of two processes on one queue may differ before one distrusts the other."""


def since_boot() -> float:
    """Seconds since the machine was started, sleep included where the system counts it (Linux)."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Clock:
    """`now()` in seconds since 1970, never backwards. Tests give a `wall` and a `steady` of their own."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = since_boot) -> None:
        self._steady = steady
        self._offset = wall() - steady()

    def now(self) -> float:
        """The wall clock's time at the start, and what has gone by since."""
        return self._offset + self._steady()
