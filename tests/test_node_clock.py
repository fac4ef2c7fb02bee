"""A wall clock that jumps by a day: nothing is read or sent twice, held up, or given up for it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import node_fixtures
import node_kit as kit
from carpal.node.committer import Commitments
from carpal.node.config import load
from carpal.queue.jobs import Clock, Jobs, Limits, State
from carpal.queue.outbox import Outbox

pytestmark = pytest.mark.slow

_quiet = node_fixtures.log
DAY = 86_400.0
JUMPS = (-DAY, -DAY / 2, DAY / 2, DAY)
KINDS = ("dicom",)
LIMITS = Limits(min_free=0, first_delay=60, longest_delay=3600, give_up_after=48 * 3600)


class Machine:
    """Its wall clock and its count since boot, in seconds."""

    def __init__(self) -> None:
        self.wall_seconds, self.steady_seconds = 1.8e9, 1000.0

    def clock(self) -> Clock:
        return Clock(lambda: self.wall_seconds, lambda: self.steady_seconds)

    def passes(self, seconds: float) -> None:
        self.wall_seconds += seconds
        self.steady_seconds += seconds

    def jumps(self, seconds: float) -> None:
        self.wall_seconds += seconds


@pytest.mark.parametrize("jump", JUMPS)
def test_a_running_queue_does_not_notice(tmp_path: Path, jump: float) -> None:
    machine = Machine()
    with Jobs(tmp_path, LIMITS, machine.clock()) as jobs:
        for key in ("read", "failed"):
            jobs.put(b"pixels", key, "dicom", "S")
        first, second = (jobs.lease("w", 300, KINDS) for _ in range(2))
        assert first is not None
        assert second is not None
        jobs.fail(second, "no-backend", "")
        machine.jumps(jump)
        assert jobs.lease("other", 300, KINDS) is None, "the lease stands, and the failed one waits for its minute"
        machine.passes(60)
        again = jobs.lease("other", 300, KINDS)
        assert again is not None
        assert again.id == second.id, "no later than without the jump"
        machine.passes(240)
        lost = jobs.lease("other", 300, KINDS)
        assert lost is not None
        assert lost.id == first.id, "a lease that was lost comes back in time, too"


@pytest.mark.parametrize("jump", JUMPS)
def test_a_delivery_is_neither_given_up_nor_tried_too_early_nor_too_late(tmp_path: Path, jump: float) -> None:
    machine = Machine()
    with Jobs(tmp_path, LIMITS, machine.clock()) as jobs:
        jobs.put(b"pixels", "1", "dicom", "S")
        job = jobs.lease("w", 300, KINDS)
        assert job is not None
        jobs.finish(job, {}, {"sr.dcm": b"report"}, ["PACS"])
        outbox = Outbox(jobs)
        machine.passes(30 * 3600)
        machine.jumps(jump)
        assert not outbox.failed(outbox.lease(600)[0], "away"), "30 hours are less than 48, whatever the clock says"
        assert outbox.lease(600) == []
        machine.passes(60)
        outbox.stored(outbox.lease(600)[0])
        commitments = Commitments(jobs)
        commitments.ask("1.2.3", [(commitments.ready()[0], "9.9")], 600)
        machine.jumps(jump)
        assert commitments.overdue(600, "") == []
        machine.passes(600)
        assert [each.outcome for each in commitments.overdue(600, "")] == ["again"]


@pytest.mark.parametrize("jump", JUMPS)
def test_after_a_restart_with_another_clock_nothing_is_held_up(tmp_path: Path, jump: float) -> None:
    """Only then can the times in the table be of another clock: those too far ahead count as past."""
    machine = Machine()
    with Jobs(tmp_path, LIMITS, machine.clock()) as jobs:
        for number in range(3):
            jobs.put(b"pixels", f"{number}", "dicom", "S")
        leased = [jobs.lease("w", 300, KINDS) for _ in range(2)]
        assert leased[0] is not None
        jobs.finish(leased[0], {}, {"sr.dcm": b"report", "capture.dcm": b"picture"}, ["PACS"])
        outbox = Outbox(jobs)
        outbox.stored(outbox.lease(600, limit=1)[0])
        commitments = Commitments(jobs)
        commitments.ask("1.2.3", [(commitments.ready()[0], "9.9")], 600)
        outbox.failed(outbox.lease(600)[0], "away")
    machine.jumps(jump)
    machine.passes(60)
    with Jobs(tmp_path, LIMITS, machine.clock()) as jobs:
        handed = [jobs.lease("other", 300, KINDS) for _ in range(2)]
        assert None not in handed
        assert len(Outbox(jobs).lease(600)) == 1
        assert len(Commitments(jobs).overdue(600, "")) == 1


@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_a_node_whose_clock_jumps_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    pacs = kit.Pacs()
    pacs.close()
    with kit.running(load(kit.write_config(tmp_path / "node.toml", pacs.port))) as node:
        assert kit.send(node.port, [kit.radiograph(1)]) == [0]
        assert kit.wait_for(lambda: "carpal_delivery_failures_total{" in node.metrics.render({}))
        wall = time.time
        monkeypatch.setattr(time, "time", lambda: wall() + jump)
        back = kit.Pacs(pacs.port)
        assert kit.send(node.port, [kit.radiograph(2)]) == [0]
        assert kit.wait_for(lambda: node.jobs.counts()[State.DELIVERED] == 2)
        assert len(node.readers[0].asked) == 2  # type: ignore[attr-defined]
    back.close()
    assert back.received == {f"{kit.ROOT}.4.{n}": 1 for n in (1, 2)}
