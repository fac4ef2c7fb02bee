"""Fixtures of the node's tests. A test file takes what it needs under its name: `reader = node_fixtures.reader`.

Not in `node_kit.py`, which is also the program that tests start and kill, and which therefore does without pytest.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

import node_kit as kit
from carpal.node.config import NodeConfig, load
from carpal.node.reader import Reader
from carpal.queue import logs


class Steady:
    """Seconds since boot, for a `Clock` that a test sets."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(autouse=True)
def log() -> Iterator[StringIO]:
    """The node's log, kept out of the tests' output; a test may read it."""
    stream = StringIO()
    logs.to(stream)
    yield stream
    logs.to(None)


@pytest.fixture
def pacs() -> Iterator[kit.Pacs]:
    """An archive."""
    archive = kit.Pacs()
    yield archive
    archive.close()


@pytest.fixture
def config(tmp_path: Path, pacs: kit.Pacs) -> NodeConfig:
    """A node whose results go to `pacs`."""
    return load(kit.write_config(tmp_path / "node.toml", pacs.port))


@pytest.fixture(scope="module")
def reader_config(tmp_path_factory: pytest.TempPathFactory) -> NodeConfig:
    """A node that is only read with."""
    return load(kit.write_config(tmp_path_factory.mktemp("reader") / "node.toml", 104))


@pytest.fixture(scope="module")
def reader(reader_config: NodeConfig) -> Iterator[Reader]:
    """The reader's process with a fake network."""
    opened = kit.FakeNetworkReader(reader_config)
    opened.start()
    yield opened
    opened.close()
