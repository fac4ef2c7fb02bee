"""The benchmark of a folder's memory reads what it says: every link becomes a line of results."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from carpal.errors import UnreadableImage

BENCH = Path(__file__).parents[1] / "bench" / "folder.py"
pytest.importorskip("onnxruntime")


def load() -> object:
    spec = importlib.util.spec_from_file_location("bench_folder", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_link_is_read(tmp_path: Path) -> None:
    found = load().measure(tmp_path, 12, 2)  # type: ignore[attr-defined]
    assert (found["links"], len(found["memory_mb"])) == (12, 12)
    assert found["bytes_a_line"] > 1000, "a line holds an age and 17 regions"


def test_an_image_that_cannot_be_read_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = load()

    def broken(image: str) -> None:
        raise UnreadableImage(f"{image} is broken")

    monkeypatch.setattr("carpal.inference.pipeline.read_radiograph", broken)
    with pytest.raises(UnreadableImage, match="is broken"):
        bench.measure(tmp_path, 3, 1)  # type: ignore[attr-defined]
