"""The commands of the node: `carpal node` and `carpal doctor`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from carpal.cli import words

PACKAGES = ("pydicom", "pynetdicom", "dicomweb_client", "highdicom")


def add(commands: Any) -> None:
    """Adds both commands to the parser."""
    parser = words.command(
        commands,
        "node",
        "receive radiographs over DICOM, read them, send reports back to the archive",
        f"Runs until it is told to stop (SIGTERM). {words.NOTICE}",
        "  carpal node --config /etc/carpal/carpal-node.toml\n"
        "  carpal node --config carpal-node.toml --verify-audit      (only checks the audit log)",
        "the audit log was changed",
    )
    _config(parser)
    parser.add_argument("--verify-audit", action="store_true", help="check the chain of the audit log, and stop")
    parser.set_defaults(module="node")
    parser = words.command(
        commands,
        "doctor",
        "check an installation of the node and say what to fix",
        "Checks configuration, folder, disk, weights, codecs, certificates, port, audit log, queue and every peer. "
        "Exit code 0: all is well; 4: something is to be fixed.",
        "  carpal doctor --config /etc/carpal/carpal-node.toml",
    )
    _config(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(module="node")


def _config(parser: Any) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", required=True, help="the node's configuration (TOML)")


def _need_packages() -> None:
    from carpal.errors import need

    for package in PACKAGES:
        need(package, feature="The node", extra="node")


def run_node(arguments: Namespace) -> int:
    """Runs the node, or checks its audit log."""
    _need_packages()
    from carpal.node import audit
    from carpal.node.app import AUDIT, Node
    from carpal.node.config import load
    from carpal.queue import logs

    config = load(arguments.config)
    if arguments.verify_audit:
        seal = audit.verify(config.node.folder / AUDIT)
        print(f"{seal.lines} lines, chain intact, last hash {seal.hash}")
        return 0
    logs.silence_libraries()
    Node(config).run()
    return 0


def run_doctor(arguments: Namespace) -> int:
    """Prints one line for each check; 4 where anything is to be fixed."""
    _need_packages()
    import json
    from dataclasses import asdict

    from carpal.errors import NodeError
    from carpal.node.doctor import examine
    from carpal.queue import logs

    logs.silence_libraries()
    found = examine(arguments.config)
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        width = max(len(finding.check) for finding in found)
        for finding in found:
            print(f"{'ok ' if finding.ok else 'FIX'}  {finding.check:<{width}}  {finding.text}")
    return 0 if all(finding.ok for finding in found) else NodeError.exit_code
