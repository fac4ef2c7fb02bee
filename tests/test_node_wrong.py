"""What hospital IT gets wrong: a title, an address, a name of a host. The log and `carpal doctor` say what to mend."""

from __future__ import annotations

import contextlib
import json
import socket
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification

import node_fixtures
import node_kit as kit
import tools
from carpal.node import doctor, scu
from carpal.node.config import NodeConfig, load
from carpal.queue.jobs import Jobs, State

pytestmark = pytest.mark.slow

pacs, config, log = node_fixtures.pacs, node_fixtures.config, node_fixtures.log
NO_HOST = "a..b"
"""No name server is asked for it."""


def told(log: StringIO, event: str) -> list[dict[str, Any]]:
    """The log's lines about it."""
    return [line for line in map(json.loads, log.getvalue().splitlines()) if line["event"] == event]


def fault(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What doctor says of the archive, the only one that is amiss."""
    monkeypatch.setattr(doctor, "open_engine", kit.fake_network)
    (path.parent / "node").mkdir(mode=0o700, exist_ok=True)
    (path.parent / "node").chmod(0o700)
    [finding] = [found for found in doctor.examine(path) if not found.ok]
    assert finding.check == "peer pacs"
    return finding.text


def test_a_sender_s_wrong_titles_and_addresses_stand_in_the_log(config: NodeConfig, log: StringIO) -> None:
    with kit.running(config) as node:
        assert not kit.echo(node.port, "TESTR")
        [line] = told(log, "association-refused")
        assert (line["ae_title"], line["address"]) == ("TESTR", "127.0.0.1")
        assert "no [[peer]] has this AE title at this address" in line["message"]
        entity = AE("TESTER")
        entity.add_requested_context(Verification)
        assert entity.associate("127.0.0.1", node.port, ae_title="KARPAL").is_rejected
        assert kit.wait_for(lambda: len(told(log, "association-refused")) == 2)
        line = told(log, "association-refused")[1]
        assert (line["called"], "we are CARPAL" in line["message"]) == ("KARPAL", True)
        for _ in range(3):
            stranger = socket.create_connection(("127.0.0.1", node.port), 5, ("127.0.0.2", 0))
            with stranger, contextlib.suppress(ConnectionError):
                assert stranger.recv(1) == b""
        [line] = told(log, "hung-up")
        assert line["address"] == "127.0.0.2", "told once"


@pytest.mark.parametrize("wrong", ["the archive's title", "our title"])
def test_doctor_says_whose_title_the_archive_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    archive = AE("ARCHIVE" if wrong == "the archive's title" else "PACS")
    archive.require_called_aet = True
    archive.require_calling_aet = ["KARPAL"] if wrong == "our title" else []
    archive.add_supported_context(Verification)
    server = archive.start_server(("127.0.0.1", 0), block=False)
    try:
        text = fault(kit.write_config(tmp_path / "node.toml", server.server_address[1]), monkeypatch)
    finally:
        server.shutdown()
    wanted = (
        "it does not know CARPAL - enter that AE title" if wrong == "our title" else "correct ae_title in its [[peer]]"
    )
    assert wanted in text


def test_doctor_names_a_host_that_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kit.write_config(tmp_path / "node.toml", 104)
    path.write_text(path.read_text().replace('host = "127.0.0.1"', f'host = "{NO_HOST}"'))
    assert f"the host {NO_HOST} is not known here" in fault(path, monkeypatch)


@pytest.mark.parametrize("failure", ["unknown host", "what nobody thought of"])
def test_a_destination_that_always_fails_holds_up_no_other(
    tmp_path: Path, pacs: kit.Pacs, log: StringIO, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    first = f'[[peer]]\nname = "first"\nae_title = "FIRST"\nhost = "{NO_HOST}"\nport = 104\nresults = true\n[[peer]]\n'
    path = kit.write_config(tmp_path / "node.toml", pacs.port)
    path.write_text(path.read_text().replace("[[peer]]\n", first, 1))
    store = scu.store

    def broken(config: NodeConfig, peer: Any, files: Any) -> Any:
        if peer.name == "first":
            raise ZeroDivisionError
        return store(config, peer, files)

    if failure != "unknown host":
        monkeypatch.setattr(scu, "store", broken)
    with kit.running(load(path)) as node:
        assert kit.send(node.port, [kit.radiograph(n) for n in range(3)]) == [0, 0, 0]
        assert kit.wait_for(lambda: len(pacs.received) == 3)
        assert kit.wait_for(lambda: len(told(log, "delivery-failed")) >= 6), "it is tried again"
        assert node.jobs.counts()[State.DONE] == 3
    assert told(log, "sender-failed") == []
    assert {line["destination"] for line in told(log, "delivery-failed")} == {"first"}


def test_doctor_counts_what_fitted_no_route(config: NodeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "open_engine", kit.fake_network)
    with Jobs(config.node.folder, config.queue_limits()) as jobs:
        jobs.put(b"knee", "1.2:0:0", "dicom", "S", {"instance": "1.2"})
        job = jobs.lease("w", 60, ("dicom",))
        assert job is not None
        jobs.reject(job, "no-route", "it fits no [[route]]")
    [queue] = [found for found in doctor.examine(config.node.folder.parent / "node.toml") if found.check == "queue"]
    assert queue.ok
    assert "1 objects fitted no [[route]] (no-route in the audit log)" in queue.text


def test_doctor_asks_the_node_itself_where_a_proxy_is_set(
    tmp_path: Path, pacs: kit.Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "open_engine", kit.fake_network)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    path, port = kit.write_config(tmp_path / "node.toml", pacs.port), tools.free_port()
    path.write_text(path.read_text().replace("[health]\nport = 0", f"[health]\nport = {port}"))
    with kit.running(load(path)):
        [found] = [found for found in doctor.examine(path) if found.check == "port"]
    assert found.text.startswith("the node runs")
