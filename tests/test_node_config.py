"""The node's configuration: the annotated file is complete and true, and every mistake is named."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpal.errors import CarpalError, ConfigError
from carpal.node.config import NodeConfig, load, parse

FILE = Path(__file__).parents[1] / "deploy" / "carpal-node.toml"
SMALLEST: dict[str, Any] = {"node": {"folder": "/var/lib/carpal"}}


def uncommented() -> dict[str, Any]:
    """The annotated file with every setting switched on."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return tomllib.loads("\n".join(re.sub(r"^# ((\[+\w+\]+|\w+ = ).*)", r"\1", line) for line in lines))


def tables() -> dict[str, type]:
    """Name of each table to its dataclass."""
    found = {}
    for name, hint in get_type_hints(NodeConfig).items():
        kinds = [kind for kind in (hint, *get_args(hint)) if dataclasses.is_dataclass(kind)]
        found[name] = kinds[0]
    return found


def test_the_annotated_file_is_right_as_it_stands() -> None:
    config = load(FILE)
    assert config.destinations() == ("pacs",)
    assert config.sender("ORTHANC", "127.0.0.1") is config.peer[0]
    assert config.sender("ORTHANC", "127.0.0.2") is None
    assert config.sender("OTHER", "127.0.0.1") is None


def test_the_annotated_file_holds_every_setting() -> None:
    table = uncommented()
    for name, kind in tables().items():
        entries = table[name] if isinstance(table[name], list) else [table[name]]
        written = {setting for entry in entries for setting in entry}
        assert written == {field.name for field in dataclasses.fields(kind)}, name
    assert parse(table).tls is not None


def test_the_defaults_that_it_shows_are_the_defaults() -> None:
    shown, default = parse(uncommented()), parse(SMALLEST)
    for name in ("limits", "reading", "results", "health", "route"):
        assert getattr(shown, name) == getattr(default, name), name
    assert dataclasses.replace(shown.node, folder=Path("/var/lib/carpal")) == default.node


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "node is missing"),
        ({"node": {}}, r"\[node\] folder is missing"),
        ({"node": {"folder": "/x", "prot": 1}}, r"\[node\] prot: there is no such setting"),
        ({"node": {"folder": "/x", "port": "11112"}}, r"\[node\] port is a int - got '11112'"),
        ({"node": {"folder": "/x", "port": 70000}}, "0 to 65535"),
        ({"node": {"folder": "/x", "port": True}}, "port is a int"),
        ({"node": {"folder": "/x", "ae_title": "A\\B"}}, "ae_title"),
        ({"node": {"folder": "/x", "ae_title": "SEVENTEEN_LETTERS"}}, "16 characters"),
        ({"node": {"folder": "/x", "host": "0.0.0.0"}}, "AE titles are no security"),
        ({"node": {"folder": "/x", "host": "pacs"}}, "IP addresses"),
        ({"limits": {"associations": 0}}, "above 0"),
        ({"reading": {"backend": "tf"}}, '"onnx" or "openvino" or "torch"'),
        ({"reading": {"precision": "int4"}}, '"fp32", "int8", or ""'),
        ({"results": {"objects": ["fhir"]}}, r"\[results\] objects"),
        ({"results": {"objects": "sr"}}, "square brackets"),
        ({"peer": [{"name": "a", "ae_title": "A", "addresses": ["10.0.0.1/8"]}]}, "has host bits set"),
        ({"peer": [{"name": "a", "ae_title": "A", "results": True}]}, "host and port"),
        ({"peer": [{"name": "a", "ae_title": "A", "tls": True}]}, r"\[tls\] table"),
        ({"peer": [{"name": "a", "ae_title": "A"}, {"name": "a", "ae_title": "B"}]}, "used once"),
        ({"dicomweb": [{"name": "a", "url": "file:///etc/passwd"}]}, "http"),
        ({"dicomweb": [{"name": "a", "url": "http://user:secret@host/"}]}, "without a user"),
        ({"route": [{"description": "("}]}, "no pattern"),
        ({"route": [{"modality": ["CT"]}]}, "modality"),
    ],
)
def test_a_mistake_is_named(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(table if "node" in table or not table else SMALLEST | table)


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[node\n")
    with pytest.raises(ConfigError, match="is not TOML"):
        load(tmp_path / "bad.toml")


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda x: (
            st.lists(x)
            | st.dictionaries(st.sampled_from(["node", "folder", "peer", "name", "limits", "port", "host"]), x)
        ),
    )
)
def test_no_table_raises_anything_else(table: Any) -> None:
    with contextlib.suppress(CarpalError):
        parse(table)
