"""The node: receiver, workers, sender, folders and pulls around one queue, from start to stop.

One folder holds everything: queue.sqlite, incoming/, results/, partial/, audit.jsonl and node.lock, which keeps a
second node out. Starting is recovering: leases of the node that died end, half written files go, the queue goes on.
"""

from __future__ import annotations

import fcntl
import hashlib
import signal
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from carpal import __version__
from carpal.errors import NodeError
from carpal.growth.reference import DEFAULT, find_reference
from carpal.inference.weights import read_info
from carpal.node.audit import Audit, verify
from carpal.node.committer import Committer
from carpal.node.config import NodeConfig
from carpal.node.delivery import COMMITMENT, Sender
from carpal.node.dicomweb import Puller
from carpal.node.folder import Watcher
from carpal.node.monitoring import HealthServer, Metrics, resident
from carpal.node.reader import Reader, Reads
from carpal.node.scp import Receiver
from carpal.node.worker import Worker
from carpal.quality.site import Site, read_site
from carpal.queue import logs
from carpal.queue.jobs import Jobs, State
from carpal.queue.outbox import Outbox, prune, sweep
from carpal.types import ModelId

SWEEP_SECONDS = 3600
LOCK, AUDIT = "node.lock", "audit.jsonl"


class Node:
    """`make_reader` builds what reads; tests give their own, the command leaves it. `model` names the weights.

    Raises NodeError (another node works in the folder), WeightsError, ConfigError (the calibration is not of them).
    """

    def __init__(
        self, config: NodeConfig, make_reader: Callable[[NodeConfig], Reads] = Reader, model: str | None = None
    ) -> None:
        self.config = config
        self.model = model or read_info(config.reading.weights).sha256
        self.site = open_site(config, self.model)
        self._lock_file = _only_one(config)
        self.jobs = Jobs(config.node.folder, config.queue_limits())
        self.audit, self.metrics = Audit(config.node.folder / AUDIT), Metrics()
        everyone = config, self.jobs, self.audit, self.metrics
        self.committer = Committer(*everyone)
        self.receiver = Receiver(*everyone, reading_id(config, self.model), self.committer)
        self.readers = [make_reader(config) for _ in range(config.reading.workers)]
        self.workers = [
            Worker(f"node-{n}", config, self.jobs, reader, self.audit, self.metrics, self.model, self.calibration)
            for n, reader in enumerate(self.readers)
        ]
        self.sender = Sender(*everyone, self.committer)
        self.health: HealthServer | None = None
        self.port = 0
        self._stop, self._threads = threading.Event(), [threading.Thread()][:0]

    def start(self) -> None:
        """Recovers, then opens the doors. Raises NodeError, WeightsError, BackendError, DataError (a broken log)."""
        tempfile.tempdir = str(self.jobs.spool.partial)  # pynetdicom writes there what it receives
        verify(self.audit.path)
        self._recover()
        for reader in self.readers:
            if isinstance(reader, Reader):
                reader.start()
        self.audit.write("start", version=__version__, weights=self.model, calibration=self.calibration)
        runs: dict[str, Callable[[threading.Event], None]] = {w.name: w.run for w in self.workers}
        runs |= {"sender": self.sender.run, "sweep": self._sweep}
        runs |= {f"folder-{n}": Watcher(self.config, f, self.receiver).run for n, f in enumerate(self.config.folder)}
        runs |= {w.name: Puller(self.config, w, self.receiver).run for w in self.config.dicomweb if w.pull_seconds}
        if self.config.health.port:
            self.health = HealthServer(
                self.config.health.host, self.config.health.port, self.state, lambda: self.metrics.render(self.gauges())
            )
        self.port = self.receiver.start()
        for name, run in runs.items():
            thread = threading.Thread(target=run, args=(self._stop,), name=f"carpal-{name}", daemon=True)
            thread.start()
            self._threads.append(thread)
        weights, calibrated = self.model[:16], self.site is not None
        logs.event(
            "started", port=self.port, ae_title=self.config.node.ae_title, weights=weights, calibrated=calibrated
        )

    def stop(self) -> None:
        """Takes nothing more, lets what is being read and sent finish, and closes the queue."""
        self.receiver.stop()
        self._stop.set()
        for thread in self._threads:
            thread.join(self.config.reading.seconds + 10)
        for reader in self.readers:
            reader.close()
        if self.health:
            self.health.stop()
        self.audit.write("stop")
        logs.event("stopped")
        self.jobs.close()
        self._lock_file.close()
        tempfile.tempdir = None

    def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        asked = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: asked.set())
        self.start()
        asked.wait()
        self.stop()

    @property
    def calibration(self) -> str | None:
        """What reports and the audit log call the hospital's calibration; None without one."""
        return None if self.site is None else self.site.label

    def _recover(self) -> None:
        ended = sum(self.jobs.release(worker.name) for worker in self.workers) + self.jobs.release(COMMITMENT)
        ended += Outbox(self.jobs).release()
        removed = sweep(self.jobs, 0)
        if ended or removed:
            logs.event("recovered", leases=ended, files=removed)

    def _sweep(self, stop: threading.Event) -> None:
        while not stop.wait(SWEEP_SECONDS):
            sweep(self.jobs, SWEEP_SECONDS)
            prune(self.jobs, self.config.limits.keep_days * 86_400)

    def state(self) -> dict[str, Any]:
        """What /health says: ok while the doors are open, the workers live and objects fit on the disk."""
        try:
            counts, deliveries = self.jobs.counts(), Outbox(self.jobs).counts()
        except (sqlite3.Error, NodeError):
            return {"ok": False, "problems": ["the queue cannot be read"]}
        alive = self.receiver.alive() and all(thread.is_alive() for thread in self._threads)
        problems = [] if self.jobs.spool.free() > 0 else ["the disk is full: objects are refused with 0xA700"]
        problems += [] if alive else ["a thread of the node has ended: restart it"]
        waiting = counts[State.QUEUED] + counts[State.LEASED]
        problems += [] if waiting < self.config.limits.max_waiting else ["the queue is full"]
        return {"ok": not problems, "problems": problems, "jobs": dict(counts), "deliveries": deliveries}

    def gauges(self) -> dict[str, dict[str, float]]:
        """What /metrics measures at this moment."""
        outbox = Outbox(self.jobs).counts()
        memory: dict[str, float] = {"node": resident()}
        memory |= {
            f"reader-{n}": resident(r.pid) for n, r in enumerate(self.readers) if isinstance(r, Reader) and r.pid
        }
        return {
            "carpal_jobs": {str(state): n for state, n in self.jobs.counts().items()},
            "carpal_deliveries": dict(outbox),
            "carpal_disk_free_bytes": {"": self.jobs.spool.free()},
            "carpal_memory_bytes": memory,
            "carpal_associations": {"": self.receiver.open_associations()},
        }


def open_site(config: NodeConfig, sha256: str) -> Site | None:
    """The hospital's calibration of these weights, if the configuration names one. Raises ConfigError."""
    path = config.reading.calibration
    return read_site(Path(path)).for_model(ModelId(config.reading.weights, "", sha256)) if path else None


def reading_id(config: NodeConfig, sha256: str) -> str:
    """What an object is read with, as part of its job's key: with another, the object is read anew."""
    site, table = open_site(config, sha256), find_reference(config.reading.reference)
    usual = table.name == DEFAULT
    if site is None and config.reading.unknown_sex == "both" and usual:
        return sha256
    other = [] if usual else [f"{table.name} {table.citation} {dict(table.rows)}"]
    more = (sha256, config.reading.unknown_sex, "" if site is None else site.as_text(), *other)
    return hashlib.sha256("\n".join(more).encode()).hexdigest()


def _only_one(config: NodeConfig) -> Any:
    """Locks the folder for the life of the process. Raises NodeError where another node has it."""
    folder = config.node.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("w")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise NodeError(f"another node works in {folder} - stop it, or give this one its own [node] folder") from error
    except OSError as error:
        raise NodeError(f"{folder} cannot be written - {error.strerror} - check its owner and mode") from error
    return file
