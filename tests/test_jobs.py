"""The queue: what `put` has returned survives, a key is one job, leases come back, failures end somewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from carpal.errors import NodeError, OutOfResources
from carpal.queue.jobs import Job, Jobs, Limits, State
from carpal.queue.outbox import Outbox

KINDS = ("dicom",)


@pytest.fixture
def jobs(tmp_path: Path) -> Any:
    with Jobs(tmp_path / "queue", Limits(min_free=0, first_delay=0.0)) as opened:
        yield opened


def put(jobs: Jobs, key: str = "1.2.3", payload: bytes = b"pixels") -> Job:
    return jobs.put(payload, key, "dicom", "SENDER@127.0.0.1", {"sop": key})


def leased(jobs: Jobs, seconds: float = 60) -> Job:
    job = jobs.lease("worker", seconds, KINDS)
    assert job is not None
    return job


def test_a_job_goes_from_queued_to_delivered(jobs: Jobs) -> None:
    assert put(jobs).state is State.QUEUED
    job = leased(jobs)
    assert (job.payload.read_bytes(), job.meta, job.state) == (b"pixels", {"sop": "1.2.3"}, State.LEASED)
    assert jobs.finish(job, {"months": 120.0}, {"sr.dcm": b"report"}, ["PACS"])
    outbox = Outbox(jobs)
    [delivery] = outbox.lease(60)
    assert (delivery.destination, delivery.path.read_bytes()) == ("PACS", b"report")
    assert jobs.get(job.id).state is State.DONE
    outbox.sent(delivery)
    assert (jobs.get(job.id).state, jobs.get(job.id).result) == (State.DELIVERED, {"months": 120.0})
    assert outbox.counts() == {"waiting": 0, "uncommitted": 0, "sent": 1, "dead": 0}


def test_the_same_key_is_the_same_job(jobs: Jobs) -> None:
    first, second = put(jobs), put(jobs)
    assert (first.id, first.state, first.created) == (second.id, second.state, second.created)
    assert (first.is_new, second.is_new) == (True, False)
    assert put(jobs, "4.5.6").id != first.id
    assert jobs.find("4.5.6") is not None
    assert jobs.find("7.8.9") is None


def test_one_key_put_by_ten_threads_at_once_is_new_once(jobs: Jobs) -> None:
    found: list[Job] = []
    threads = [threading.Thread(target=lambda: found.append(put(jobs))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(job.is_new for job in found) == [False] * 9 + [True]


def test_a_leased_job_is_nobody_elses(jobs: Jobs) -> None:
    put(jobs)
    leased(jobs)
    assert jobs.lease("other", 60, KINDS) is None
    assert jobs.lease("other", 60, ("web",)) is None


def test_a_lease_that_ran_out_is_handed_out_again_and_the_late_answer_refused(jobs: Jobs) -> None:
    put(jobs)
    late = leased(jobs, seconds=-1)
    again = jobs.lease("other", 60, KINDS)
    assert again is not None
    assert (again.id, again.interrupted) == (late.id, 1)
    assert not jobs.finish(late, {}, {"sr.dcm": b"late"}, ["PACS"])
    assert Outbox(jobs).lease(60) == []
    assert jobs.finish(again, {})


def test_a_job_that_always_ends_its_process_dies(tmp_path: Path) -> None:
    with Jobs(tmp_path, Limits(min_free=0, max_interrupted=3)) as jobs:
        put(jobs)
        for _ in range(3):
            leased(jobs)
            assert jobs.release("worker") == 1
        assert jobs.lease("worker", 60, KINDS) is None
        [job] = jobs.latest(State.DEAD)
        assert job.code == "interrupted"


def test_failures_wait_longer_each_time_and_end_in_dead(tmp_path: Path) -> None:
    limits = Limits(min_free=0, max_tries=3, first_delay=100, longest_delay=150)
    assert [limits.delay(n) for n in (1, 2, 3)] == [100, 150, 150]
    with Jobs(tmp_path, limits) as jobs:
        put(jobs)
        assert jobs.fail(leased(jobs), "no-backend", "no runtime")
        assert jobs.lease("worker", 60, KINDS) is None
        waiting = jobs.latest(State.QUEUED)[0]
        assert 90 < waiting.due - time.time() <= 100
        jobs.retry(waiting.id)  # not settled: nothing happens
        assert jobs.get(waiting.id).tries == 1


def test_dead_and_rejected_state_their_reason_and_can_be_retried(jobs: Jobs) -> None:
    put(jobs, "dead")
    jobs.fail(leased(jobs), "reader-died", "the reader was killed", fatal=True)
    put(jobs, "rejected")
    jobs.reject(leased(jobs), "missing-sex", "no sex", files={"sr.dcm": b"refusal"}, destinations=["PACS"])
    counts = jobs.counts()
    assert (counts[State.DEAD], counts[State.REJECTED], counts[State.QUEUED]) == (1, 1, 0)
    assert [job.code for job in jobs.latest()] == ["missing-sex", "reader-died"]
    assert len(Outbox(jobs).lease(60)) == 1
    assert all(jobs.retry(job.id).state is State.QUEUED for job in jobs.latest())


def test_full_means_refused_and_nothing_left_behind(tmp_path: Path) -> None:
    with Jobs(tmp_path, Limits(min_free=0, max_waiting=2, max_payload=10)) as jobs:
        with pytest.raises(OutOfResources, match="max_object_mb"):
            put(jobs, payload=b"x" * 11)
        put(jobs, "1")
        put(jobs, "2")
        with pytest.raises(OutOfResources, match="2 jobs are waiting"):
            put(jobs, "3")
    with Jobs(tmp_path, Limits(min_free=2**60)) as jobs:
        with pytest.raises(OutOfResources, match="disk"):
            put(jobs, "4")
        partial = jobs.spool.partial / "received"
        partial.write_bytes(b"pixels")
        with pytest.raises(OutOfResources):
            jobs.put(partial, "5", "dicom", "S")
        assert list(jobs.spool.partial.iterdir()) == []
    with Jobs(tmp_path, Limits(min_free=0)) as jobs:  # room again: it recovers by itself
        assert put(jobs, "4").is_new


def test_a_disk_error_is_named_and_leaves_no_row(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OutOfResources, match="Input/output error"):
        put(jobs)
    assert sum(jobs.counts().values()) == 0


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "queue").write_text("")
    with pytest.raises(NodeError, match="cannot be opened"):
        Jobs(tmp_path / "queue")


def test_a_delivery_is_tried_again_then_dead_then_again_by_hand(tmp_path: Path) -> None:
    with Jobs(tmp_path, Limits(min_free=0, first_delay=0, give_up_after=0.05)) as jobs:
        put(jobs)
        job = leased(jobs)
        jobs.finish(job, {}, {"sr.dcm": b"report"}, ["PACS"])
        outbox = Outbox(jobs)
        assert not outbox.failed(outbox.lease(60)[0], "no answer")
        time.sleep(0.06)
        assert outbox.failed(outbox.lease(60)[0], "no answer")
        assert outbox.lease(60) == []
        assert outbox.again(job) == 1
        assert outbox.lease(-1)[0].path.read_bytes() == b"report"
        assert len(outbox.lease(60)) == 1, "a lost lease returns"


def test_sweep_removes_what_no_row_names(jobs: Jobs) -> None:
    kept = put(jobs)
    orphan = jobs.spool.incoming(jobs.spool.add(b"never acknowledged"))
    (jobs.spool.partial / "half").write_bytes(b"hal")
    assert jobs.spool.sweep({kept.sha256}) == 0, "young files stay"
    assert jobs.spool.sweep({kept.sha256}, older_than=-1) == 2
    assert kept.payload.is_file()
    assert not orphan.exists()


WRITER = """
import sys
from pathlib import Path
from carpal.queue.jobs import Jobs, Limits
with Jobs(Path(sys.argv[1]), Limits(min_free=0)) as jobs:
    for n in range(int(sys.argv[2]), 100_000):
        jobs.put(b"x" * 1000, f"{n}", "dicom", "S")
        print(n, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    said: list[int] = []
    for _ in range(3):
        start = str(len(said) + 1000 * len(said))
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), start], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        said += [int(writer.stdout.readline()) for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        said += [int(line) for line in writer.stdout.read().split(b"\n")[:-1] if line]
        writer.wait()
        writer.stdout.close()
    with Jobs(tmp_path, Limits(min_free=0)) as jobs:
        assert [n for n in said if jobs.find(str(n)) is None] == []
        assert all(job.payload.read_bytes() == b"x" * 1000 for job in jobs.latest())
