"""Storage commitment: an archive's promise to keep a result, asked for once it has answered success.

`Committer` asks, and takes the archives' reports on whichever association they come; `Commitments` is where each result
stands in the outbox:

    stored ──ask──▶ asked ──held──▶ sent
      ▲               │ ├─ not held ────▶ waiting after a delay (sent again), dead where that would not help
      └─ no answer, ◀─┘ └─ for too long ─▶ dead
         refused: asked again after a delay

Each request has a transaction UID of its own, which is on the disk before it is sent: the archive may report on it in
another association, after a restart of ours, or when we have already asked again. Its report then still counts.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pydicom import dcmread
from pydicom.uid import generate_uid

from carpal.errors import NodeError, OutOfResources
from carpal.node import scu
from carpal.node.audit import Audit
from carpal.node.config import NodeConfig, Peer
from carpal.node.monitoring import Metrics
from carpal.queue import logs
from carpal.queue.jobs import Jobs
from carpal.queue.outbox import COLUMNS, Delivery, Outbox, as_delivery, due_rows, settle

MOST: Final = 100
"""Objects in one request."""
SUCCESS, PROCESSING_FAILURE, NO_SUCH_EVENT, RESOURCE_LIMITATION = 0x0000, 0x0110, 0x0113, 0x0213
ALL_HELD, SOME_FAILED = 1, 2
"""Event types of a report (PS3.4 J.3.3)."""


class Committer:
    """Only the sender's thread calls `step`; reports come from any thread."""

    def __init__(self, config: NodeConfig, jobs: Jobs, audit: Audit, metrics: Metrics) -> None:
        self.config, self.audit, self.metrics = config, audit, metrics
        self.commitments, self.outbox = Commitments(jobs), Outbox(jobs)
        self._asking: tuple[str, threading.Event] = ("", threading.Event())

    def step(self) -> int:
        """Asks one archive for what is due; returns how many objects that were."""
        self._note_overdue()
        due = self.commitments.ready(MOST)
        if not due:
            return 0
        peer = self.config.peer_named(due[0].destination)
        if peer is None or not peer.commitment:  # the configuration has changed since: it has said success
            for delivery in due:
                self.outbox.sent(delivery)
                self._delivered(delivery, None)
        else:
            self._ask(peer, due)
        return len(due)

    def _ask(self, peer: Peer, due: Sequence[Delivery]) -> None:
        transaction, heard = str(generate_uid(prefix=None)), threading.Event()
        read = [dcmread(delivery.path, specific_tags=["SOPClassUID", "SOPInstanceUID"]) for delivery in due]
        pairs = [(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)) for dataset in read]
        asked = [(delivery, instance) for delivery, (_, instance) in zip(due, pairs, strict=True)]
        self.commitments.ask(transaction, asked, self.config.results.commitment_seconds)
        self._asking = transaction, heard
        self.audit.write("commitment-requested", destination=peer.name, transaction=transaction, objects=len(due))
        try:
            scu.ask_commitment(self.config, peer, transaction, list(dict.fromkeys(pairs)), self.take, heard)
        except NodeError as error:
            self._note(self.commitments.unanswered(transaction, str(error)), transaction, str(error))
            self.outbox.hold(peer.name, self.commitments.jobs.limits.delay(due[0].tries + 1), "stored")

    def _note_overdue(self) -> None:
        seconds = self.config.results.commitment_seconds
        message = (
            f"no report on the commitment within {seconds:g} s - it is asked again - if the archive reports in an "
            "association of its own, its [[peer]] needs the addresses from which it comes"
        )
        self._note(self.commitments.overdue(seconds, message), None, message)

    def reported(self, event: Any) -> tuple[int, None]:
        """EVT_N_EVENT_REPORT in an association that the archive opened."""
        answer = self.take(event)
        transaction, heard = self._asking
        with contextlib.suppress(OutOfResources):  # then the association that asked waits a little longer
            if transaction and not self.commitments.open(transaction):
                heard.set()
        return answer

    def take(self, event: Any) -> tuple[int, None]:
        """EVT_N_EVENT_REPORT: status of the answer. A report that says nothing new is answered with success, too."""
        if event.event_type not in (ALL_HELD, SOME_FAILED):
            return NO_SUCH_EVENT, None
        try:
            report = event.event_information
            transaction = str(report.TransactionUID)
            held = {str(item.ReferencedSOPInstanceUID) for item in report.get("ReferencedSOPSequence", None) or []}
            failed = {
                str(item.ReferencedSOPInstanceUID): int(item.get("FailureReason", PROCESSING_FAILURE))
                for item in report.get("FailedSOPSequence", None) or []
            }
        except Exception:  # whatever pydicom meets in a data set that is none
            return PROCESSING_FAILURE, None
        try:
            self._note(self.commitments.report(transaction, held - set(failed), failed), transaction)
        except OutOfResources as error:
            logs.failure("commitment-not-noted", error)
            return RESOURCE_LIMITATION, None
        return SUCCESS, None

    def _note(self, reported: Sequence[Reported], transaction: str | None, message: str = "") -> None:
        for each in reported:
            delivery = each.delivery
            self.metrics.count("carpal_commitments_total", destination=delivery.destination, outcome=each.outcome)
            if each.outcome == "held":
                self._delivered(delivery, transaction)
                continue
            self.audit.write(
                "commitment-failed",
                job=delivery.job,
                object=delivery.name,
                destination=delivery.destination,
                transaction=transaction,
                reason=f"0x{each.reason:04X}" if each.reason else None,
                dead=each.outcome == "dead",
            )
            logs.event(
                "delivery-dead" if each.outcome == "dead" else "commitment-failed",
                "error" if each.outcome == "dead" else "warning",
                job=delivery.job,
                object=delivery.name,
                destination=delivery.destination,
                message=message or each.message,
            )

    def _delivered(self, delivery: Delivery, transaction: str | None) -> None:
        self.audit.write(
            "delivered",
            job=delivery.job,
            object=delivery.name,
            destination=delivery.destination,
            commitment=transaction,
        )
        self.metrics.count("carpal_delivered_total", destination=delivery.destination)


DUPLICATE_TRANSACTION: Final = 0x0131
REASONS: Final = {
    0x0110: "processing failure",
    0x0112: "no such object there",
    0x0119: "another class there",
    0x0122: "class not supported",
    DUPLICATE_TRANSACTION: "transaction UID used before",
    0x0213: "no room",
}
"""Failure Reason (PS3.3 C.14.1.1)."""
HOPELESS: Final = (0x0119, 0x0122)
"""Reasons that sending the same object again does not change."""


class Reported(NamedTuple):
    """What a report meant for one delivery: its outcome is held, again (it will be sent again) or dead."""

    delivery: Delivery
    outcome: str
    reason: int = 0

    @property
    def message(self) -> str:
        """The archive's reason in words."""
        place, why = self.delivery.destination, REASONS.get(self.reason, "unknown reason")
        return f"{place} does not commit to the object: {why} (0x{self.reason:04X}) - see its log"


class Commitments:
    """The deliveries of a queue that an archive has stored, until it has committed to them."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs

    def ready(self, limit: int = 20) -> list[Delivery]:
        """What one archive is to be asked for now, the oldest first, at most `limit`."""
        with self.jobs.transaction() as db:
            return [as_delivery(row, self.jobs) for row in due_rows(db, self.jobs, "stored", limit)]

    def ask(self, transaction: str, instances: Sequence[tuple[Delivery, str]], seconds: float) -> None:
        """Notes that these, with their SOP instance UIDs, are asked for under this UID: before the request goes out."""
        now = self.jobs.now()
        with self.jobs.transaction() as db:
            db.executemany(
                "UPDATE deliveries SET state = 'asked', lease_until = ?, updated = ? WHERE id = ? AND state = 'stored'",
                [(now + seconds, now, delivery.id) for delivery, _ in instances],
            )
            db.executemany(
                "INSERT INTO commitments (transaction_uid, delivery, instance) VALUES (?, ?, ?)",
                [(transaction, delivery.id, instance) for delivery, instance in instances],
            )

    def open(self, transaction: str) -> bool:
        """Whether anything of this transaction still waits for the archive's report."""
        with self.jobs.transaction() as db:
            return bool(self._of(db, transaction))

    def report(self, transaction: str, held: Collection[str], failed: Mapping[str, int]) -> list[Reported]:
        """The archive's report, by SOP instance UID; nothing where it says nothing new. One commit."""
        reported, now, limits = [], self.jobs.now(), self.jobs.limits
        with self.jobs.transaction() as db:
            for row in self._of(db, transaction):
                delivery, instance = as_delivery(row, self.jobs), row["instance"]
                if instance in held:
                    settle(db, delivery, now)
                    reported.append(Reported(delivery, "held"))
                elif instance in failed:
                    reason = failed[instance]
                    dead = reason in HOPELESS or now - delivery.created > limits.give_up_after
                    state = "stored" if reason == DUPLICATE_TRANSACTION else "waiting"
                    outcome = Reported(delivery, "dead" if dead else "again", reason)
                    self._put_off(db, delivery, "dead" if dead else state, outcome.message)
                    reported.append(outcome)
        return reported

    def unanswered(self, transaction: str, message: str) -> list[Reported]:
        """The archive did not take the request, or nobody knows whether it did: asked again later."""
        with self.jobs.transaction() as db:
            return [
                self._ask_again(db, as_delivery(row, self.jobs), message)
                for row in self._of(db, transaction)
                if row["state"] == "asked"
            ]

    def overdue(self, seconds: float, message: str) -> list[Reported]:
        """Those whose report has not come in time: asked again later. `seconds` is what `ask` was given."""
        now = self.jobs.now()
        with self.jobs.transaction() as db:
            rows = db.execute(
                f"SELECT {COLUMNS} FROM deliveries WHERE state = 'asked' AND (lease_until <= ? OR lease_until > ?)",
                (now, now + seconds + 1),  # beyond: from another clock
            ).fetchall()
            return [self._ask_again(db, as_delivery(row, self.jobs), message) for row in rows]

    def _ask_again(self, db: sqlite3.Connection, delivery: Delivery, message: str) -> Reported:
        dead = self.jobs.now() - delivery.created > self.jobs.limits.give_up_after
        self._put_off(db, delivery, "dead" if dead else "stored", message)
        return Reported(delivery, "dead" if dead else "again")

    def _put_off(self, db: sqlite3.Connection, delivery: Delivery, state: str, message: str) -> None:
        now = self.jobs.now()
        due = now + self.jobs.limits.delay(delivery.tries + 1)
        db.execute(
            "UPDATE deliveries SET state = ?, tries = tries + 1, due = ?, lease_until = NULL, message = ?, updated = ? "
            "WHERE id = ?",
            (state, due, message, now, delivery.id),
        )

    @staticmethod
    def _of(db: sqlite3.Connection, transaction: str) -> list[sqlite3.Row]:
        return db.execute(
            f"SELECT {COLUMNS}, state, instance FROM deliveries JOIN commitments ON delivery = deliveries.id "
            "WHERE transaction_uid = ? AND state IN ('stored', 'asked')",
            (transaction,),
        ).fetchall()
