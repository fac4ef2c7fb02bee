"""What a queue needs now and then: orphan files go, and so do the files of jobs that were settled long ago."""

from __future__ import annotations

from carpal.service.jobs import Jobs


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
