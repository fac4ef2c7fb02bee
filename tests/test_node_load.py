"""The node's load measurement ends by itself, and counts what DCMTK's senders have logged."""

from __future__ import annotations

from pathlib import Path

import pytest

import tools
from bench_kit import bench_script

pytestmark = pytest.mark.slow

pytest.importorskip("pynetdicom")

LOGS = [
    """
23:59:59.900 Sending Store Request (MsgID 1, DX)
00:00:00.150 Received Store Response (Success)
00:00:00.200 Sending Store Request (MsgID 2, DX)
00:00:00.300 Received Store Response (Refused: OutOfResources)
""",
    """
10:00:00.000 Requesting Association
10:00:01.000 Sending Store Request (MsgID 1, DX)
10:00:03.500 Received Store Response (Success)
10:00:03.500 Sending Store Request (MsgID 2, DX)
""",
]


def test_times_are_those_between_request_and_response_over_midnight_too() -> None:
    times, (others, unanswered) = bench_script("node_load").outcomes(LOGS)
    assert times == pytest.approx([0.25, 2.5])
    assert others == ["Refused: OutOfResources"]
    assert unanswered == ["10:00:03.500"], "its sender was stopped"


def test_a_short_load_ends_and_every_store_is_in_the_queue(tmp_path: Path) -> None:
    tools.tool("storescu")
    found = bench_script("node_load").measure(tmp_path, 2, seconds=1, drain=0, reader="instant", side=64)
    assert found["stores"] > 0
    assert (found["other_answers"], found["associations_ended_early"]) == ([], [])
    assert found["stores"] <= found["queue"]["jobs"] <= found["stores"] + found["unanswered_at_the_end"]
    assert found["node_mb"]["peak"] >= found["node_mb"]["idle"] > 0
