"""/health and /metrics on loopback: plain HTTP for the monitoring on the same machine. Nothing can be changed here."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from carpal.errors import NodeError


class HealthServer:
    """`state` gives what /health says (its "ok" decides between 200 and 503), `metrics` the page of /metrics."""

    def __init__(self, host: str, port: int, state: Callable[[], dict[str, Any]], metrics: Callable[[], str]) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self.answer(200, "text/plain; version=0.0.4", metrics())
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
