"""The benchmark of a folder's memory reads what it says: every link becomes a line of results."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench_kit import bench_script
from carpal.errors import UnreadableImage

pytest.importorskip("onnxruntime")


def test_every_link_is_read(tmp_path: Path) -> None:
    found = bench_script("folder").measure(tmp_path, 12, 2)
    assert (found["links"], len(found["memory_mb"])) == (12, 12)
    assert found["bytes_a_line"] > 1000, "a line holds an age and 17 regions"


def test_an_image_that_cannot_be_read_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = bench_script("folder")

    def broken(image: str) -> None:
        raise UnreadableImage(f"{image} is broken")

    monkeypatch.setattr("carpal.inference.pipeline.read_radiograph", broken)
    with pytest.raises(UnreadableImage, match="is broken"):
        bench.measure(tmp_path, 3, 1)
