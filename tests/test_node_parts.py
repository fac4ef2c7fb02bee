"""Small parts of the node: the multipart answer of WADO-RS, the routes, the Prometheus page."""

from __future__ import annotations

import itertools
import re
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.sop_class import Verification

import node_kit as kit
from carpal.errors import NodeError
from carpal.node import scu
from carpal.node.association_guard import GateLimits, GuardedSocket
from carpal.node.config import DEFAULT_ROUTES, Route, fits, load
from carpal.node.dicomweb import only_part
from carpal.node.monitoring import BUCKETS, Metrics

KIND = 'multipart/related; type="application/dicom"; boundary="border"'
HEAD = b"--border\r\nContent-Type: application/dicom\r\nContent-Length: 5\r\n\r\n"


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces, cut at these places."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges) if end > start]


@given(content=st.binary(max_size=300), places=st.lists(st.integers(0, 1000), max_size=12))
def test_the_one_part_comes_out_however_it_was_cut(content: bytes, places: list[int]) -> None:
    content = content.replace(b"\r\n--border", b"")
    message = HEAD + content + b"\r\n--border--\r\n"
    assert b"".join(only_part(iter(cut(message, places)), KIND)) == content


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (HEAD + b"half", KIND),
        (b"--border\r\nContent-Type: application/dicom", KIND),
        (b"", KIND),
        (HEAD + b"x\r\n--border--", "application/dicom"),
        (b"x" * 2_000_000, KIND),
    ],
)
def test_an_answer_without_a_whole_part_is_named(message: bytes, kind: str) -> None:
    with pytest.raises(NodeError, match="answer"):
        list(only_part(iter(cut(message, list(range(0, 2_000_000, 65_536)))), kind))


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ({"Modality": "DX", "BodyPartExamined": "hand"}, True),
        ({"Modality": "CR", "BodyPartExamined": "WRIST "}, True),
        ({"Modality": "CR", "StudyDescription": "Bone Age left"}, True),
        ({"Modality": "CR", "SeriesDescription": "HAND PA"}, True),
        ({"Modality": "CR", "StudyDescription": "handover of the knee"}, False),
        ({"Modality": "CR", "BodyPartExamined": "KNEE"}, False),
        ({"Modality": "CT", "BodyPartExamined": "HAND"}, False),
        ({}, False),
    ],
)
def test_the_default_routes_want_hands_in_radiographs(header: dict[str, str], wanted: bool) -> None:
    assert fits(header, DEFAULT_ROUTES) is wanted


def test_an_empty_route_wants_everything_and_no_route_nothing() -> None:
    assert fits({"Modality": "CT"}, [Route()])
    assert not fits({"Modality": "DX", "BodyPartExamined": "HAND"}, [])


@given(st.lists(st.floats(0, 1000), max_size=30))
def test_the_histogram_counts_as_its_definition_says(seconds: list[float]) -> None:
    metrics = Metrics()
    for value in seconds:
        metrics.took(value)
    page = metrics.render({})
    for limit in BUCKETS:
        assert (
            f'carpal_read_seconds_bucket{{le="{float(limit)}"}} {sum(value <= limit for value in seconds)}.0\n' in page
        )
    assert f"carpal_read_seconds_count {len(seconds)}.0\n" in page


def test_labels_cannot_break_the_page() -> None:
    metrics = Metrics()
    metrics.count("carpal_refused_total", reason='a"b\\c\nd')
    assert 'carpal_refused_total{reason="a\\"b\\\\c\\nd"} 1' in metrics.render({})


def test_a_gauge_forgets_what_is_measured_no_more_and_nodes_share_no_number() -> None:
    """A reader's process that ended has no memory."""
    metrics, other = Metrics(), Metrics()
    metrics.count("carpal_delivered_total", destination="pacs")
    page = metrics.render({"carpal_memory_bytes": {"node": 5, "reader-0": 7}, "carpal_associations": {"": 2}})
    assert 'carpal_memory_bytes{process="reader-0"} 7.0\n' in page
    assert "carpal_associations 2.0\n" in page
    page = metrics.render({"carpal_memory_bytes": {"node": 6}})
    assert re.findall(r"^carpal_memory_bytes.*", page, re.M) == ['carpal_memory_bytes{process="node"} 6.0']
    assert not re.search("_created|^python_|^process_", page, re.M)
    assert "carpal_delivered_total{" not in other.render({})


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="Linux only")
def test_what_has_come_is_acknowledged_before_it_is_answered() -> None:
    """Most senders hold an object back until their command is acknowledged, which a system puts off by itself."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sender:
        accepted, _ = server.accept()
        with accepted:
            guarded = GuardedSocket.__new__(GuardedSocket)
            guarded.limits, guarded.socket = GateLimits(1, 1, 5, 5, 1000), accepted
            for _ in range(30):  # question and answer: from then on the system waits for an answer to send along
                sender.sendall(b"question")
                assert accepted.recv(8) == b"question"
                accepted.sendall(b"answer")
                assert sender.recv(6) == b"answer"
            sender.sendall(b"command")
            assert guarded.recv(7) == b"command"
            assert unacknowledged(sender) == 0


def unacknowledged(connection: socket.socket) -> int:
    """Segments that the peer's system has not acknowledged (tcpi_unacked of Linux's struct tcp_info)."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int(struct.unpack_from("=I", info, 24)[0])


def test_the_node_s_own_messages_go_out_at_once(tmp_path: Path) -> None:
    pacs = kit.Pacs()
    config = load(kit.write_config(tmp_path / "node.toml", pacs.port))
    with scu.association(config, config.peer[1], [Verification]) as opened:
        assert opened.dul.socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    pacs.close()
