"""Storage commitment as an SCU: a result is delivered once the archive has committed to it, however it says so."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import archive_kit
import node_fixtures
import node_kit as kit
from carpal.errors import NodeError
from carpal.node import delivery as sender
from carpal.node import doctor, scu
from carpal.node.app import Node
from carpal.node.committer import Commitments
from carpal.node.config import NodeConfig, load
from carpal.queue.jobs import Clock, Jobs, Limits, State
from carpal.queue.outbox import Delivery, Outbox

pytestmark = pytest.mark.slow

FIRST, SECOND = (kit.report_uid(f"{kit.ROOT}.1.{n}") for n in (1, 2))


_quiet = node_fixtures.log


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "IDLE_SECONDS", 0.05)


@pytest.fixture
def archive() -> Iterator[archive_kit.Archive]:
    made = archive_kit.Archive()
    yield made
    made.close()


def config_for(folder: Path, archive: archive_kit.Archive, seconds: float = 600, port: int = 0) -> NodeConfig:
    path = kit.write_config(folder / "node.toml", archive.port, port)
    text = path.read_text().replace("results = true", 'results = true\ncommitment = true\naddresses = ["127.0.0.1/32"]')
    path.write_text(text.replace("[results]", f"[results]\ncommitment_seconds = {seconds}"))
    return load(path)


def delivered(node: Node, number: int) -> bool:
    return kit.wait_for(lambda: node.jobs.counts()[State.DELIVERED] == number)


def audited(node: Node, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in node.audit.path.read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


@pytest.mark.parametrize("how", ["same", "other"])
def test_a_result_is_delivered_once_the_archive_has_committed_to_it(
    tmp_path: Path, archive: archive_kit.Archive, how: str
) -> None:
    archive.how = how
    with kit.running(config_for(tmp_path, archive)) as node:
        archive.node_port = node.port
        assert kit.send(node.port, [kit.radiograph(1), kit.radiograph(2)]) == [0, 0]
        assert delivered(node, 2)
        assert kit.wait_for(lambda: archive.answers == [0] * len(archive.asked)), "each report was answered"
        assert archive.received == {FIRST: 1, SECOND: 1}
        assert sorted(uid for _, uids in archive.asked for uid in uids) == [FIRST, SECOND]
        assert Outbox(node.jobs).counts() == {"waiting": 0, "uncommitted": 0, "sent": 2, "dead": 0}
        assert kit.wait_for(lambda: len(audited(node, "delivered")) == 2)
        page = node.metrics.render(node.gauges())  # what is counted was counted before it was audited
        assert {line["commitment"] for line in audited(node, "delivered")} == {uid for uid, _ in archive.asked}
        assert [len(audited(node, event)) for event in ("stored", "commitment-requested")] == [2, len(archive.asked)]
    assert 'carpal_commitments_total{destination="pacs",outcome="held"} 2' in page
    assert 'carpal_deliveries{state="uncommitted"} 0' in page


def test_what_the_archive_does_not_hold_is_sent_again(tmp_path: Path, archive: archive_kit.Archive) -> None:
    archive.reason = lambda uid: 0x0112 if uid == FIRST and archive.received[uid] == 1 else 0
    with kit.running(config_for(tmp_path, archive)) as node:
        kit.send(node.port, [kit.radiograph(1), kit.radiograph(2)])
        assert delivered(node, 2)
        assert kit.wait_for(lambda: len(audited(node, "delivered")) == 2)
        [failed] = audited(node, "commitment-failed")
        assert (failed["reason"], failed["dead"]) == ("0x0112", False)
        assert 'outcome="again"} 1' in node.metrics.render({})
    assert archive.received == {FIRST: 2, SECOND: 1}


def test_a_class_that_the_archive_never_commits_to_is_dead_with_its_reason(
    tmp_path: Path, archive: archive_kit.Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.reason = lambda uid: 0x0122 if uid == FIRST else 0
    with kit.running(config_for(tmp_path, archive)) as node:
        kit.send(node.port, [kit.radiograph(1), kit.radiograph(2)])
        assert kit.wait_for(lambda: Outbox(node.jobs).counts()["dead"] == 1)
        assert delivered(node, 1)
        with node.jobs.transaction() as db:
            [(message,)] = db.execute("SELECT message FROM deliveries WHERE state = 'dead'").fetchall()
    assert message == "pacs does not commit to the object: class not supported (0x0122) - see its log"
    assert archive.received == {FIRST: 1, SECOND: 1}
    monkeypatch.setattr(doctor, "open_engine", kit.fake_network)
    [queue] = [finding for finding in doctor.examine(tmp_path / "node.toml") if finding.check == "queue"]
    assert not queue.ok


@pytest.mark.parametrize("how", ["never", "refuse"])
def test_an_archive_that_does_not_answer_is_asked_again_and_nothing_is_sent_twice(
    tmp_path: Path, archive: archive_kit.Archive, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(scu, "REPORT_SECONDS", 0.01)
    archive.how = how
    with kit.running(config_for(tmp_path, archive, seconds=0.1)) as node:
        archive.node_port = node.port
        kit.send(node.port, [kit.radiograph(1)])
        assert kit.wait_for(lambda: len(archive.asked) >= 2)
        assert node.jobs.counts()[State.DONE] == 1, "stored is not delivered"
        archive.how = "other"
        assert delivered(node, 1)
    transactions = [uid for uid, _ in archive.asked]
    assert len(set(transactions)) == len(transactions)
    assert archive.received == {FIRST: 1}


def test_a_late_report_counts_also_after_a_restart(
    tmp_path: Path, archive: archive_kit.Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scu, "REPORT_SECONDS", 0.01)
    archive.how = "never"
    config = config_for(tmp_path, archive)
    with kit.running(config) as node:
        kit.send(node.port, [kit.radiograph(1)])
        assert kit.wait_for(lambda: len(archive.asked) == 1)
    with kit.running(config) as node:
        assert Outbox(node.jobs).counts()["uncommitted"] == 1
        archive.node_port = node.port
        assert archive.report("1.2.3", [FIRST]) == 0, "an unknown transaction changes nothing"
        assert Outbox(node.jobs).counts()["uncommitted"] == 1
        assert archive.report(*archive.asked[0]) == 0
        assert node.jobs.counts()[State.DELIVERED] == 1
        assert archive.report(*archive.asked[0]) == 0, "told twice"
    assert (len(archive.asked), archive.received) == (1, {FIRST: 1})


def test_a_report_that_is_none_is_refused(tmp_path: Path, archive: archive_kit.Archive) -> None:
    with kit.running(config_for(tmp_path, archive)) as node:
        report, _ = archive.report_of("1.2.3", [FIRST])
        assert archive_kit.send_report(node.port, report, 3) == 0x0113
        del report.TransactionUID
        assert archive_kit.send_report(node.port, report, 1) == 0x0110


def test_switched_off_what_is_stored_counts_as_delivered(
    tmp_path: Path, archive: archive_kit.Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scu, "REPORT_SECONDS", 0.01)
    archive.how = "never"
    config = config_for(tmp_path, archive, seconds=0.1)
    with kit.running(config) as node:
        kit.send(node.port, [kit.radiograph(1)])
        assert kit.wait_for(lambda: len(archive.asked) >= 1)
    peers = tuple(dataclasses.replace(peer, commitment=False) for peer in config.peer)
    with kit.running(dataclasses.replace(config, peer=peers)) as node:
        assert delivered(node, 1)
        assert kit.wait_for(lambda: [line["commitment"] for line in audited(node, "delivered")] == [None])


def test_an_archive_without_commitment_is_named(tmp_path: Path) -> None:
    pacs = kit.Pacs()
    config = config_for(tmp_path, pacs)  # type: ignore[arg-type]
    with pytest.raises(NodeError, match="pacs takes no requests for storage commitment"):
        scu.echo(config, config.peer[1])
    pacs.close()
    assert "may report" not in doctor._config(config)
    peers = tuple(dataclasses.replace(peer, addresses=()) for peer in config.peer[1:])
    said = doctor._config(dataclasses.replace(config, peer=(config.peer[0], *peers)))
    assert "pacs may report on a commitment only in our own association: no addresses" in said


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Callable[[], tuple[Jobs, Delivery, node_fixtures.Steady]]]:
    """A result that its archive has stored, in a queue whose clock the test sets."""
    steady = node_fixtures.Steady()
    limits = Limits(min_free=0, first_delay=60, longest_delay=3600, give_up_after=7200)
    with Jobs(tmp_path, limits, Clock(steady=steady)) as jobs:
        jobs.put(b"pixels", "1.2.3", "dicom", "S")
        job = jobs.lease("w", 60, ("dicom",))
        assert job is not None
        jobs.finish(job, {}, {"sr.dcm": b"report"}, ["pacs"])
        steady.seconds += 7000  # the archive was away for nearly as long as it may
        [delivery] = Outbox(jobs).lease(60)
        Outbox(jobs).stored(delivery)
        yield lambda: (jobs, Commitments(jobs).ready()[0], steady)


def test_the_time_for_a_commitment_begins_when_the_object_is_stored_and_ends(
    stored: Callable[[], tuple[Jobs, Delivery, node_fixtures.Steady]],
) -> None:
    jobs, delivery, steady = stored()
    commitments, outcomes = Commitments(jobs), []
    for number in range(30):
        due = commitments.ready()
        if due:
            commitments.ask(f"1.2.{number}", [(due[0], "9.9")], 600)
        steady.seconds += 700
        outcomes += [each.outcome for each in commitments.overdue(600, "no report")]
        steady.seconds += 60
    assert set(outcomes[:-1]) == {"again"}
    assert (outcomes[-1], Outbox(jobs).counts()["dead"], delivery.tries) == ("dead", 1, 0)
    assert 4 <= len(outcomes) <= 8, "asked ever more rarely, for two hours"


@pytest.mark.parametrize(
    ("reason", "state"), [(0x0131, "stored"), (0x0110, "waiting"), (0x0213, "waiting"), (0x0119, "dead")]
)
def test_each_reason_has_its_consequence(
    stored: Callable[[], tuple[Jobs, Delivery, node_fixtures.Steady]], reason: int, state: str
) -> None:
    jobs, delivery, _ = stored()
    commitments = Commitments(jobs)
    commitments.ask("1.2.3", [(delivery, "9.9")], 600)
    assert commitments.report("1.2.3", [], {"8.8": reason}) == [], "of another object"
    [told] = commitments.report("1.2.3", [], {"9.9": reason})
    with jobs.transaction() as db:
        [row] = db.execute("SELECT state, tries, due FROM deliveries").fetchall()
    assert (row["state"], row["tries"], row["due"] - jobs.now()) == (state, 1, pytest.approx(60))
    assert told.outcome == ("dead" if state == "dead" else "again")


def test_a_report_on_what_was_there_before_does_not_count_for_what_was_sent_again(
    stored: Callable[[], tuple[Jobs, Delivery, node_fixtures.Steady]],
) -> None:
    jobs, delivery, steady = stored()
    commitments, outbox = Commitments(jobs), Outbox(jobs)
    commitments.ask("1.2.3", [(delivery, "9.9")], 600)
    commitments.report("1.2.3", [], {"9.9": 0x0112})
    assert commitments.report("1.2.3", ["9.9"], {}) == []
    steady.seconds += 60
    outbox.stored(outbox.lease(60)[0])
    assert commitments.report("1.2.3", ["9.9"], {}) == []
    assert outbox.counts()["uncommitted"] == 1
