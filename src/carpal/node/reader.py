"""The process that decodes and reads what others sent, and its handle in the node.

Decoders meet bytes that someone may have made to break them. So they run in a child with a limit on its memory, which
is stopped when it takes too long and replaced when it dies; the node itself never parses a radiograph. The two talk in
lines of JSON, results in base64, never in pickles. Start the child by `Reader`, not by hand.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

from carpal.errors import BackendError, CarpalError, ConfigError, ReaderDied, WeightsError
from carpal.node.config import NodeConfig

MAX_ANSWER: Final = 256 * 2**20
START_SECONDS: Final = 120


class Outcome(StrEnum):
    """What became of one object."""

    READ = "read"
    """It has an age, and results."""
    REFUSED = "refused"
    """It has a reason instead of an age, and results that state it."""
    IGNORED = "ignored"
    """No route wants it, or its UID belongs to another picture: a reason, and nothing goes back."""
    FAILED = "failed"
    """Our fault or the installation's: worth another try."""


@dataclass(frozen=True)
class Answer:
    """The outcome of one object; `files` are the results by name, `result` what the queue keeps of it."""

    outcome: Outcome
    code: str | None = None
    message: str | None = None
    result: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


class Reads(Protocol):
    """What a worker needs of a reader; tests bring their own."""

    def read(self, payload: Path, instance: str, known_pixels: list[str]) -> Answer:
        """Reads one object. Raises ReaderDied."""

    def close(self) -> None:
        """Ends it."""


class Reader:
    """A child process, started on the first use and again after it died."""

    command: ClassVar[Sequence[str]] = ("-m", "carpal.node.reading")
    """What Python runs as the child; the settings come behind it."""

    def __init__(self, config: NodeConfig) -> None:
        self.config = config
        self._child: subprocess.Popen[bytes] | None = None
        self._rest = b""
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The child's process id, while there is one."""
        return self._child.pid if self._child else None

    def start(self) -> None:
        """Starts the child and waits until the network is loaded. Raises WeightsError, BackendError, ConfigError (its
        calibration), ReaderDied."""
        if self._child is not None and self._child.poll() is None:
            return
        self.close()
        self._rest = b""
        self._child = subprocess.Popen(
            [sys.executable, *self.command, json.dumps(_settings(self.config))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # decoders write tags there
            start_new_session=True,  # a Ctrl-C for the node is not one for the child, which the node ends itself
        )
        ready = self._line(START_SECONDS)
        if not ready.get("ready"):
            self.close()
            kinds: dict[str, type[CarpalError]] = {kind.code: kind for kind in (WeightsError, ConfigError)}
            raise kinds.get(str(ready.get("code")), BackendError)(str(ready.get("message")))

    def read(self, payload: Path, instance: str, known_pixels: list[str]) -> Answer:
        """Reads one object. Raises ReaderDied where the child died or took longer than allowed."""
        with self._lock:
            self.start()
            assert self._child is not None
            assert self._child.stdin is not None
            request = {"payload": str(payload), "instance": instance, "known_pixels": known_pixels}
            try:
                self._child.stdin.write(json.dumps(request).encode() + b"\n")
                self._child.stdin.flush()
            except OSError as error:
                self.close()
                raise ReaderDied("the reader has ended - it is started again") from error
            answer = self._line(self.config.reading.seconds)
        answer["files"] = {name: base64.b64decode(content) for name, content in answer["files"].items()}
        answer["outcome"] = Outcome(answer["outcome"])
        return Answer(**answer)

    def _line(self, seconds: float) -> dict[str, Any]:
        """One line of the child as JSON."""
        assert self._child is not None
        assert self._child.stdout is not None
        deadline, parts = time.monotonic() + seconds, [self._rest]
        with selectors.DefaultSelector() as selector:
            selector.register(self._child.stdout, selectors.EVENT_READ)
            while b"\n" not in parts[-1]:
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    self.close()
                    raise ReaderDied(f"reading took longer than the {seconds:g} seconds of [reading] seconds")
                part = os.read(self._child.stdout.fileno(), 1 << 20)
                if not part or sum(map(len, parts)) > MAX_ANSWER:
                    status = self._child.wait(5) if not part else None
                    self.close()
                    raise ReaderDied(f"the reader died of it ({_cause(status)})")
                parts.append(part)
        line, _, self._rest = b"".join(parts).partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Kills the child, if there is one: it holds nothing that could be lost."""
        child, self._child = self._child, None
        if child is None:
            return
        with contextlib.suppress(OSError):
            child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            with contextlib.suppress(OSError):
                if pipe:
                    pipe.close()


def _cause(status: int | None) -> str:
    if status is None:
        return "its answer was too long"
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def _settings(config: NodeConfig) -> dict[str, Any]:
    """What the child needs of the configuration, as JSON."""
    routes = [{"modality": r.modality, "body_part": r.body_part, "description": r.description} for r in config.route]
    reading, results = config.reading, config.results
    return {
        "weights": reading.weights,
        "backend": reading.backend,
        "precision": reading.precision or None,
        "threads": reading.threads,
        "calibration": reading.calibration,
        "reference": reading.reference,
        "unknown_sex": reading.unknown_sex,
        "memory": reading.memory_mb * 2**20,
        "objects": results.objects,
        "refusals": results.refusals,
        "uid_root": results.uid_root or None,
        "routes": routes,
    }
