"""Results over TLS: to an archive that wants a certificate of the authority, to DCMTK's, and never to a stranger's."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

import node_fixtures
import node_kit as kit
import tools
from carpal.node import scu
from carpal.node.app import Node
from carpal.node.config import NodeConfig, load
from carpal.queue.jobs import State

pytestmark = pytest.mark.slow

_quiet = node_fixtures.log


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca, node and sender of that authority, and a stranger that signed itself."""
    tools.tool("openssl")
    folder = tmp_path_factory.mktemp("keys")
    tools.certificates(folder)
    return folder


def security(keys: Path, name: str) -> ssl.SSLContext:
    """What an archive with the certificate `name` asks of those who call it: one of the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / f"{name}.pem", keys / f"{name}.key")
    context.load_verify_locations(keys / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


class Archive(kit.Pacs):
    """Notes how each report came."""

    def __init__(self, keys: Path, name: str = "sender") -> None:
        self.came: list[tuple[str | None, Any]] = []
        super().__init__(security=security(keys, name))

    def _store(self, event: Any) -> int:
        connection = event.assoc.dul.socket.socket
        self.came.append((connection.version(), connection.getpeercert()["subject"][0][0][1]))
        return super()._store(event)


def config_of(folder: Path, keys: Path, port: int, tls: bool = True) -> NodeConfig:
    """Radiographs come from a watched folder; the node's own port wants TLS, too."""
    (folder / "inbox").mkdir()
    more = f'[[folder]]\npath = "{folder / "inbox"}"\nseconds = 0.05\n'
    more += f'[tls]\ncertificate = "{keys}/node.pem"\nkey = "{keys}/node.key"\nca = "{keys}/ca.pem"\n'
    path = kit.write_config(folder / "node.toml", port, more=more)
    path.write_text(path.read_text().replace("results = true", f"results = true\ntls = {str(tls).lower()}"))
    return load(path)


def put(node: Node, number: int) -> None:
    inbox = node.config.folder[0].path
    (inbox / ".coming").write_bytes(kit.as_bytes(kit.radiograph(number)))
    os.rename(inbox / ".coming", inbox / f"{number}.dcm")


def states(node: Node) -> dict[State, int]:
    return {state: number for state, number in node.jobs.counts().items() if number}


def test_results_go_to_the_archive_over_tls(tmp_path: Path, keys: Path) -> None:
    archive = Archive(keys)
    with kit.running(config_of(tmp_path, keys, archive.port)) as node:
        scu.echo(node.config, node.config.peer[1])
        put(node, 1)
        assert kit.wait_for(lambda: states(node) == {State.DELIVERED: 1})
    archive.close()
    assert archive.received == {f"{kit.ROOT}.4.1": 1}
    [(version, subject)] = archive.came
    assert version in ("TLSv1.2", "TLSv1.3")
    assert subject == "node", "and the node has shown its own certificate"


@pytest.mark.parametrize(
    ("name", "tls"),
    [("stranger", True), ("sender", False)],
    ids=["a certificate of nobody we know", "in the clear to an archive with TLS"],
)
def test_no_result_goes_where_tls_does_not_come_about(tmp_path: Path, keys: Path, name: str, tls: bool) -> None:
    archive = Archive(keys, name)
    with kit.running(config_of(tmp_path, keys, archive.port, tls)) as node:
        put(node, 1)
        assert kit.wait_for(lambda: "carpal_delivery_failures_total{" in node.metrics.render({}))
        assert states(node) == {State.DONE: 1}, "it waits"
    archive.close()
    assert archive.came == []


def test_results_go_to_dcmtk_over_tls(tmp_path: Path, keys: Path) -> None:
    port, store = tools.free_port(), tmp_path / "store"
    store.mkdir()
    words = ("+tls", keys / "sender.key", keys / "sender.pem", "+cf", keys / "ca.pem", "-aet", "PACS", "-od", store)
    with (
        tools.program(port, "storescp", *words, str(port)),
        kit.running(config_of(tmp_path, keys, port)) as node,
    ):
        put(node, 1)
        assert kit.wait_for(lambda: states(node) == {State.DELIVERED: 1})
    [report] = [dcmread(path) for path in store.iterdir()]
    assert report.SOPInstanceUID == f"{kit.ROOT}.4.1"
