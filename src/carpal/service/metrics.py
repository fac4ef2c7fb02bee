"""Health, and counters in the text format of Prometheus."""

from __future__ import annotations

from typing import Final

from carpal.service.access import Desk
from carpal.service.api import HealthOut, Problem
from carpal.service.gate import Gate
from carpal.service.jobs import State

MEDIA_TYPE: Final = "text/plain; version=0.0.4"


def health(desk: Desk) -> HealthOut:
    """The queue of a service whose worker lives and whose disk has room. Raises Problem for any other."""
    counts, free = desk.studies.jobs.counts(), desk.studies.jobs.spool.free()
    if not desk.studies.working:
        raise Problem(503, "Radiographs are not being read: the worker has ended. Restart the service", "unhealthy")
    if free <= 0:
        raise Problem(503, "The disk of the data folder is full. Free some of it", "unhealthy")
    return HealthOut(waiting=counts[State.QUEUED] + counts[State.LEASED], free_bytes=free)


def text(desk: Desk, gate: Gate) -> str:
    """Requests by method, route and status; seconds by route; jobs by state."""
    lines = ["# TYPE carpal_requests_total counter"]
    for (method, route, status), count in sorted(gate.requests.items()):
        lines.append(f'carpal_requests_total{{method="{method}",route="{route}",status="{status}"}} {count}')
    lines.append("# TYPE carpal_request_seconds_total counter")
    lines += [f'carpal_request_seconds_total{{route="{r}"}} {s:.6f}' for r, s in sorted(gate.seconds.items())]
    lines.append("# TYPE carpal_jobs gauge")
    lines += [f'carpal_jobs{{state="{state}"}} {count}' for state, count in desk.studies.jobs.counts().items()]
    return "\n".join(lines) + "\n"
