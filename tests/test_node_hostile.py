"""What attackers on the network send: C-ECHO of an honest peer answers within 2 s throughout, memory stays bounded."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from io import BytesIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

import node_kit as kit
from carpal.node.app import Node
from carpal.node.config import load
from carpal.node.monitoring import resident
from carpal.queue import logs

pytestmark = pytest.mark.slow

MEMORY = 300 * 2**20
SECONDS = 2.0


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("hostile")
    pacs = kit.Pacs()
    with open(os.devnull, "w") as nowhere:
        logs.to(nowhere)
        with kit.running(load(kit.write_config(folder / "node.toml", pacs.port, association_seconds=3))) as running:
            yield running
        logs.to(None)
    pacs.close()


def connect(node: Node) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", node.port), 5)
    connection.settimeout(5)
    return connection


def timed_echo(node: Node) -> float:
    """Seconds of the quicker of two: the machine that runs the tests may itself be busy."""
    seconds = []
    for _ in range(2):
        start = time.monotonic()
        assert kit.echo(node.port)
        seconds.append(time.monotonic() - start)
    return min(seconds)


@contextlib.contextmanager
def bounded(node: Node) -> Iterator[None]:
    """Memory grows by less than the bound inside, C-ECHO answers in time at its end, and objects are still taken."""
    kit.echo(node.port)
    before, threads = resident(), threading.active_count()
    yield
    assert timed_echo(node) < SECONDS
    assert resident() - before < MEMORY
    assert threading.active_count() - threads < 40
    assert kit.send(node.port, [kit.radiograph(1)]) == [0]


def closed(connection: socket.socket, seconds: float = 10) -> bool:
    """Whether the node ends this connection in time."""
    try:
        connection.settimeout(seconds)
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def associated(node: Node) -> socket.socket:
    """The socket of an accepted association, to send bytes of our own on."""
    association = kit.associate(node.port)
    assert association.is_established
    return association.dul.socket.socket  # type: ignore[no-any-return]


def test_silent_connections_cost_no_thread_and_are_closed(node: Node) -> None:
    with bounded(node), contextlib.ExitStack() as stack:
        silent = [stack.enter_context(connect(node)) for _ in range(300)]
        slowest = max(timed_echo(node) for _ in range(3))
        assert slowest < SECONDS
        assert closed(silent[0])
        assert closed(silent[-1]), "the one that waits longest allowed"


def test_random_bytes_are_hung_up_on(node: Node) -> None:
    with bounded(node):
        for number in range(200):
            with connect(node) as connection, contextlib.suppress(OSError):
                connection.sendall(bytes([2 + number % 200]) + os.urandom(500))
            if number % 50 == 0:
                assert timed_echo(node) < SECONDS


@pytest.mark.parametrize("length", [0xFFFFFFFF, 2**31, 131_072 + 1025, 70_000])
def test_a_request_longer_than_any_is_closed_at_once(node: Node, length: int) -> None:
    with bounded(node), connect(node) as connection:
        connection.sendall(b"\x01\x00" + struct.pack(">L", length) + bytes(1000))
        assert closed(connection, 1)


def test_a_pdu_of_four_gigabytes_within_an_association_is_cut_off(node: Node) -> None:
    with bounded(node):
        connection = associated(node)
        with contextlib.suppress(OSError):
            connection.sendall(b"\x04\x00" + struct.pack(">L", 0xFFFFFFFF))
            for _ in range(400):
                connection.sendall(bytes(2**20))
        assert closed(connection)


def test_a_command_without_an_end_is_cut_off(node: Node) -> None:
    with bounded(node):
        connection, fragment = associated(node), bytes(100_000)
        pdv = struct.pack(">LBB", len(fragment) + 2, 1, 1) + fragment  # a command, and not its last part
        with contextlib.suppress(OSError):
            for _ in range(200):
                connection.sendall(b"\x04\x00" + struct.pack(">L", len(pdv)) + pdv)
        assert closed(connection)


def test_half_a_request_is_waited_for_only_so_long(node: Node) -> None:
    with bounded(node), connect(node) as connection:
        connection.sendall(b"\x01\x00" + struct.pack(">L", 200) + bytes(10))
        assert timed_echo(node) < SECONDS
        assert closed(connection)


def test_an_object_that_stops_halfway_leaves_no_file(node: Node) -> None:
    association = kit.associate(node.port)
    request = C_STORE()
    dataset = kit.radiograph(7)
    request.MessageID, request.Priority = 1, 0
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    encoded = encode(dataset, False, True)
    assert encoded is not None
    request.DataSet = BytesIO(encoded)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    context = next(c for c in association.accepted_contexts if c.transfer_syntax[0] == ExplicitVRLittleEndian)
    parts = list(message.encode_msg(context.context_id, 1000))
    for part in parts[:-2]:
        association.dul.send_pdu(part)
    assert kit.wait_for(lambda: len(list(node.jobs.spool.partial.iterdir())) == 1)
    association.abort()
    assert kit.wait_for(lambda: list(node.jobs.spool.partial.iterdir()) == [])
    assert node.jobs.starting(f"{dataset.SOPInstanceUID}:") == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(min_size=0, max_size=300), kind=st.sampled_from([1, 2, 3, 4, 5, 6, 7]), cut=st.integers(0, 20))
def test_no_pdu_stops_the_node(node: Node, data: bytes, kind: int, cut: int) -> None:
    with connect(node) as connection, contextlib.suppress(OSError):
        connection.sendall((bytes([kind, 0]) + struct.pack(">L", len(data)) + data)[: len(data) + 6 - cut])
        connection.shutdown(socket.SHUT_WR)


def test_after_all_of_it_the_node_is_well(node: Node) -> None:
    assert node.state()["ok"]
    assert kit.send(node.port, [kit.radiograph(99)]) == [0]
    assert kit.wait_for(lambda: node.jobs.latest()[0].state == "delivered")


def test_twenty_associations_at_once_are_all_served(node: Node) -> None:
    statuses: list[int | None] = []

    def sender(first: int) -> None:
        statuses.extend(kit.send(node.port, [kit.radiograph(1000 + first * 10 + n) for n in range(3)]))

    threads = [threading.Thread(target=sender, args=(n,)) for n in range(20)]
    with bounded(node):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert statuses == [0] * 60
