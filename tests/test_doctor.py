"""`carpal doctor`: all is well, or each fault by name with what to do; and the watched folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import node_fixtures
import node_kit as kit
from carpal.cli import main
from carpal.inference import engine
from carpal.node import doctor
from carpal.node.config import Folder, NodeConfig, load
from carpal.node.folder import Watcher, instance_of
from carpal.queue.jobs import Jobs, State

pytestmark = pytest.mark.slow

pacs = node_fixtures.pacs


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "open_engine", kit.fake_network)


@pytest.fixture
def path(tmp_path: Path, pacs: kit.Pacs) -> Path:
    (tmp_path / "node").mkdir(mode=0o700)
    written = kit.write_config(tmp_path / "node.toml", pacs.port)
    written.write_text(written.read_text().replace("[health]\nport = 0", "[health]\nport = 1"))
    return written


def faults(path: Path) -> dict[str, str]:
    return {finding.check: finding.text for finding in doctor.examine(path) if not finding.ok}


def test_a_good_installation_is_called_one(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--config", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = [finding["check"] for finding in found]
    assert names == ["config", "folder", "weights", "codecs", "objects", "tls", "port", "audit", "queue", "peer pacs"]
    assert all(finding["ok"] for finding in found)


def test_faults_are_named_with_what_to_do(path: Path, pacs: kit.Pacs, capsys: pytest.CaptureFixture[str]) -> None:
    pacs.close()
    (path.parent / "node" / "audit.jsonl").write_text('{"n": 2}\n')
    (path.parent / "node").chmod(0o755)
    assert main(["doctor", "--config", str(path)]) == 4
    printed = capsys.readouterr().out
    assert [line.split()[1] for line in printed.splitlines() if line.startswith("FIX")] == ["folder", "audit", "peer"]
    for mend in ("chmod 700", "keep the file as evidence", "is it running, and does it know CARPAL?"):
        assert mend in printed


def test_a_broken_file_is_the_only_fault(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text("[node]\n")
    assert list(faults(tmp_path / "node.toml")) == ["config"]


def test_a_folder_that_is_missing_is_told_and_not_made(path: Path) -> None:
    (path.parent / "node").rmdir()
    assert "create it for the node's user" in faults(path)["folder"]
    assert not (path.parent / "node").exists()


def test_nobody_who_sends_or_receives_is_a_fault(path: Path) -> None:
    path.write_text(path.read_text().replace("results = true", ""))
    assert "results go nowhere" in faults(path)["config"]
    path.write_text(path.read_text().replace('addresses = ["127.0.0.1/32"]', ""))
    assert "nobody may send" in faults(path)["config"]


def test_dead_jobs_are_told(path: Path) -> None:
    config = load(path)
    with Jobs(config.node.folder, config.queue_limits()) as jobs:
        jobs.put(b"x", "1.2:0:0", "dicom", "S", {"instance": "1.2"})
        job = jobs.lease("w", 60, ("dicom",))
        assert job is not None
        jobs.fail(job, "reader-died", "killed", fatal=True)
    assert "reader-died" in faults(path)["queue"]


def test_a_taken_port_is_told(path: Path, pacs: kit.Pacs) -> None:
    path.write_text(path.read_text().replace("\nport = 0\n", f"\nport = {pacs.port}\n", 1))
    assert "stop what listens there" in faults(path)["port"]


@pytest.mark.parametrize("weights", ["{folder}/none.onnx", "{folder}/half.onnx", "no-such-network"])
def test_weights_that_are_missing_or_damaged_are_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], weights: str
) -> None:
    monkeypatch.setattr(doctor, "open_engine", engine.open_engine)
    weights = weights.format(folder=path.parent)
    (path.parent / "half.onnx").write_bytes(b"half of a network")
    path.write_text(path.read_text() + f'[reading]\nweights = "{weights}"\n')
    assert main(["doctor", "--config", str(path)]) == 4
    lines = capsys.readouterr().out.splitlines()
    [mend] = [line for line in lines if line.startswith("FIX")]
    assert mend.split()[1] == "weights", "and nothing else is amiss"
    assert Path(weights).name in mend


def test_a_disk_below_its_limit_is_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = path.read_text()
    free_mb = shutil.disk_usage(path.parent).free // 2**20
    path.write_text(text.replace("min_free_mb = 0", f"min_free_mb = {free_mb // 2}"))
    assert faults(path) == {}
    path.write_text(text.replace("min_free_mb = 0", f"min_free_mb = {free_mb * 2}"))
    assert main(["doctor", "--config", str(path)]) == 4
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("FIX")] == ["folder"]
    assert "the disk is full, objects are refused - free space, or lower" in faults(path)["folder"]


def watched(config: NodeConfig, folder: Path) -> NodeConfig:
    import dataclasses

    return dataclasses.replace(config, folder=(Folder(folder, 0.05),))


def test_files_in_a_watched_folder_are_read_and_moved(tmp_path: Path, pacs: kit.Pacs) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    config = watched(load(kit.write_config(tmp_path / "node.toml", pacs.port)), inbox)
    data = kit.as_bytes(kit.radiograph(1))
    (inbox / "hand; rm -rf.dcm").write_bytes(b"MZ" + data[2:])
    (inbox / "note.txt").write_text("not DICOM")
    (inbox / "link.dcm").symlink_to("/etc/passwd")
    with kit.running(config) as node:
        assert kit.wait_for(lambda: node.jobs.counts()[State.DELIVERED] == 1)
        [job] = node.jobs.latest()
        assert job.payload.read_bytes()[:132] == bytes(128) + b"DICM", "a preamble is never kept"
        assert kit.wait_for(lambda: (inbox / "refused" / "note.txt").exists())
    assert (inbox / "done" / "hand; rm -rf.dcm").exists()
    assert (inbox / "link.dcm").is_symlink()
    assert pacs.received == {f"{kit.ROOT}.4.1": 1}


def test_a_file_that_still_grows_is_left_alone(tmp_path: Path, pacs: kit.Pacs) -> None:
    with kit.running(load(kit.write_config(tmp_path / "node.toml", pacs.port))) as node:
        inbox = tmp_path / "inbox"
        inbox.mkdir()
        watcher = Watcher(node.config, Folder(inbox), node.receiver)
        data = kit.as_bytes(kit.radiograph(1))
        (inbox / "a.dcm").write_bytes(data[:-100])
        assert watcher.look() == 0
        (inbox / "a.dcm").write_bytes(data)
        assert watcher.look() == 0
        assert watcher.look() == 1


@pytest.mark.parametrize(
    "head", [b"", b"DICM", bytes(128) + b"DICM", bytes(128) + b"DICM\x02\x00\x03\x00UI\xff\xff../../x"]
)
def test_what_has_no_instance_uid_has_none(head: bytes) -> None:
    assert instance_of(head) is None
