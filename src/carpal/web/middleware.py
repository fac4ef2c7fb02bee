"""What every request passes before a route sees it, and every answer on its way out. Plain ASGI, no framework.

Host name (DNS rebinding), origin of what changes something (cross-site requests), rate, size and pace of the body;
security headers; one line of log without address parameters; counters. An exception that nobody caught ends here: the
log gets its kind and place, never its text, which may hold a patient's data.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics

from carpal.web.schemas import Problem, problem_of
from carpal.web.settings import Settings

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger("carpal.web")

disable_created_metrics()  # type: ignore[no-untyped-call]  # else one more line for each counter: when it began

SAFE: Final = ("GET", "HEAD", "OPTIONS")
HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
AT_ONCE: Final = 200
"""Requests that are worked on at the same time; one more is asked to come again."""
CLIENTS: Final = 10_000
"""Clients whose rate is remembered."""


class Bucket:
    """A client's allowance: it fills with `rate` a minute, and holds a quarter minute's worth, 20 at least."""

    def __init__(self, rate: int, now: float) -> None:
        self.rate, self.size = rate / 60, max(rate / 4, 20.0)
        self.level, self.seen = self.size, now

    def take(self, now: float) -> bool:
        """Whether one more request is allowed."""
        self.level = min(self.size, self.level + (now - self.seen) * self.rate)
        self.seen = now
        if self.level < 1:
            return False
        self.level -= 1
        return True


class Gate:
    """Wraps the application. `numbers` holds what the page of /metrics says of the requests."""

    def __init__(self, app: App, settings: Settings) -> None:
        self.app, self.settings = app, settings
        self.numbers = CollectorRegistry()
        labels = "method", "route", "status"
        self._requests = Counter("carpal_requests", "Requests answered.", labels, registry=self.numbers)
        self._seconds = Counter("carpal_request_seconds", "Seconds until they were.", ("route",), registry=self.numbers)
        self.jobs = Gauge("carpal_jobs", "Jobs now, by state.", ("state",), registry=self.numbers)
        self._active = 0
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the start and the end of the service."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        start, status = time.monotonic(), 500
        self._active += 1

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *self._headers(scope)]
            await send(message)

        try:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            self._check(scope, headers)
            await self.app(scope, self._slow_and_large(receive, headers), send_marked)
        except Problem as problem:
            await answer(send_marked, problem)
        except Exception as error:  # the application has answered 500 already, or the client has gone
            log.error("%s in %s", type(error).__name__, _place(error))
        finally:
            self._active -= 1
            self._note(scope, status, time.monotonic() - start)

    def _check(self, scope: Scope, headers: dict[str, str]) -> None:
        if self._active > AT_ONCE:
            raise Problem(503, "Too many requests at the same time. Wait a few seconds", headers={"Retry-After": "5"})
        host = headers.get("host", "")
        name = urlsplit(f"//{host}").hostname or ""
        if self.settings.hosts and name not in self.settings.hosts:
            raise Problem(400, "The service does not answer to this name. Start it with --name NAME", "bad-host")
        if scope["method"] not in SAFE:
            origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
            if site not in ("same-origin", "none") or (origin is not None and urlsplit(origin).netloc != host):
                raise Problem(403, "The request comes from another site. Use the service's own page", "cross-site")
        if not scope["path"].startswith("/static/") and not self._allowed(scope):
            raise Problem(429, "Too many requests. Wait a few seconds", headers={"Retry-After": "5"})
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.settings.max_upload:
            raise self._too_large()

    def _allowed(self, scope: Scope) -> bool:
        key, now = (scope.get("client") or ("", 0))[0], time.monotonic()
        bucket = self._buckets.setdefault(key, Bucket(self.settings.rate, now))
        self._buckets.move_to_end(key)
        if len(self._buckets) > CLIENTS:
            self._buckets.popitem(last=False)
        return bucket.take(now)

    def _too_large(self) -> Problem:
        limit = self.settings.max_upload / 2**20
        return Problem(413, f"The request is larger than {limit:g} MiB. Send fewer or smaller files")

    def _slow_and_large(self, receive: Receive, headers: dict[str, str]) -> Receive:
        """`receive` with a limit on the bytes in all, and on the seconds until the next part and the last one come."""
        seen, done, end = 0, False, time.monotonic() + self.settings.body_deadline

        async def limited() -> Message:
            nonlocal seen, done
            if done:
                return await receive()  # waits for the client to leave
            try:
                left = min(self.settings.body_timeout, end - time.monotonic())
                message = await asyncio.wait_for(receive(), max(left, 0))
            except TimeoutError:
                raise Problem(408, "The request came too slowly. Send it again") from None
            seen += len(message.get("body", b""))
            done = not message.get("more_body", False)
            if seen > self.settings.max_upload:
                raise self._too_large()
            return message

        return limited

    def _headers(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        static = scope["path"].startswith("/static/")
        extra = {"cache-control": "public, max-age=3600" if static else "no-store"}
        if self.settings.https:
            extra["strict-transport-security"] = "max-age=31536000"
        return [(name.encode(), value.encode()) for name, value in (HEADERS | extra).items()]

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = str(getattr(scope.get("route"), "path", "other"))
        method = scope["method"] if scope["method"] in (*SAFE, "POST", "PUT", "PATCH", "DELETE") else "other"
        self._requests.labels(method, route, status).inc()
        self._seconds.labels(route).inc(seconds)
        if not self.settings.quiet:
            log.info("%s %s %d %.0f ms", method, route, status, seconds * 1000)


async def answer(send: Send, problem: Problem) -> None:
    """Answers with the one error shape, without the application."""
    body = problem_of(problem).model_dump_json().encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in (problem.headers or {}).items()]
    await send({"type": "http.response.start", "status": problem.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _place(error: BaseException) -> str:
    """File and line of the innermost frame."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "an unknown place"
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
