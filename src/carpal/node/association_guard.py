"""The door in front of pynetdicom: a connection costs a thread only once it has asked for an association.

Connections wait in one selector until their first PDU is there, whole, and is a small A-ASSOCIATE-RQ; silent ones are
closed after a few seconds, others at once. What gets through is bounded, too: a PDU longer than we announced, an object
or a command larger than allowed, and a PDU that trickles in for too long end the connection. Without this a few hundred
silent connections, or one that announces 4 GiB, keep an allow-listed sender out.
"""

from __future__ import annotations

import contextlib
import queue
import select
import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

MAX_PDU: Final = 131_072
"""What we announce: pynetdicom receives large objects fastest with it."""
SLACK: Final = 1024
MAX_REQUEST: Final = 65_536
"""Bytes of an A-ASSOCIATE-RQ; 128 presentation contexts with 10 transfer syntaxes each take about 40,000."""
MAX_MESSAGE: Final = 4 * 2**20
"""Bytes of a message that is no C-STORE; those are kept in memory."""
ASSOCIATE_RQ, HANDSHAKE = 0x01, 0x16
UNKNOWN_ADDRESS, NO_REQUEST, SILENT = "unknown-address", "no-request", "silent"
TOO_MANY, NO_TLS, BROKEN = "too-many-connections", "no-tls", "broken-connection"
"""Why a connection is hung up on: no peer has its address; it sent something else, or closed again; it sent nothing, or
half a request; others of its address came after it; its handshake failed; anything else."""
TICK: Final = 0.05
QUICK_ACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
"""Linux only."""
WAIT_DATA, WAIT_MESSAGE = 0.005, 0.02
"""Seconds that an association waits for bytes (an answer of ours may wait as long), and for a whole message."""


@dataclass(frozen=True)
class GateLimits:
    """See [limits] of the configuration."""

    waiting: int
    per_address: int
    association_seconds: float
    message_seconds: float
    object_bytes: int


@dataclass
class Waiting:
    """A connection that has not asked for anything yet."""

    connection: socket.socket
    address: Any
    since: float


class Gate(ThreadedAssociationServer):
    """An association server that admits only addresses for which `admits` is true, and only real requests.

    Use it with `AE.make_server(..., server_class=Gate, request_handler=GuardedHandler, admits=..., gate_limits=...,
    refused=...)`; `refused` is told why each connection was hung up on, in one of the words below.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        *args: Any,
        admits: Callable[[str], bool],
        gate_limits: GateLimits,
        refused: Callable[[str], None],
        **kwargs: Any,
    ) -> None:
        self.admits, self.limits, self.refused = admits, gate_limits, refused
        self._waiting: dict[int, Waiting] = {}
        self._partial: set[int] = set()
        self._selector = selectors.DefaultSelector()
        self._door = threading.Lock()
        self._open = True
        self._handshakes = ThreadPoolExecutor(8, thread_name_prefix="carpal-tls")
        super().__init__(*args, **kwargs)
        self._doorman = threading.Thread(target=self._watch, name="carpal-doorman", daemon=True)
        self._doorman.start()

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accepts the connection, and leaves any TLS handshake for later, so that no peer can hold up the next."""
        connection, address = cast(socket.socket, self.socket).accept()
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Refuses addresses that no peer has: not a byte of theirs is read, nor answered, nor anything written down but
        a number, so that a flood of them costs next to nothing."""
        if self.admits(str(client_address[0])):
            return True
        self.refused(UNKNOWN_ADDRESS)
        return False

    def process_request(self, request: Any, client_address: Any) -> None:
        """Lets the connection wait for its first PDU; where too many wait, the oldest of its address has to go."""
        request.setblocking(False)
        with self._door:
            same = [key for key, entry in self._waiting.items() if entry.address[0] == client_address[0]]
            if len(same) >= self.limits.per_address:
                self._drop(same[0], TOO_MANY)
            elif len(self._waiting) >= self.limits.waiting:
                self._drop(next(iter(self._waiting)), TOO_MANY)
            self._waiting[request.fileno()] = Waiting(request, client_address, time.monotonic())
            self._selector.register(request, selectors.EVENT_READ)

    def server_close(self) -> None:
        """Closes the socket and every connection that still waits."""
        super().server_close()
        self._handshakes.shutdown(wait=False, cancel_futures=True)
        with self._door:
            for key in list(self._waiting):
                self.shutdown_request(self._leave(key).connection)
            self._open = False  # not earlier: the doorman closes the selector, which the drops still need

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that failed is closed; its peer's bytes are in no log."""
        self.refused(BROKEN)

    def _watch(self) -> None:
        while self._open:
            if not self._waiting:
                time.sleep(TICK)
                continue
            try:
                self._round()
            except (OSError, KeyError, ValueError):  # one connection that went wrong must not close the door
                self.refused(BROKEN)
            if self._partial:
                time.sleep(TICK)  # part of a request is there already: the selector would return at once
        self._selector.close()

    def _round(self) -> None:
        """Looks at every connection that has something to say, and ends those that waited too long."""
        ready = {key.fd for key, _ in self._selector.select(TICK)}
        with self._door:
            for key in ready | self._partial:
                if key in self._waiting:
                    self._look(key)
            late = time.monotonic() - self.limits.association_seconds
            for key in [key for key, entry in self._waiting.items() if entry.since < late]:
                self._drop(key, SILENT)

    def alive(self) -> bool:
        """Whether connections are still looked at."""
        return self._doorman.is_alive()

    def _look(self, key: int) -> None:
        """Peeks at what has arrived: hands over a whole request, drops what is none, waits for the rest."""
        entry = self._waiting[key]
        try:
            head = entry.connection.recv(MAX_REQUEST + 6, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            head = b""
        if not head or head[0] != (HANDSHAKE if self.ssl_context else ASSOCIATE_RQ):
            self._drop(key, NO_REQUEST)
        elif self.ssl_context:
            self._hand_over(key, self._handshake)
        elif len(head) >= 6 and struct.unpack(">L", head[2:6])[0] > MAX_REQUEST:
            self._drop(key, NO_REQUEST)
        elif len(head) >= 6 and len(head) >= 6 + struct.unpack(">L", head[2:6])[0]:
            self._hand_over(key, self.process_request_thread)
        elif key not in self._partial:
            self._partial.add(key)
            self._selector.unregister(entry.connection)

    def _leave(self, key: int) -> Waiting:
        if key not in self._partial:
            self._selector.unregister(self._waiting[key].connection)
        self._partial.discard(key)
        return self._waiting.pop(key)

    def _hand_over(self, key: int, handle: Callable[[Any, Any], None]) -> None:
        entry = self._leave(key)
        entry.connection.setblocking(True)
        entry.connection.settimeout(self.limits.message_seconds)
        if handle == self._handshake:
            self._handshakes.submit(handle, entry.connection, entry.address)
        else:  # this only starts the association's own threads
            handle(entry.connection, entry.address)

    def _handshake(self, connection: socket.socket, address: Any) -> None:
        try:
            connection.settimeout(self.limits.association_seconds)
            secured = cast(ssl.SSLContext, self.ssl_context).wrap_socket(connection, server_side=True)
            secured.settimeout(self.limits.message_seconds)
        except (OSError, ValueError):
            self.refused(NO_TLS)
            self.shutdown_request(connection)
            return
        self.process_request_thread(secured, address)

    def _drop(self, key: int, reason: str) -> None:
        self.refused(reason)
        self.shutdown_request(self._leave(key).connection)


class GuardedSocket(AssociationSocket):
    """A socket that reads no more than we agreed to."""

    limits: GateLimits
    taken = 0
    """Bytes since the last object that was stored."""

    @property
    def ready(self) -> bool:
        """Whether there is something to read. Waits a moment for it in the kernel: pynetdicom itself would ask a
        thousand times a second for each association."""
        if not super().ready and self.socket is not None:
            with contextlib.suppress(OSError, ValueError):  # closed meanwhile: the next look finds out
                select.select([self.socket], [], [], WAIT_DATA)
        return super().ready

    def recv(self, nr_bytes: int) -> bytearray:
        """Reads exactly `nr_bytes`, or what came before the peer closed. Raises OSError beyond a bound."""
        self.taken += nr_bytes
        if nr_bytes > MAX_PDU + SLACK or self.taken > self.limits.object_bytes:
            raise ConnectionAbortedError("the peer sends more than was agreed")
        data, deadline = bytearray(nr_bytes), time.monotonic() + self.limits.message_seconds
        view, done = memoryview(data), 0
        while done < nr_bytes:
            received = cast(socket.socket, self.socket).recv_into(view[done:])
            if not received:
                break
            done += received
            if time.monotonic() > deadline:
                raise TimeoutError("the peer sends too slowly")
        view.release()
        self._acknowledge()
        return data[:done]

    def _acknowledge(self) -> None:
        """Tells the peer's system at once what has come. Left to itself ours waits 40 ms for an answer to send along,
        and most senders keep an object back until their command is acknowledged."""
        if QUICK_ACK is not None:
            with contextlib.suppress(OSError):
                cast(socket.socket, self.socket).setsockopt(socket.IPPROTO_TCP, QUICK_ACK, 1)


class GuardedHandler(RequestHandler):
    """Gives each association a guarded socket."""

    def _create_association(self) -> Any:
        association = super()._create_association()
        guarded = GuardedSocket.__new__(GuardedSocket)
        guarded.__dict__.update(association.dul.socket.__dict__)
        guarded.limits = cast(Gate, self.server).limits
        association.dul.socket = guarded
        association.dimse.get_msg = partial(_next_message, association.dimse)  # type: ignore[method-assign]
        return association


def _next_message(dimse: Any, block: bool = False) -> Any:
    """The next whole message, as soon as it is there; waits for it without asking all the time."""
    try:
        return dimse.msg_queue.get(timeout=dimse.dimse_timeout if block else WAIT_MESSAGE)
    except queue.Empty:
        return None, None


def check_message(event: Any) -> None:
    """For EVT_PDU_RECV: ends an association whose command, or whose message other than C-STORE, grows too large.

    Those are collected in memory; the data sets of C-STORE go to a file and are bounded by `GuardedSocket`.
    """
    association, guarded = event.assoc, event.assoc.dul.socket
    message = association.dimse.message
    if message is None or guarded is None:
        return
    held = message.encoded_command_set.tell() + (message.data_set.tell() if message.data_set else 0)
    if held > MAX_MESSAGE:
        with contextlib.suppress(OSError):
            guarded.socket.shutdown(socket.SHUT_RDWR)
