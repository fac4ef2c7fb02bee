"""One SOP instance UID, several objects: the same content is one job, a corrected header is read, a picture stands."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

import node_fixtures
import node_kit as kit
from carpal.node import doctor
from carpal.node.app import Node, reading_id
from carpal.node.audit import Audit
from carpal.node.config import NodeConfig, load
from carpal.node.monitoring import Metrics
from carpal.node.scp import split_committed
from carpal.node.worker import Worker
from carpal.quality.site import Check, Line, Site, read_site
from carpal.queue.jobs import Job, Jobs, State
from carpal.queue.outbox import prune
from carpal.types import ModelId, Radiograph, Sex

pytestmark = pytest.mark.slow

_quiet = node_fixtures.log


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    return load(kit.write_config(tmp_path / "node.toml", 104))


@pytest.fixture
def jobs(config: NodeConfig) -> Iterator[Jobs]:
    with Jobs(config.node.folder, config.queue_limits()) as opened:
        yield opened


class Asked(kit.InstantReader):
    """Keeps the hashes that it is told."""

    known: list[str] | None = None

    def read(self, payload: Path, instance: str, known_pixels: list[str]) -> kit.Answer:
        self.known = known_pixels
        return super().read(payload, instance, known_pixels)


def worker(config: NodeConfig, jobs: Jobs) -> tuple[Worker, Asked]:
    reader = Asked()
    audit = Audit(config.node.folder / "audit.jsonl")
    return Worker("one", config, jobs, reader, audit, Metrics(), kit.MODEL), reader


def put(jobs: Jobs, name: str, number: int = 1) -> Job:
    payload = kit.as_bytes(kit.radiograph(number, SeriesDescription=name))
    instance = f"{kit.ROOT}.1.{number}"
    return jobs.put(payload, f"{instance}:{name}:model", "dicom", "S", {"instance": instance})


def leased(jobs: Jobs) -> Job:
    job = jobs.lease("other", 60, ("dicom",))
    assert job is not None
    return job


def test_a_second_object_waits_until_the_first_is_settled(config: NodeConfig, jobs: Jobs) -> None:
    first, second = put(jobs, "a"), put(jobs, "b")
    in_hand = leased(jobs)
    assert in_hand.id == first.id
    working, reader = worker(config, jobs)
    assert working.step()
    assert (reader.asked, jobs.get(second.id).state, jobs.get(second.id).tries) == ([], State.QUEUED, 0)
    jobs.finish(in_hand, {"pixels": "p", "picture": "q"})
    assert kit.wait_for(lambda: working.step() and bool(reader.asked))
    assert reader.known == ["p", "q"]
    assert jobs.get(second.id).state is State.DONE


def test_others_do_not_wait(config: NodeConfig, jobs: Jobs) -> None:
    put(jobs, "a")
    leased(jobs)
    put(jobs, "b")
    other = put(jobs, "c", number=2)
    working, reader = worker(config, jobs)
    while not reader.asked:
        assert working.step()
    assert reader.asked == [other.meta["instance"]]


@pytest.mark.parametrize("code", ["duplicate-uid", "other-uid"])
def test_pixels_that_are_not_of_this_instance_do_not_count(config: NodeConfig, jobs: Jobs, code: str) -> None:
    put(jobs, "a")
    jobs.reject(leased(jobs), code, "", {"pixels": "p"})
    put(jobs, "b")
    working, reader = worker(config, jobs)
    assert working.step()
    assert reader.known == []


def test_what_died_and_comes_again_is_held_against_what_was_read_since(config: NodeConfig, jobs: Jobs) -> None:
    first = put(jobs, "a")
    jobs.fail(leased(jobs), "reader-died", "", fatal=True)
    put(jobs, "b")
    jobs.finish(leased(jobs), {"pixels": "p"})
    jobs.retry(first.id)
    working, reader = worker(config, jobs)
    assert working.step()
    assert reader.known == ["p"]


def test_another_picture_under_a_known_uid_is_kept_flagged_and_audited(
    tmp_path: Path, drawn_hand: Radiograph, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels_HW = drawn_hand.pixels_HW
    shape = {"Rows": pixels_HW.shape[0], "Columns": pixels_HW.shape[1]}
    first = kit.radiograph(1, **shape, PixelData=pixels_HW.tobytes())
    other = kit.radiograph(1, **shape, PixelData=np.ascontiguousarray(pixels_HW[::-1]).tobytes())
    corrected = kit.radiograph(1, **shape, PixelData=pixels_HW.tobytes(), PatientSex="M")
    pacs = kit.Pacs()
    path = kit.write_config(tmp_path / "node.toml", pacs.port)
    with kit.running(load(path), kit.FakeNetworkReader) as node:
        send_each(node, [first, other, corrected])
        assert states(node) == {"delivered": 2, "rejected": 1}
        assert len(pacs.received) == 2, "one for each sex that was stated, none of the other picture"
        send_each(node, [first, other, corrected])
        assert kit.wait_for(lambda: sorted(pacs.received.values()) == [2, 2]), "delivered again, the same objects"
        [rejected] = node.jobs.latest(State.REJECTED)
        assert (rejected.code, rejected.payload.exists()) == ("duplicate-uid", True)
        audited = [json.loads(line) for line in node.audit.path.read_text().splitlines()]
    assert [line["code"] for line in audited if line["event"] == "settled"] == [None, "duplicate-uid", None]
    pacs.close()
    monkeypatch.setattr(doctor, "open_engine", kit.fake_network)
    [queue] = [finding for finding in doctor.examine(path) if finding.check == "queue"]
    assert "1 objects reused the UID of another picture" in queue.text


def send_each(node: Node, datasets: list[Dataset]) -> None:
    for dataset in datasets:
        assert kit.send(node.port, [dataset]) == [0]
        assert kit.wait_for(lambda: not {"queued", "leased", "done"} & set(states(node)))


def states(node: Node) -> dict[str, int]:
    return {str(state): number for state, number in node.jobs.counts().items() if number}


def test_with_another_calibration_or_rule_for_the_sex_a_study_is_read_anew(config: NodeConfig, tmp_path: Path) -> None:
    line = Line(shift=5, slope=0, centre=120, low=60, high=180, n=40)
    site = Site("W", "2026-11-24", ModelId("m", "1", kit.MODEL), dict.fromkeys(Sex, line), Check(8, 6, 2, (1, 3)))
    (tmp_path / "site.json").write_text(site.as_text())

    def with_reading(**settings: str) -> NodeConfig:
        return dataclasses.replace(config, reading=dataclasses.replace(config.reading, **settings))  # type: ignore[arg-type]

    calibrated = with_reading(calibration=str(tmp_path / "site.json"))
    table = tmp_path / "ours.csv"
    rows = "".join(f"{sex},{age},{age},10\n" for sex in Sex for age in (12, 228))
    table.write_text(f"sex,age_months,mean_months,sd_months\n{rows}")
    others = (with_reading(unknown_sex="refuse"), with_reading(reference=str(table)))
    ids = [reading_id(each, kit.MODEL) for each in (config, calibrated, *others)]
    table.write_text(table.read_text().replace("12,12,10", "12,13,10"))
    ids.append(reading_id(others[1], kit.MODEL))
    assert len(set(ids)) == 5
    assert ids[0] == kit.MODEL, "queues from before go on"
    with kit.running(calibrated) as node:
        assert node.calibration == read_site(tmp_path / "site.json").label
    assert f'"calibration": "{node.calibration}"' in (config.node.folder / "audit.jsonl").read_text()


def test_only_what_is_still_held_is_committed(jobs: Jobs) -> None:
    put(jobs, "a")
    pairs = [("1.2", f"{kit.ROOT}.1.1"), ("1.2", f"{kit.ROOT}.1.2")]
    assert split_committed(jobs, pairs) == ([pairs[0]], [pairs[1]])
    jobs.reject(leased(jobs), "no-route", "")
    prune(jobs, 0)
    assert split_committed(jobs, pairs) == ([], pairs)
