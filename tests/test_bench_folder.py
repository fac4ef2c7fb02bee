"""The benchmark of a folder's memory reads what it says: every link becomes a line of results, also after a cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench_kit import bench_script
from carpal.errors import UnreadableImage

pytestmark = pytest.mark.slow

pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("reading", ["told", "instant"])
def test_every_link_is_read(tmp_path: Path, reading: str) -> None:
    found = bench_script("folder").measure(tmp_path, 12, 2, reading)
    assert (found["reading"], found["links"], list(found["memory_mb"])) == (reading, 12, list(range(1, 13)))
    assert found["bytes_a_line"] > 1000, "a line holds an age and 17 regions"


def test_a_run_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    found = bench_script("folder").measure(tmp_path, 20, 2, "told", stop=9)
    assert found["stopped_after"] == 9
    assert list(found["memory_mb"]) == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert len(lines) == 20, "nothing lost, nothing twice, nothing torn"


def test_an_image_that_cannot_be_read_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = bench_script("folder")

    def broken(image: str) -> None:
        raise UnreadableImage(f"{image} is broken")

    monkeypatch.setattr("carpal.inference.pipeline.read_radiograph", broken)
    with pytest.raises(UnreadableImage, match="is broken"):
        bench.measure(tmp_path, 3, 1)
