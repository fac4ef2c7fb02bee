"""The node's promises one by one: who may send, what is answered when, what comes back, what is written down."""

from __future__ import annotations

import json
import os
import threading
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import CTImageStorage, StorageCommitmentPushModel

import node_fixtures
import node_kit as kit
import tools
from carpal.errors import NodeError
from carpal.node.app import Node
from carpal.node.config import NodeConfig, load
from carpal.node.reader import Answer, Outcome
from carpal.queue.jobs import State
from carpal.queue.outbox import Outbox

pacs, config, log = node_fixtures.pacs, node_fixtures.config, node_fixtures.log


def states(node: Node) -> dict[State, int]:
    return {state: number for state, number in node.jobs.counts().items() if number}


def test_a_radiograph_comes_back_as_a_report(config: NodeConfig, pacs: kit.Pacs) -> None:
    with kit.running(config) as node:
        assert kit.send(node.port, [kit.radiograph(1), kit.radiograph(2)]) == [0, 0]
        assert kit.wait_for(lambda: states(node) == {State.DELIVERED: 2})
    assert pacs.received == {f"{kit.ROOT}.4.1": 1, f"{kit.ROOT}.4.2": 1}


def test_the_audit_log_says_who_sent_what_was_read_with_which_weights_and_when(config: NodeConfig) -> None:
    start = datetime.now(UTC)
    with kit.running(config) as node:
        kit.send(node.port, [kit.radiograph(1)])
        assert kit.wait_for(lambda: states(node) == {State.DELIVERED: 1})
    lines = [json.loads(line) for line in node.audit.path.read_text().splitlines()]  # its workers have ended
    [line] = [line for line in lines if line["event"] == "settled"]
    assert (line["sender"], line["weights"]) == ("TESTER@127.0.0.1", kit.MODEL)
    assert (line["instance"], line["outcome"], line["code"]) == (f"{kit.ROOT}.1.1", "read", None)
    assert start - timedelta(milliseconds=1) <= datetime.fromisoformat(line["at"]) <= datetime.now(UTC)
    [received] = [line for line in lines if line["event"] == "received"]
    assert (received["job"], received["sender"]) == (line["job"], line["sender"])


def test_sent_again_it_is_not_read_again_but_delivered_again(config: NodeConfig, pacs: kit.Pacs) -> None:
    with kit.running(config) as node:
        kit.send(node.port, [kit.radiograph(1)])
        assert kit.wait_for(lambda: states(node) == {State.DELIVERED: 1})
        assert kit.send(node.port, [kit.radiograph(1)]) == [0]
        assert kit.wait_for(lambda: pacs.received[f"{kit.ROOT}.4.1"] == 2)
        assert node.readers[0].asked == [f"{kit.ROOT}.1.1"]  # type: ignore[attr-defined]
    assert set(pacs.received) == {f"{kit.ROOT}.4.1"}


@pytest.mark.parametrize("title", ["OTHER", "PACS"])
def test_only_listed_titles_may_talk_and_only_from_their_address(config: NodeConfig, title: str) -> None:
    with kit.running(config) as node:
        assert kit.echo(node.port)
        association = kit.associate(node.port, title)
        assert association.is_rejected


def test_other_kinds_of_object_are_not_even_negotiated(config: NodeConfig) -> None:
    with kit.running(config) as node:
        entity = AE("TESTER")
        entity.add_requested_context(CTImageStorage)
        association = entity.associate("127.0.0.1", node.port, ae_title="CARPAL")
        assert not association.is_established
        assert kit.echo(node.port)


def test_a_full_disk_refuses_with_a700_and_recovers_by_itself(
    config: NodeConfig, pacs: kit.Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kit.running(config) as node:
        with monkeypatch.context() as full:
            full.setattr(type(node.jobs.spool), "free", lambda self: 0)
            assert kit.send(node.port, [kit.radiograph(1)]) == [0xA700]
            assert not node.state()["ok"]
            assert kit.echo(node.port)
        assert states(node) == {}
        assert list(node.jobs.spool.partial.iterdir()) == []
        assert kit.send(node.port, [kit.radiograph(1)]) == [0]
        assert kit.wait_for(lambda: states(node) == {State.DELIVERED: 1})


def test_a_disk_that_fails_while_a_report_is_written_loses_nothing(
    config: NodeConfig, pacs: kit.Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, failing = os.fsync, threading.Event()

    def flaky(handle: int) -> None:
        if failing.is_set() and threading.current_thread().name == "carpal-node-0":
            raise OSError(28, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", flaky)
    with kit.running(config) as node:
        failing.set()
        assert kit.send(node.port, [kit.radiograph(1)]) == [0]
        assert kit.wait_for(lambda: node.jobs.latest()[0].code == "out-of-resources")
        failing.clear()
        assert kit.wait_for(lambda: states(node) == {State.DELIVERED: 1})
    assert pacs.received == {f"{kit.ROOT}.4.1": 1}


def test_a_pacs_that_is_away_gets_everything_when_it_is_back(tmp_path: Path, pacs: kit.Pacs) -> None:
    pacs.close()
    config = load(kit.write_config(tmp_path / "node.toml", pacs.port))
    with kit.running(config) as node:
        assert kit.send(node.port, [kit.radiograph(n) for n in range(4)]) == [0] * 4
        assert kit.wait_for(lambda: states(node) == {State.DONE: 4})
        assert kit.wait_for(lambda: "carpal_delivery_failures_total{" in node.metrics.render({}))
        again = kit.Pacs(pacs.port)
        try:
            assert kit.wait_for(lambda: states(node) == {State.DELIVERED: 4})
            assert again.received == {f"{kit.ROOT}.4.{n}": 1 for n in range(4)}
        finally:
            again.close()


def test_a_pacs_that_refuses_is_asked_again(config: NodeConfig, pacs: kit.Pacs) -> None:
    pacs.status = 0xA700
    with kit.running(config) as node:
        kit.send(node.port, [kit.radiograph(1)])
        assert kit.wait_for(lambda: "carpal_delivery_failures_total{" in node.metrics.render({}))
        pacs.status = 0
        assert kit.wait_for(lambda: states(node) == {State.DELIVERED: 1})


class Told(kit.InstantReader):
    """Answers what the number at the end of the instance UID says."""

    def read(self, payload: Path, instance: str, known_pixels: list[str]) -> Answer:
        if instance.endswith(".1"):
            files = super().read(payload, instance, known_pixels).files
            return Answer(Outcome.REFUSED, "missing-sex", "no sex", {}, files)
        if instance.endswith(".2"):
            return Answer(Outcome.IGNORED, "no-route", "no route")
        return Answer(Outcome.FAILED, "no-backend", "no runtime")


def test_refused_gets_a_report_ignored_gets_none_failed_ends_dead(config: NodeConfig, pacs: kit.Pacs) -> None:
    with kit.running(config, Told) as node:
        kit.send(node.port, [kit.radiograph(n) for n in (1, 2, 3)])
        assert kit.wait_for(lambda: states(node) == {State.REJECTED: 2, State.DEAD: 1})
        assert kit.wait_for(lambda: Outbox(node.jobs).counts()["sent"] == 1)
        codes = {job.meta["instance"][-1]: job.code for job in node.jobs.latest()}
        assert codes == {"1": "missing-sex", "2": "no-route", "3": "no-backend"}
        assert kit.send(node.port, [kit.radiograph(3)]) == [0], "sent again, a dead one is read again"
        assert kit.wait_for(lambda: node.jobs.latest(State.DEAD) != [] and node.jobs.latest(State.DEAD)[0].tries == 3)
    assert pacs.received == {f"{kit.ROOT}.4.1": 1}


def test_no_log_audit_or_metric_line_holds_patient_data(config: NodeConfig, log: StringIO) -> None:
    with kit.running(config, Told) as node:
        kit.send(node.port, [kit.radiograph(n) for n in (1, 2, 3)])
        assert kit.wait_for(lambda: states(node) == {State.REJECTED: 2, State.DEAD: 1})
        pages = node.metrics.render(node.gauges()) + json.dumps(node.state())
    written = log.getvalue() + node.audit.path.read_text() + pages
    assert "missing-sex" in written
    assert all(json.loads(line)["event"] for line in log.getvalue().splitlines())
    assert [word for word in ("Planted", "PLANTED", "20260101") if word in written] == []


def test_storage_commitment_is_answered_in_an_association_of_our_own(config: NodeConfig, tmp_path: Path) -> None:
    answers: list[tuple[int, Dataset]] = []
    entity = AE("TESTER")
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)

    def reported(event: Any) -> tuple[int, None]:
        answers.append((event.event_type, event.event_information))
        return 0, None

    server: Any = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, reported)])
    port = server.server_address[1]
    text = (tmp_path / "node.toml").read_text()
    (tmp_path / "node.toml").write_text(
        text.replace('ae_title = "TESTER"', f'ae_title = "TESTER"\nhost = "127.0.0.1"\nport = {port}')
    )
    with kit.running(load(tmp_path / "node.toml")) as node:
        kit.send(node.port, [kit.radiograph(1)])
        assert ask_commitment(node.port, [kit.radiograph(1), kit.radiograph(2)]) == 0
        assert kit.wait_for(lambda: bool(answers))
    server.shutdown()
    [(kind, answer)] = answers
    assert (kind, answer.TransactionUID) == (2, f"{kit.ROOT}.9")
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == [f"{kit.ROOT}.1.1"]
    assert [(i.ReferencedSOPInstanceUID, i.FailureReason) for i in answer.FailedSOPSequence] == [
        (f"{kit.ROOT}.1.2", 0x112)
    ]


def ask_commitment(port: int, datasets: list[Dataset]) -> int:
    """The status of an N-ACTION for these objects."""
    asked = Dataset()
    asked.TransactionUID, asked.ReferencedSOPSequence = f"{kit.ROOT}.9", []
    for dataset in datasets:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
        asked.ReferencedSOPSequence.append(item)
    entity = AE("TESTER")
    entity.add_requested_context(StorageCommitmentPushModel, ExplicitVRLittleEndian)
    roles: Any = [build_role(StorageCommitmentPushModel, scu_role=True)]
    association = entity.associate("127.0.0.1", port, ae_title="CARPAL", ext_neg=roles)
    status, _ = association.send_n_action(asked, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1")
    association.release()
    return int(status.Status)


def test_health_and_metrics_answer_on_loopback(tmp_path: Path, pacs: kit.Pacs) -> None:
    port = tools.free_port()
    path = kit.write_config(tmp_path / "node.toml", pacs.port)
    path.write_text(path.read_text().replace("[health]\nport = 0", f"[health]\nport = {port}"))
    with kit.running(load(path)) as node:
        kit.send(node.port, [kit.radiograph(1)])
        assert kit.wait_for(lambda: states(node) == {State.DELIVERED: 1})
        for line in ('carpal_delivered_total{destination="pacs"} 1', "carpal_read_seconds_count 1"):
            assert kit.wait_for(lambda line=line: line in node.metrics.render({})), "it is counted after it is noted"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
            assert json.load(answer)["jobs"]["delivered"] == 1
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            page = answer.read().decode()
        assert 'carpal_delivered_total{destination="pacs"} 1' in page
        assert 'carpal_read_seconds_bucket{le="+Inf"} 1' in page
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/jobs")


def test_a_second_node_in_the_same_folder_and_a_taken_port_are_named(config: NodeConfig, tmp_path: Path) -> None:
    with kit.running(config) as node:
        with pytest.raises(NodeError, match="another node works"):
            Node(config, kit.InstantReader, kit.MODEL)
        other = kit.write_config(tmp_path / "other.toml", 104, node.port)
        other.write_text(other.read_text().replace(f'"{tmp_path / "node"}"', f'"{tmp_path / "other"}"'))
        second = Node(load(other), kit.InstantReader, kit.MODEL)
        with pytest.raises(NodeError, match="cannot be opened"):
            second.start()
        second.stop()
