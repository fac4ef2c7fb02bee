"""`carpal doctor`: what an installation of the node needs, checked one by one, each with what to do where it fails.

Nothing is changed, and the node may run meanwhile.
"""

from __future__ import annotations

import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from carpal.errors import CarpalError, ConfigError, NodeError, need
from carpal.growth.reference import find_reference
from carpal.inference.engine import open_engine
from carpal.node import audit, dicomweb, scu
from carpal.node.app import AUDIT, open_site
from carpal.node.config import NodeConfig, Peer, Web, client_context, load, server_context
from carpal.node.scp import SYNTAXES
from carpal.queue.jobs import Jobs, State
from carpal.queue.outbox import Outbox
from carpal.report.forms import check_packages

UNREAD = (("duplicate-uid", "reused the UID of another picture"), ("no-route", "fitted no [[route]]"))
"""Codes of objects that get no answer, and what they mean."""
PRIVATE = 0o077
"""Mode bits of the folder that let others in."""


@dataclass(frozen=True)
class Finding:
    """One check: its name, whether all is well, and what was seen or what to do."""

    check: str
    ok: bool
    text: str


def examine(path: Path) -> list[Finding]:
    """Every check of the configuration at `path`; only the first, where the file cannot be read."""
    try:
        config = load(path)
    except ConfigError as error:
        return [Finding("config", False, str(error))]
    checks: dict[str, Callable[[NodeConfig], str]] = {
        "config": _config,
        "folder": _folder,
        "weights": _weights,
        "codecs": _codecs,
        "objects": _objects,
        "tls": _tls,
        "port": _port,
        "audit": _audit,
        "queue": _queue,
    }
    found = [_run(name, lambda check=check: check(config)) for name, check in checks.items()]  # type: ignore[misc]
    return found + list(_peers(config))


def _run(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except CarpalError as error:
        return Finding(name, False, str(error))


def _config(config: NodeConfig) -> str:
    senders = sum(bool(peer.addresses) for peer in config.peer)
    if not (senders or config.folder or any(web.pull_seconds for web in config.dicomweb)):
        raise ConfigError("nobody may send - there is no [[peer]] with addresses, no [[folder]], no pull - add one")
    if not config.destinations():
        raise ConfigError("results go nowhere - no [[peer]] or [[dicomweb]] has results = true - set it for the PACS")
    silent = [peer.name for peer in config.peer if peer.commitment and not peer.addresses]
    remark = f"; {', '.join(silent)} may report on a commitment only in our own association: no addresses"
    return f"{senders} peers may send, results go to {', '.join(config.destinations())}{remark if silent else ''}"


def _folder(config: NodeConfig) -> str:
    folder = config.node.folder
    if not folder.is_dir():
        raise NodeError(
            f"{folder} does not exist - create it for the node's user: install -d -o carpal -m 700 {folder}"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise NodeError(f"{folder} cannot be written - give it to the node's user: chown carpal {folder}")
    if folder.stat().st_mode & PRIVATE:
        raise NodeError(f"{folder} is open to other users, and it holds radiographs - close it: chmod 700 {folder}")
    with Jobs(folder, config.queue_limits()) as jobs:
        free = jobs.spool.free()
    if free <= 0:
        raise NodeError(f"{folder}: the disk is full, objects are refused - free space, or lower [limits] min_free_mb")
    return f"{free / 2**30:.1f} GB to use before objects are refused"


def _weights(config: NodeConfig) -> str:
    reading = config.reading
    engine = open_engine(reading.weights, reading.backend, reading.threads, reading.precision or None)
    engine.run(np.zeros((engine.long_side, engine.long_side), np.uint8), True)
    model, site, table = engine.model, open_site(config, engine.model.sha256), find_reference(reading.reference)
    calibrated = "" if site is None else f", calibrated by {site.label}"
    runs = f"reads in {model.precision} by {model.backend}"
    return f"{model.name} {model.version}, {model.sha256[:16]}, {runs}{calibrated}, compares with {table.name}"


def _codecs(_: NodeConfig) -> str:
    pixels = need("pydicom.pixels", feature="The node", extra="node")
    missing = [syntax.name for syntax in SYNTAXES if not pixels.get_decoder(syntax).is_available]
    if missing:
        raise NodeError(f"no codec for {', '.join(missing)} - run pip install 'carpal[node]'")
    return f"all {len(SYNTAXES)} transfer syntaxes can be decoded"


def _objects(config: NodeConfig) -> str:
    check_packages(config.results.objects)
    return f"{', '.join(config.results.objects)} can be written"


def _tls(config: NodeConfig) -> str:
    if config.tls is None:
        return "not used: DICOM travels in the clear"
    server_context(config.tls)
    client_context(config.tls)
    return "certificate, key and ca fit together"


def _port(config: NodeConfig) -> str:
    """Either the node answers on /health, or its port is free."""
    node, health = config.node, config.health
    try:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"http://{health.host}:{health.port}/health", timeout=3) as answer:
            state = json.load(answer)
        return f"the node runs: {sum(state['jobs'].values())} jobs, {state['deliveries']['waiting']} results to deliver"
    except urllib.error.HTTPError as error:
        problems = json.load(error).get("problems", [])
        raise NodeError(f"the node runs and is not well: {'; '.join(problems)}") from None
    except (OSError, ValueError):
        pass
    try:
        with socket.create_server((node.host, node.port), family=_family(node.host)):
            return f"the node does not run, and port {node.port} is free"
    except OSError as error:
        raise NodeError(
            f"port {node.port} on {node.host} - {error.strerror} - stop what listens there, or choose another"
        ) from None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _audit(config: NodeConfig) -> str:
    seal = audit.verify(config.node.folder / AUDIT)
    return f"{seal.lines} lines, chain intact, last {seal.hash[:16]}"


def _queue(config: NodeConfig) -> str:
    if not config.node.folder.is_dir():
        return "there is none yet"
    with Jobs(config.node.folder, config.queue_limits()) as jobs:
        counts, deliveries = jobs.counts(), Outbox(jobs).counts()
        dead = [f"{job.id} ({job.code})" for job in jobs.latest(State.DEAD, limit=3)]
    if dead:
        raise NodeError(
            f"{counts[State.DEAD]} jobs are dead, such as {', '.join(dead)} - mend the cause, then send the study again"
        )
    if deliveries["dead"]:
        raise NodeError(
            f"{deliveries['dead']} results could not be delivered in time - mend the peer, then send the studies again"
        )
    waiting = counts[State.QUEUED] + counts[State.LEASED]
    stored = f", {deliveries['uncommitted']} wait for a commitment" if deliveries["uncommitted"] else ""
    return f"{waiting} jobs and {deliveries['waiting']} results wait{stored}, none is dead{_unread(config)}"


def _unread(config: NodeConfig) -> str:
    """Says what was not read: no fault of the node, but somebody has to know."""
    with Jobs(config.node.folder, config.queue_limits()) as jobs, jobs.transaction() as db:
        counts = dict(db.execute("SELECT code, count(*) FROM jobs WHERE state = 'rejected' GROUP BY code").fetchall())
    told = [
        f"; {counts[code]} objects {meaning} ({code} in the audit log)" for code, meaning in UNREAD if code in counts
    ]
    return "".join(told)


def _peers(config: NodeConfig) -> Iterator[Finding]:
    def echoed(peer: Peer) -> str:
        scu.echo(config, peer)
        return "answers C-ECHO, takes storage commitment" if peer.commitment else "answers C-ECHO"

    def searched(web: Web) -> str:
        dicomweb.check(web)
        return "answers QIDO-RS"

    for peer in config.peer:
        if peer.host:
            yield _run(f"peer {peer.name}", lambda peer=peer: echoed(peer))  # type: ignore[misc]
    for web in config.dicomweb:
        yield _run(f"dicomweb {web.name}", lambda web=web: searched(web))  # type: ignore[misc]
