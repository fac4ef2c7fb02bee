"""What the monitoring of the same machine sees: numbers for Prometheus, /health and /metrics on loopback.

Labels are ours: states, codes, peers' names; never a patient's. Nothing can be changed here.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from carpal.errors import NodeError

MEDIA_TYPE: Final = "text/plain; version=0.0.4"
BUCKETS: Final = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300)
"""Upper ends of the histogram of a reading's duration, in seconds."""
COUNTERS: Final = {
    "carpal_received_total": (
        "Objects taken from a sender, by how they came and whether they were new.",
        ("way", "new"),
    ),
    "carpal_refused_total": ("Connections, associations and objects refused, by reason.", ("reason",)),
    "carpal_read_total": ("Jobs that the reader settled, by outcome.", ("outcome", "code")),
    "carpal_delivered_total": ("Result objects that a destination acknowledged, by destination.", ("destination",)),
    "carpal_delivery_failures_total": ("Attempts to deliver that failed, by destination.", ("destination",)),
    "carpal_commitments_total": (
        "Result objects by what became of a request for commitment: held, again, dead.",
        ("destination", "outcome"),
    ),
}
"""What each counts, and its labels."""
GAUGES: Final = {
    "carpal_jobs": ("Jobs now, by state.", ("state",)),
    "carpal_deliveries": ("Result objects now, by state.", ("state",)),
    "carpal_disk_free_bytes": ("Bytes that may still be written before objects are refused.", ()),
    "carpal_memory_bytes": ("Resident memory of the node and of its reader.", ("process",)),
    "carpal_associations": ("Associations that are open now.", ()),
}
"""What is measured when the page is asked for, and its label."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # else one more line for each counter: when it began


class Metrics:
    """All numbers of one node; safe to use from every thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._registry = CollectorRegistry()
        self._counters = {name: Counter(name, *what, registry=self._registry) for name, what in COUNTERS.items()}
        self._gauges = {name: Gauge(name, *what, registry=self._registry) for name, what in GAUGES.items()}
        self._seconds = Histogram(
            "carpal_read_seconds",
            "Seconds from taking a job to its result.",
            buckets=BUCKETS,
            registry=self._registry,
        )

    def count(self, name: str, **labels: str) -> None:
        """One more of a counter of `COUNTERS`, with a value for each of its labels."""
        self._counters[name].labels(**labels).inc()

    def took(self, seconds: float) -> None:
        """One job was read in so many seconds."""
        self._seconds.observe(seconds)

    def render(self, gauges: Mapping[str, Mapping[str, float]]) -> str:
        """The page of /metrics; `gauges`: what is measured at this moment, by the label's value, "" without one."""
        with self._lock:  # two who ask at the same time
            for name, values in gauges.items():
                gauge = self._gauges[name]
                if "" in values:
                    gauge.set(values[""])
                    continue
                gauge.clear()
                for label, value in values.items():
                    gauge.labels(label).set(value)
            return generate_latest(self._registry).decode()


class HealthServer:
    """`state` gives what /health says (its "ok" decides between 200 and 503), `metrics` the page of /metrics."""

    def __init__(self, host: str, port: int, state: Callable[[], dict[str, Any]], metrics: Callable[[], str]) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self.answer(200, MEDIA_TYPE, metrics())
                elif self.path == "/health":
                    now = state()
                    self.answer(200 if now["ok"] else 503, "application/json", json.dumps(now) + "\n")
                else:
                    self.answer(
                        404, "application/json", json.dumps({"ok": False, "error": "only /health and /metrics"})
                    )

            def answer(self, status: int, kind: str, text: str) -> None:
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise NodeError(
                f"{host} port {port} cannot be opened - {error.strerror} - choose another [health] port, or 0 for none"
            ) from error
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.2,), name="carpal-health", daemon=True).start()

    def stop(self) -> None:
        """Closes the port."""
        self._server.shutdown()
        self._server.server_close()


def resident(pid: int | str = "self") -> int:
    """Bytes of memory that a process holds; 0 where it is gone or the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except (OSError, IndexError, ValueError):
        return 0
