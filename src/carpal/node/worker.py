"""Takes queued objects one by one, has them read, and settles them: result and deliveries in one commit."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

from carpal.errors import CarpalError, OutOfResources, ReaderDied
from carpal.node.audit import Audit
from carpal.node.config import NodeConfig
from carpal.node.monitoring import Metrics
from carpal.node.reader import Answer, Outcome, Reads
from carpal.queue import logs
from carpal.queue.jobs import Job, Jobs

IDLE_SECONDS = 0.5
NOT_ITS_PICTURE: Final = ("duplicate-uid", "other-uid")
"""Codes of objects whose pixels do not belong to the instance that they came under."""


class Worker:
    """One reader and the jobs it is given. `name` must be the same after a restart, and no other worker's."""

    def __init__(
        self,
        name: str,
        config: NodeConfig,
        jobs: Jobs,
        reader: Reads,
        audit: Audit,
        metrics: Metrics,
        model: str,
        calibration: str | None = None,
    ) -> None:
        self.name, self.config, self.jobs, self.reader = name, config, jobs, reader
        self.audit, self.metrics, self.model, self.calibration = audit, metrics, model, calibration
        self._held: tuple[Job, OutOfResources] | None = None

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. No error ends it: what cannot be written now is tried again."""
        while not stop.is_set():
            try:
                busy = self.step()
            except Exception as error:  # whatever it is, the next job waits
                logs.failure("worker-failed", error)
                busy = False
            if not busy:
                stop.wait(IDLE_SECONDS)
        self.reader.close()

    def step(self) -> bool:
        """Settles one job, or returns False where none waits. Raises OutOfResources while the disk is full."""
        self._give_back()
        job = self.jobs.lease(self.name, 2 * self.config.reading.seconds + 180, ("dicom",))
        if job is None:
            return False
        started, same = time.monotonic(), self._same_instance(job)
        if waits := [other for other in same if not other.settled and other.created < job.created]:
            self.jobs.postpone(job, max(waits[0].due - self.jobs.now(), 0) + IDLE_SECONDS)
            return True
        try:
            answer = self.reader.read(job.payload, job.meta["instance"], _known_pixels(same))
            self._settle(job, answer)
        except OutOfResources as error:  # the disk: the study is safe and waits, however long it takes
            self._held = job, error
            self._give_back()
            raise
        except ReaderDied as error:
            self._note(job, "dead", error.code)
            self.jobs.fail(job, error.code, str(error), fatal=True)
        except CarpalError as error:
            self._note(job, "failed", error.code)
            self.jobs.fail(job, error.code, str(error))
        self.metrics.took(time.monotonic() - started)
        return True

    def _give_back(self) -> None:
        """Ends the lease of a job for whose result there was no room. Where the row cannot be written: next time."""
        if self._held is not None:
            job, error = self._held
            self.jobs.postpone(job, self.jobs.limits.first_delay, error.code, str(error))
            self._held = None

    def _settle(self, job: Job, answer: Answer) -> None:
        destinations = self.config.destinations()
        code, message = answer.code or "", answer.message or ""
        if answer.outcome is Outcome.FAILED:
            kept = self.jobs.fail(job, code, message)
        elif answer.outcome is Outcome.READ:
            kept = self.jobs.finish(job, answer.result, answer.files, destinations)
        else:
            kept = self.jobs.reject(job, code, message, answer.result, answer.files, destinations)
        if kept:
            self._note(job, str(answer.outcome), answer.code)

    def _note(self, job: Job, outcome: str, code: str | None) -> None:
        self.audit.write(
            "settled",
            job=job.id,
            instance=job.meta["instance"],
            sender=job.source,
            outcome=outcome,
            code=code,
            weights=self.model,
            calibration=self.calibration,
        )
        self.metrics.count("carpal_read_total", outcome=outcome, code=code or "")
        logs.event(
            "settled", "info" if outcome in ("read", "ignored") else "warning", job=job.id, outcome=outcome, code=code
        )

    def _same_instance(self, job: Job) -> list[Job]:
        """Other objects that came under the same instance UID, oldest first."""
        return [other for other in self.jobs.starting(f"{job.meta['instance']}:") if other.id != job.id]


def _known_pixels(same: Sequence[Job]) -> list[str]:
    """Hashes of what was read under an instance UID: of the pixels as they came, and of the picture in them."""
    read = [job.result for job in same if job.result and job.code not in NOT_ITS_PICTURE]
    return [result[name] for result in read for name in ("pixels", "picture") if name in result]
