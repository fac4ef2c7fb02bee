"""Counters and times in the Prometheus text format. Labels are ours: states, codes, peers' names; never a patient's."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

BUCKETS: Final = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300)
HELP: Final = {
    "carpal_received_total": "Objects taken from a sender, by how they came and whether they were new.",
    "carpal_refused_total": "Connections, associations and objects refused, by reason.",
    "carpal_read_total": "Jobs that the reader settled, by outcome.",
    "carpal_delivered_total": "Result objects that a destination acknowledged, by destination.",
    "carpal_delivery_failures_total": "Attempts to deliver that failed, by destination.",
    "carpal_commitments_total": "Result objects by what became of a request for commitment: held, again, dead.",
    "carpal_jobs": "Jobs now, by state.",
    "carpal_deliveries": "Result objects now, by state.",
    "carpal_disk_free_bytes": "Bytes that may still be written before objects are refused.",
    "carpal_memory_bytes": "Resident memory of the node and of its reader.",
    "carpal_associations": "Associations that are open now.",
    "carpal_read_seconds": "Seconds from taking a job to its result.",
}

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """All numbers of one node; safe to use from every thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, dict[Labels, float]] = defaultdict(lambda: defaultdict(float))
        self._seconds = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    def count(self, name: str, **labels: str) -> None:
        """One more."""
        assert name in HELP, f"{name} has no help text"
        with self._lock:
            self._counts[name][tuple(sorted(labels.items()))] += 1

    def took(self, seconds: float) -> None:
        """One job was read in so many seconds."""
        with self._lock:
            self._sum += seconds
            self._seconds[sum(seconds > limit for limit in BUCKETS)] += 1

    def render(self, gauges: Mapping[str, Mapping[Labels, float]]) -> str:
        """The page of /metrics; `gauges` holds what is measured at this moment."""
        with self._lock:
            counts = {name: dict(values) for name, values in self._counts.items()}
            seconds, total = list(self._seconds), self._sum
        lines = []
        for name, values in {**counts, **gauges}.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {name} {HELP[name]}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{_braces(labels)} {value:g}" for labels, value in sorted(values.items())]
        name, below = "carpal_read_seconds", 0
        lines += [f"# HELP {name} {HELP[name]}", f"# TYPE {name} histogram"]
        for limit, number in zip((*map(str, BUCKETS), "+Inf"), seconds, strict=True):
            below += number
            lines.append(f'{name}_bucket{{le="{limit}"}} {below}')
        return "\n".join([*lines, f"{name}_sum {total:g}", f"{name}_count {below}"]) + "\n"


def _braces(labels: Labels) -> str:
    pairs = ",".join(f'{key}="{_escape(value)}"' for key, value in labels)
    return f"{{{pairs}}}" if pairs else ""


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def resident(pid: int | str = "self") -> int:
    """Bytes of memory that a process holds; 0 where it is gone or the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except (OSError, IndexError, ValueError):
        return 0
