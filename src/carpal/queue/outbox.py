"""Results on their way out: one row for each file and destination, written in the same commit as the job's result.

    waiting ──lease──▶ leased ──sent──▶ sent          (a job whose deliveries are all sent is `delivered`)
       ▲                 │ └─stored─▶ stored          (the archive has it, still to commit to it: node/committer.py)
       │                 └─failed─▶ waiting again after a delay, or dead after `give_up_after` seconds
       └── not committed to ─┘

A file is sent again until its peer has said that it has it, so a crash between the peer's answer and our commit sends
it twice: the same object with the same UIDs, which an archive keeps once.

Upkeep, now and then: `sweep` removes orphan files, `prune` those of jobs that were settled long ago.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from carpal.queue.jobs import SLACK, Job, Jobs

COLUMNS: Final = "deliveries.id, job, name, destination, tries, created"
"""What `as_delivery` needs of a row."""


@dataclass(frozen=True)
class Delivery:
    """One file for one destination; `tries` failed so far, `created` is when its job was settled."""

    id: int
    job: str
    name: str
    destination: str
    path: Path
    tries: int
    created: float


class Outbox:
    """The deliveries of a queue."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs

    def lease(self, seconds: float, limit: int = 20) -> list[Delivery]:
        """What is due for one destination, the oldest results first, at most `limit`, or none. Lost leases return."""
        now = self.jobs.now()
        with self.jobs.transaction() as db:
            db.execute(
                "UPDATE deliveries SET state = 'waiting', lease_until = NULL "
                "WHERE state = 'leased' AND (lease_until <= ? OR lease_until > ?)",
                (now, now + max(seconds, 0) + SLACK),
            )
            rows = due_rows(db, self.jobs, "waiting", limit)
            db.executemany(
                "UPDATE deliveries SET state = 'leased', lease_until = ?, updated = ? WHERE id = ?",
                [(now + seconds, now, row["id"]) for row in rows],
            )
        return [as_delivery(row, self.jobs) for row in rows]

    def release(self) -> int:
        """Ends every lease at once: for the one process that delivers, at its start. Returns how many."""
        with self.jobs.transaction() as db:
            return db.execute(
                "UPDATE deliveries SET state = 'waiting', lease_until = NULL WHERE state = 'leased'"
            ).rowcount

    def sent(self, delivery: Delivery) -> None:
        """The peer has it. The job is `delivered` once nothing of it is left."""
        with self.jobs.transaction() as db:
            settle(db, delivery, self.jobs.now())

    def stored(self, delivery: Delivery) -> None:
        """The archive has it, and is to commit to it. Its time and tries begin anew, unless it was here before."""
        now, values = self.jobs.now(), {"id": delivery.id}
        with self.jobs.transaction() as db:
            first = not db.execute("SELECT 1 FROM commitments WHERE delivery = :id", values).fetchone()
            db.execute(
                "UPDATE deliveries SET state = 'stored', message = NULL, lease_until = NULL, due = :now, "
                "updated = :now, created = iif(:first, :now, created), tries = iif(:first, 0, tries) WHERE id = :id",
                {**values, "now": now, "first": first},
            )
            db.execute("DELETE FROM commitments WHERE delivery = :id", values)  # they were of the one sent before

    def failed(self, delivery: Delivery, message: str, fatal: bool = False) -> bool:
        """Tried in vain: again later, or never (dead) where `fatal` or too old. True where it is dead now."""
        now, limits = self.jobs.now(), self.jobs.limits
        dead = fatal or now - delivery.created > limits.give_up_after
        with self.jobs.transaction() as db:
            db.execute(
                "UPDATE deliveries SET state = ?, tries = tries + 1, due = ?, lease_until = NULL, message = ?, "
                "updated = ? WHERE id = ?",
                (
                    "dead" if dead else "waiting",
                    now + limits.delay(delivery.tries + 1),
                    message,
                    now,
                    delivery.id,
                ),
            )
        return dead

    def hold(self, destination: str, seconds: float, state: str = "waiting") -> None:
        """Nobody answers there: what waits for it waits at least so long, and others' results go first.

        Call it after `failed`: then all have the same time again, and the oldest goes first.
        """
        with self.jobs.transaction() as db:
            db.execute(
                "UPDATE deliveries SET due = max(due, ?) WHERE state = ? AND destination = ?",
                (self.jobs.now() + seconds, state, destination),
            )

    def again(self, job: Job, states: Sequence[str] = ("sent", "dead")) -> int:
        """Sends the results of a job once more: its study came again, or an operator asked. Returns how many."""
        now, marks = self.jobs.now(), ", ".join("?" * len(states))
        with self.jobs.transaction() as db:
            return db.execute(
                f"UPDATE deliveries SET state = 'waiting', tries = 0, due = ?, created = ?, updated = ? "
                f"WHERE job = ? AND state IN ({marks})",
                (now, now, now, job.id, *states),
            ).rowcount

    def counts(self) -> dict[str, int]:
        """How many deliveries wait (leased ones included), are stored but not committed to, are sent, and are dead."""
        with self.jobs.transaction() as db:
            rows = dict(db.execute("SELECT state, count(*) FROM deliveries GROUP BY state").fetchall())
        together = {"waiting": ("waiting", "leased"), "uncommitted": ("stored", "asked")}
        return {
            name: sum(int(rows.get(state, 0)) for state in together.get(name, (name,)))
            for name in ("waiting", "uncommitted", "sent", "dead")
        }


def due_rows(db: sqlite3.Connection, jobs: Jobs, state: str, limit: int) -> list[sqlite3.Row]:
    """Within a transaction: what is due in this state for one destination, the one that has waited longest.

    A due time beyond the longest delay comes from a clock that was set back over a restart.
    """
    ready, now = "state = :state AND (due <= :now OR due > :beyond)", jobs.now()
    return db.execute(
        f"SELECT {COLUMNS} FROM deliveries WHERE {ready} AND destination = "
        f"(SELECT destination FROM deliveries WHERE {ready} ORDER BY due, id LIMIT 1) "
        "ORDER BY created, id LIMIT :limit",
        {"state": state, "now": now, "beyond": now + jobs.limits.longest_delay, "limit": limit},
    ).fetchall()


def as_delivery(row: sqlite3.Row, jobs: Jobs) -> Delivery:
    """A row with the columns of a delivery, and perhaps others."""
    values = {field.name: row[field.name] for field in fields(Delivery) if field.name != "path"}
    return Delivery(**values, path=jobs.spool.result(row["job"], row["name"]))


def settle(db: sqlite3.Connection, delivery: Delivery, now: float) -> None:
    """Within a transaction: this one is where it should be, and its job is `delivered` if it was the last."""
    db.execute(
        "UPDATE deliveries SET state = 'sent', message = NULL, lease_until = NULL, updated = ? WHERE id = ?",
        (now, delivery.id),
    )
    db.execute("DELETE FROM commitments WHERE delivery = ?", (delivery.id,))
    db.execute(
        "UPDATE jobs SET state = 'delivered', updated = ? WHERE id = ? AND state = 'done' "
        "AND NOT EXISTS (SELECT 1 FROM deliveries WHERE job = jobs.id AND state != 'sent')",
        (now, delivery.job),
    )


def sweep(jobs: Jobs, older_than: float) -> int:
    """Removes files that no job names and that are older than so many seconds; returns how many."""
    with jobs.transaction() as db:
        known = {row[0] for row in db.execute("SELECT sha256 FROM jobs")}
    return jobs.spool.sweep(known, older_than)


def prune(jobs: Jobs, older_than: float) -> int:
    """Removes the files, not the rows, of jobs that were settled so many seconds ago and have nothing to deliver.

    The row stays, so that its key is known for ever; put again, such a job is queued again. Returns how many were
    cleared. All is done in one transaction, so that a `put` of the same key comes before or after it.
    """
    with jobs.transaction() as db:
        rows = db.execute(
            "UPDATE jobs SET pruned = 1 WHERE pruned = 0 AND updated < ? "
            "AND state IN ('done', 'delivered', 'rejected', 'dead') "
            "AND NOT EXISTS (SELECT 1 FROM deliveries WHERE job = jobs.id AND state NOT IN ('sent', 'dead')) "
            "RETURNING id, sha256",
            (jobs.now() - older_than,),
        ).fetchall()
        needed = {row[0] for row in db.execute("SELECT sha256 FROM jobs WHERE pruned = 0")}
        for row in rows:
            jobs.spool.forget(row["id"], None if row["sha256"] in needed else row["sha256"])
    return len(rows)
