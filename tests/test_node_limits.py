"""Who is turned away at the door, and how it is counted: unknown addresses, silent and random connections, too many."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import DigitalXRayImageStorageForPresentation, Verification

import node_fixtures
import node_kit as kit
from carpal.node.app import Node
from carpal.node.config import load
from process_kit import forget_peak, peak_mb

pytestmark = pytest.mark.slow

_quiet, pacs = node_fixtures.log, node_fixtures.pacs
HERE, NEAR, STRANGER = "127.0.0.1", "127.0.0.3", "127.0.0.2"
IN_ALL, OF_ONE = 6, 4
MEMORY_MB = 300
TRANSIENT, LIMIT_EXCEEDED = 2, 2


@pytest.fixture
def node(tmp_path: Path, pacs: kit.Pacs) -> Iterator[Node]:
    """Six associations at once, four of one address; 127.0.0.1 and 127.0.0.3 may send."""
    path = kit.write_config(tmp_path / "node.toml", pacs.port, association_seconds=3)
    limits = f"[limits]\nassociations = {IN_ALL}\nassociations_per_address = {OF_ONE}\n"
    text = path.read_text().replace('addresses = ["127.0.0.1/32"]', f'addresses = ["{HERE}", "{NEAR}"]')
    path.write_text(text.replace("[limits]\n", limits))
    with kit.running(load(path)) as running:
        yield running


def connect(node: Node, source: str = HERE) -> socket.socket:
    connection = socket.create_connection((HERE, node.port), 5, source_address=(source, 0))
    connection.settimeout(5)
    return connection


def associate(node: Node, source: str = HERE, called: str = "CARPAL") -> Any:
    entity = AE("TESTER")
    entity.acse_timeout = entity.dimse_timeout = entity.connection_timeout = 20
    entity.add_requested_context(Verification)
    entity.add_requested_context(DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian)
    return entity.associate(HERE, node.port, ae_title=called, bind_address=(source, 0))


def counted(node: Node, reason: str) -> int:
    """What the page of /metrics says."""
    found = re.search(rf'carpal_refused_total{{reason="{reason}"}} (\d+)', node.metrics.render(node.gauges()))
    return int(found[1]) if found else 0


def soon(node: Node, reason: str, number: int) -> bool:
    return kit.wait_for(lambda: counted(node, reason) == number, 20)


def audited(node: Node) -> list[str]:
    return [line for line in node.audit.path.read_text().splitlines() if "association-refused" in line]


def test_an_address_that_no_peer_has_is_hung_up_on_and_counted(node: Node) -> None:
    with connect(node, STRANGER) as connection, contextlib.suppress(ConnectionError):
        assert connection.recv(1) == b"", "it has not asked for anything yet"
    association = associate(node, STRANGER)
    assert not association.is_established
    assert not association.is_rejected, "no A-ASSOCIATE-RJ: nothing is answered"
    assert soon(node, "unknown-address", 2)
    assert (counted(node, "unknown-peer"), audited(node)) == (0, [])
    assert kit.echo(node.port)


def test_an_unknown_title_from_a_known_address_is_rejected_and_audited(node: Node) -> None:
    association = kit.associate(node.port, "OTHER")
    assert association.is_rejected
    assert soon(node, "unknown-peer", 1)
    assert len(audited(node)) == 1
    assert associate(node, called="OTHER").is_rejected
    assert soon(node, "called-title", 1)


def test_silent_and_random_connections_are_counted(node: Node) -> None:
    with connect(node) as silent, connect(node) as half, connect(node) as random:
        random.sendall(b"GET / HTTP/1.1\r\n\r\n")
        half.sendall(b"\x01\x00\x00\x00\x00\xc8" + bytes(10))
        assert soon(node, "no-request", 1)
        assert soon(node, "silent", 2)
        with contextlib.suppress(ConnectionError):
            assert silent.recv(1) == b""
    assert kit.echo(node.port)


def is_transient(association: Any) -> bool:
    answer = association.acceptor.primitive
    return association.is_rejected and (answer.result, answer.diagnostic) == (TRANSIENT, LIMIT_EXCEEDED)


def test_more_associations_than_one_address_may_have_are_rejected_for_now(node: Node) -> None:
    before = forget_peak()
    open_ones = [associate(node) for _ in range(OF_ONE)]
    assert all(association.is_established for association in open_ones)
    assert all(is_transient(associate(node)) for _ in range(60)), "the rest"
    near = [associate(node, NEAR) for _ in range(IN_ALL - OF_ONE)]
    assert all(association.is_established for association in near), "another address still has its places"
    assert is_transient(associate(node, NEAR)), "until there are too many in all"
    assert soon(node, "too-many-associations", 61)
    assert open_ones[0].send_c_store(kit.radiograph(1)).Status == 0, "those that are open are served"
    for association in (*open_ones, *near):
        association.release()
    assert kit.wait_for(lambda: node.receiver.open_associations() == 0)
    assert kit.send(node.port, [kit.radiograph(2)]) == [0], "and then everyone is"
    assert peak_mb() - before < MEMORY_MB


def test_a_flood_of_associations_at_once_keeps_nobody_out(node: Node) -> None:
    """Each of forty is accepted, told to come again, or hung up on; none is left waiting; then a store succeeds."""
    before, ended, lock = forget_peak(), [], threading.Lock()

    def flood(_: int) -> None:
        association = associate(node)
        with lock:
            ended.append(association.is_established or association.is_rejected or association.is_aborted)
        if association.is_established:
            time.sleep(0.5)
            association.release()

    threads = [threading.Thread(target=flood, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert ended == [True] * 40
    assert kit.wait_for(lambda: kit.send(node.port, [kit.radiograph(3)]) == [0], 30)
    assert peak_mb() - before < MEMORY_MB
