"""Results on their way out: one row for each file and destination, written in the same commit as the job's result.

    waiting ──lease──▶ leased ──sent──▶ sent          (a job whose deliveries are all sent is `delivered`)
       ▲                 └─failed─▶ waiting again after a delay, or dead after `give_up_after` seconds

A file is sent again until its peer has said that it has it, so a crash between the peer's answer and our commit sends
it twice: the same object with the same UIDs, which an archive keeps once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from carpal.service.jobs import Job, Jobs


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
        """The deliveries of one destination that have waited longest, at most `limit`, or none. Lost leases return."""
        now = time.time()
        with self.jobs.transaction() as db:
            db.execute(
                "UPDATE deliveries SET state = 'waiting', lease_until = NULL "
                "WHERE state = 'leased' AND (lease_until <= ? OR lease_until > ?)",
                (now, now + 24 * 3600),
            )
            ready = "state = 'waiting' AND (due <= ? OR due > ?)"
            limits = (now, now + self.jobs.limits.longest_delay)
            rows = db.execute(
                f"SELECT id, job, name, destination, tries, created FROM deliveries WHERE {ready} AND destination = "
                f"(SELECT destination FROM deliveries WHERE {ready} ORDER BY due, id LIMIT 1) ORDER BY due, id LIMIT ?",
                (*limits, *limits, limit),
            ).fetchall()
            db.executemany(
                "UPDATE deliveries SET state = 'leased', lease_until = ?, updated = ? WHERE id = ?",
                [(now + seconds, now, row["id"]) for row in rows],
            )
        return [Delivery(**dict(row), path=self.jobs.spool.result(row["job"], row["name"])) for row in rows]

    def release(self) -> int:
        """Ends every lease at once: for the one process that delivers, at its start. Returns how many."""
        with self.jobs.transaction() as db:
            return db.execute(
                "UPDATE deliveries SET state = 'waiting', lease_until = NULL WHERE state = 'leased'"
            ).rowcount

    def sent(self, delivery: Delivery) -> None:
        """The peer has it. The job is `delivered` once nothing of it is left."""
        now = time.time()
        with self.jobs.transaction() as db:
            db.execute(
                "UPDATE deliveries SET state = 'sent', message = NULL, lease_until = NULL, updated = ? WHERE id = ?",
                (now, delivery.id),
            )
            db.execute(
                "UPDATE jobs SET state = 'delivered', updated = ? WHERE id = ? AND state = 'done' "
                "AND NOT EXISTS (SELECT 1 FROM deliveries WHERE job = jobs.id AND state != 'sent')",
                (now, delivery.job),
            )

    def failed(self, delivery: Delivery, message: str, fatal: bool = False) -> bool:
        """Tried in vain: again later, or never (dead) where `fatal` or too old. True where it is dead now."""
        now, limits = time.time(), self.jobs.limits
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

    def hold(self, destination: str, seconds: float) -> None:
        """Nobody answers there: what waits for it waits at least so long, and others' results go first."""
        with self.jobs.transaction() as db:
            db.execute(
                "UPDATE deliveries SET due = max(due, ?) WHERE state = 'waiting' AND destination = ?",
                (time.time() + seconds, destination),
            )

    def again(self, job: Job, states: Sequence[str] = ("sent", "dead")) -> int:
        """Sends the results of a job once more: its study came again, or an operator asked. Returns how many."""
        now, marks = time.time(), ", ".join("?" * len(states))
        with self.jobs.transaction() as db:
            return db.execute(
                f"UPDATE deliveries SET state = 'waiting', tries = 0, due = ?, created = ?, updated = ? "
                f"WHERE job = ? AND state IN ({marks})",
                (now, now, now, job.id, *states),
            ).rowcount

    def counts(self) -> dict[str, int]:
        """How many deliveries are waiting (leased ones included), sent and dead."""
        with self.jobs.transaction() as db:
            rows = dict(db.execute("SELECT state, count(*) FROM deliveries GROUP BY state").fetchall())
        waiting = int(rows.get("waiting", 0)) + int(rows.get("leased", 0))
        return {"waiting": waiting, "sent": int(rows.get("sent", 0)), "dead": int(rows.get("dead", 0))}
