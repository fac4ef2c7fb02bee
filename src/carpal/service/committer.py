"""Asks archives to commit to what they have stored, and takes their reports, on whichever association they come."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import Any, Final

from pydicom import dcmread
from pydicom.uid import generate_uid

from carpal.errors import NodeError, OutOfResources
from carpal.service import logs, scu
from carpal.service.audit import Audit
from carpal.service.commitments import Commitments, Reported
from carpal.service.config import NodeConfig, Peer
from carpal.service.jobs import Jobs
from carpal.service.monitoring import Metrics
from carpal.service.outbox import Delivery, Outbox

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
