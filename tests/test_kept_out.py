"""The folders that limits are fitted on and measured with can be made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench_kit import bench_script
from carpal.lab.evaluation.threshold_fit import pictures


def test_pictures_to_fit_on_are_pydicoms_files_and_the_folders_images(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    bench = bench_script("kept_out")
    photographs = tmp_path / "images"
    photographs.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8)).save(photographs / "a.jpg")
    (photographs / "README.txt").write_text("no picture")
    files = list(bench.to_fit_on([photographs]))
    assert files[-1].name == "a.jpg"
    assert {path.suffix for path in files[:-1]} == {".dcm"}
    assert bench.copy(files, tmp_path / "pictures") == len(files) > 50
    assert len(list((tmp_path / "pictures").iterdir())) == len(files)
    decoded = [case.name for case in pictures(tmp_path / "pictures")]
    assert any(name.endswith("a.jpg") for name in decoded)
    assert len(decoded) > 10
