"""Structured logs: one JSON object a line on the error output, without patient data.

An event has a name and a few fields, all chosen by us: job ids, codes, peers' names, counts. Identifiers of the study
are left to the audit log. What libraries would log stays silent, because they quote tags.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from typing import Any, TextIO

from carpal.errors import CarpalError

_write_lock = threading.Lock()
_stream: TextIO | None = None


def silence_libraries() -> None:
    """pydicom, pynetdicom and the rest log tags and addresses at will; none of it leaves the process."""
    for name in ("pydicom", "pynetdicom", "highdicom", "dicomweb_client", "urllib3"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [logging.NullHandler()]
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)


def event(name: str, level: str = "info", **fields: Any) -> None:
    """Writes one line at once."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"at": at, "level": level, "event": name, **fields}, default=str)
    with _write_lock:
        print(line, file=_stream or sys.stderr, flush=True)


def failure(name: str, error: Exception, **fields: Any) -> None:
    """Something that is tried again: our errors with their sentence, others by their kind, which quotes nothing."""
    code, message = (error.code, str(error)) if isinstance(error, CarpalError) else ("internal", type(error).__name__)
    event(name, "error", code=code, message=message, **fields)


def to(stream: TextIO | None) -> None:
    """Sends the lines elsewhere; None is the error output."""
    global _stream
    _stream = stream
