"""The node with tools that nobody here wrote: DCMTK as modality and archive, Orthanc as a PACS, DICOMweb, TLS."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

import node_fixtures
import node_kit as kit
import tools
from carpal.node import scu
from carpal.node.app import Node
from carpal.node.config import load
from carpal.queue.jobs import State
from carpal.types import Radiograph

pytestmark = pytest.mark.slow

_quiet = node_fixtures.log


@pytest.fixture
def hand_dcm(tmp_path: Path, drawn_hand: Radiograph) -> Path:
    pixels_HW = drawn_hand.pixels_HW
    path = tmp_path / "hand.dcm"
    shape = {"Rows": pixels_HW.shape[0], "Columns": pixels_HW.shape[1]}
    path.write_bytes(kit.as_bytes(kit.radiograph(1, **shape, PixelData=pixels_HW.tobytes())))
    return path


def delivered(node: Node, number: int) -> bool:
    return kit.wait_for(lambda: node.jobs.counts()[State.DELIVERED] == number)


def test_dcmtk_sends_and_its_archive_gets_one_report_each(tmp_path: Path) -> None:
    tools.tool("storescu")
    port = tools.free_port()
    files = [tmp_path / f"{n}.dcm" for n in range(3)]
    for number, path in enumerate(files):
        path.write_bytes(kit.as_bytes(kit.radiograph(number)))
    with tools.dcmqrscp(tmp_path / "pacs", port) as store:
        config = load(kit.write_config(tmp_path / "node.toml", port))
        with kit.running(config) as node:
            to = ("-aet", "TESTER", "-aec", "CARPAL", "127.0.0.1", str(node.port))
            assert tools.run("echoscu", *to).returncode == 0
            assert tools.run("echoscu", "-aet", "OTHER", "-aec", "CARPAL", "127.0.0.1", str(node.port)).returncode != 0
            assert tools.run("storescu", *to, *files).returncode == 0
            assert delivered(node, 3)
            assert tools.run("storescu", *to, *files).returncode == 0, "and again"
            assert kit.wait_for(lambda: 'destination="pacs"} 6' in node.metrics.render({}))
        stored = [dcmread(path) for path in sorted(store.glob("SR*"))]
    assert sorted(str(report.SOPInstanceUID) for report in stored) == [f"{kit.ROOT}.4.{n}" for n in range(3)]


def test_tls_wants_a_certificate_of_the_authority(tmp_path: Path) -> None:
    for name in ("echoscu", "openssl"):
        tools.tool(name)
    tools.certificates(tmp_path)
    tls = f'[tls]\ncertificate = "{tmp_path}/node.pem"\nkey = "{tmp_path}/node.key"\nca = "{tmp_path}/ca.pem"\n'
    pacs = kit.Pacs()
    with kit.running(load(kit.write_config(tmp_path / "node.toml", pacs.port, more=tls))) as node:

        def echo(*security: str | Path) -> int:
            to = ("-aet", "TESTER", "-aec", "CARPAL", "127.0.0.1", str(node.port))
            return tools.run("echoscu", "-to", "5", *security, *to).returncode

        authority = ("+cf", tmp_path / "ca.pem")
        assert echo("+tls", tmp_path / "sender.key", tmp_path / "sender.pem", *authority) == 0
        assert echo("+tls", tmp_path / "stranger.key", tmp_path / "stranger.pem", *authority) != 0
        assert echo("+tla", *authority) != 0, "no certificate"
        assert echo() != 0, "no TLS"
        with pytest.MonkeyPatch.context():  # a peer that stays silent during the handshake holds up nobody
            import socket

            with socket.create_connection(("127.0.0.1", node.port)) as silent:
                silent.sendall(b"\x16\x03\x01")
                assert echo("+tls", tmp_path / "sender.key", tmp_path / "sender.pem", *authority) == 0
    pacs.close()


def test_orthanc_routes_a_radiograph_to_the_node_and_shows_the_results(tmp_path: Path, hand_dcm: Path) -> None:
    tools.tool("Orthanc")
    port = tools.free_port()
    orthanc = tools.Orthanc(tmp_path / "orthanc", port)
    path = kit.write_config(tmp_path / "node.toml", orthanc.dicom, port)
    text = (
        path.read_text()
        .replace('addresses = ["127.0.0.1/32"]', "")
        .replace('objects = ["sr"]', 'objects = ["sr", "capture"]')
    )
    text = text.replace('ae_title = "PACS"', 'ae_title = "PACS"\naddresses = ["127.0.0.1/32"]')
    path.write_text(text)
    with orthanc.running(), kit.running(load(path), kit.FakeNetworkReader) as node:
        orthanc.call("/instances", hand_dcm.read_bytes())
        assert delivered(node, 1)
        assert kit.wait_for(lambda: orthanc.modalities() == ["DX", "OT", "SR"])
        [report] = [entry for entry in orthanc.call("/instances?expand") if is_report(orthanc, entry)]
        tags = orthanc.call(f"/instances/{report['ID']}/simplified-tags")
        assert (tags["PatientID"], tags["StudyInstanceUID"]) == ("PLANTED-ID", f"{kit.ROOT}.2.1")
        series = orthanc.call(f"/dicom-web/studies/{kit.ROOT}.2.1/series", accept="application/dicom+json")
        assert sorted(entry["00080060"]["Value"][0] for entry in series) == ["DX", "OT", "SR"]
        assert kit.wait_for(lambda: delivered_objects(node) == 2)
        before = instances(orthanc)
        radiograph = next(each for each, uid in before.items() if uid == f"{kit.ROOT}.1.1")
        orthanc.call("/modalities/carpal/store", radiograph.encode())  # POST /instances would end within Orthanc
        assert kit.wait_for(lambda: delivered_objects(node) == 4), "both results a second time"
        assert instances(orthanc) == before, "sent again, nothing is doubled"
        assert len(before) == 3
        assert node.jobs.counts()[State.DELIVERED] == 1


def test_orthanc_commits_to_the_results_that_it_holds(tmp_path: Path) -> None:
    """It reports in an association of its own, and proposes to be the SCP in it."""
    tools.tool("Orthanc")
    port = tools.free_port()
    orthanc = tools.Orthanc(tmp_path / "orthanc", port, route=False)
    path = kit.write_config(tmp_path / "node.toml", orthanc.dicom, port)
    text = path.read_text().replace("results = true", 'results = true\ncommitment = true\naddresses = ["127.0.0.1/32"]')
    path.write_text(text)
    with orthanc.running(), kit.running(load(path)) as node:
        scu.echo(node.config, node.config.peer[1])
        assert kit.send(node.port, [kit.radiograph(1), kit.radiograph(2)]) == [0, 0]
        assert delivered(node, 2)
        assert orthanc.modalities() == ["SR", "SR"]
        counted = 'carpal_commitments_total{destination="pacs",outcome="held"} 2'
        assert kit.wait_for(lambda: counted in node.metrics.render({})), "it is counted after the delivery is noted"


def delivered_objects(node: Node) -> int:
    """Result objects that the archive has acknowledged, each time anew."""
    found = re.search(r'carpal_delivered_total\{destination="pacs"\} (\d+)', node.metrics.render({}))
    return int(found[1]) if found else 0


def instances(orthanc: tools.Orthanc) -> dict[str, str]:
    """Orthanc's name of every instance that it holds, and its SOP instance UID."""
    return {entry["ID"]: entry["MainDicomTags"]["SOPInstanceUID"] for entry in orthanc.call("/instances?expand")}


def is_report(orthanc: tools.Orthanc, entry: dict[str, Any]) -> bool:
    return bool(orthanc.call(f"/instances/{entry['ID']}/simplified-tags")["Modality"] == "SR")


def test_dicomweb_pulls_new_radiographs_and_pushes_the_results(tmp_path: Path, hand_dcm: Path) -> None:
    tools.tool("Orthanc")
    orthanc = tools.Orthanc(tmp_path / "orthanc", 104, route=False)
    path = kit.write_config(tmp_path / "node.toml", orthanc.dicom)
    web = f'[[dicomweb]]\nname = "web"\nurl = "http://127.0.0.1:{orthanc.http}/dicom-web"\nresults = true\n'
    web += "pull_seconds = 0.5\npull_days = 9999\n"
    path.write_text(path.read_text().replace("results = true", "") + web)
    with orthanc.running(), kit.running(load(path)) as node:
        orthanc.call("/instances", hand_dcm.read_bytes())
        assert delivered(node, 1)
        assert kit.wait_for(lambda: orthanc.modalities() == ["DX", "SR"])
        [job] = node.jobs.latest()
        assert dcmread(job.payload).SOPInstanceUID == f"{kit.ROOT}.1.1"
        assert job.source == "web:web"
    assert len(node.readers[0].asked) == 1  # type: ignore[attr-defined]
