"""Brings results to their destinations, has archives commit to them, and answers those who ask us to commit."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

from carpal.errors import CarpalError, NodeError
from carpal.node import dicomweb, scu
from carpal.node.audit import Audit
from carpal.node.committer import Committer
from carpal.node.config import NodeConfig
from carpal.node.monitoring import Metrics
from carpal.node.scp import split_committed
from carpal.queue import logs
from carpal.queue.jobs import Jobs
from carpal.queue.outbox import Delivery, Outbox

IDLE_SECONDS = 0.5
LEASE_SECONDS = 600
COMMITMENT = "commitment"
"""The name under which commitments are leased."""


class Sender:
    """One thread that delivers; there is no second one in a node."""

    def __init__(
        self, config: NodeConfig, jobs: Jobs, audit: Audit, metrics: Metrics, committer: Committer | None = None
    ) -> None:
        self.config, self.jobs, self.audit, self.metrics = config, jobs, audit, metrics
        self.committer = committer or Committer(config, jobs, audit, metrics)
        self.outbox = Outbox(jobs)

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. No error ends it."""
        failed = False
        while not stop.is_set():
            try:
                if failed:  # its leases may still stand: the disk was full, and what was sent could not be noted
                    self.outbox.release()
                    self.jobs.release(COMMITMENT)
                failed = False
                busy = self.deliver() + self.committer.step() + self.answer()
            except Exception as error:  # whatever it is, other results wait
                logs.failure("sender-failed", error)
                busy, failed = 0, True
            if not busy:
                stop.wait(IDLE_SECONDS)

    def deliver(self) -> int:
        """Sends what is due for one destination; returns how many were tried."""
        due = self.outbox.lease(LEASE_SECONDS)
        if not due:
            return 0
        place = due[0].destination
        left, away = list(due), False
        failure: CarpalError = NodeError(f"{place} ended the association - it is sent again")
        try:
            for error in self._send(place, due):
                self._note(left.pop(0), error)
        except CarpalError as error:
            failure, away = error, True
        for delivery in left:
            self._note(delivery, failure)
        if away:
            self.outbox.hold(place, self.jobs.limits.delay(due[0].tries + 1))
        return len(due)

    def _send(self, place: str, due: list[Delivery]) -> Iterator[CarpalError | None]:
        """An answer for each. Whatever else goes wrong is this destination's failure: others must not wait for it."""
        try:
            yield from self._store(place, due)
        except CarpalError:
            raise
        except Exception as error:
            raise NodeError(f"{place} could not be sent to ({type(error).__name__}) - see its settings") from error

    def _store(self, place: str, due: list[Delivery]) -> Iterator[CarpalError | None]:
        files = [delivery.path for delivery in due]
        if peer := self.config.peer_named(place):
            return scu.store(self.config, peer, files)
        if web := self.config.web_named(place):
            return dicomweb.store(web, files)
        return iter([NodeError(f"{place} is no [[peer]] and no [[dicomweb]] any more - add it again")] * len(due))

    def _note(self, delivery: Delivery, error: CarpalError | None) -> None:
        place = delivery.destination
        peer = self.config.peer_named(place)
        if error is None and peer and peer.commitment:
            self.outbox.stored(delivery)
            self.audit.write("stored", job=delivery.job, object=delivery.name, destination=place)
            return
        if error is None:
            self.outbox.sent(delivery)
            self.audit.write("delivered", job=delivery.job, object=delivery.name, destination=place)
            self.metrics.count("carpal_delivered_total", destination=place)
            return
        dead = self.outbox.failed(delivery, str(error))
        self.metrics.count("carpal_delivery_failures_total", destination=place)
        logs.event(
            "delivery-dead" if dead else "delivery-failed",
            "error" if dead else "warning",
            job=delivery.job,
            object=delivery.name,
            destination=place,
            message=str(error),
        )

    def answer(self) -> int:
        """Answers one storage commitment; returns 1, or 0 where nobody asked."""
        job = self.jobs.lease(COMMITMENT, LEASE_SECONDS, ("commit",))
        if job is None:
            return 0
        asked = json.loads(job.payload.read_bytes())
        peer = self.config.peer_named(asked["peer"])
        held, missing = split_committed(self.jobs, asked["pairs"])
        try:
            if peer is None or not peer.host:
                raise NodeError(f"the peer {asked['peer']!r} has no host and port to report to - add them")
            scu.report_commitment(self.config, peer, asked["transaction"], held, missing)
        except NodeError as error:
            self.jobs.fail(job, error.code, str(error))
            return 1
        self.jobs.finish(job, {"held": len(held), "missing": len(missing)})
        self.audit.write("commitment-answered", job=job.id, held=len(held), missing=len(missing))
        return 1
