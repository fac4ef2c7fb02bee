"""The released weights keep the promises of the README, on the radiographs of `examples/`."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from carpal.anatomy import REGIONS
from carpal.imaging.read import read_radiograph
from carpal.inference.assess import assess
from carpal.inference.info import read_info
from carpal.types import Assessment, Radiograph, Sex

pytest.importorskip("onnxruntime")

from carpal.inference.engine import Engine, open_engine

EXAMPLES = Path(__file__).parents[1] / "examples"
HALF_A_MONTH = 0.5
WRONG_BY = 36.0
"""The examples were trained on: an age three years off would be a broken file, not a hard case."""


@cache
def engine() -> Engine:
    return open_engine("alanet")


def examples() -> list[tuple[str, float, Sex]]:
    with (EXAMPLES / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [(row["id"], float(row["boneage"]), Sex.MALE if row["male"] == "True" else Sex.FEMALE) for row in rows]


def read(pixels_HW: NDArray[Any], sex: Sex) -> Assessment:
    return assess(Radiograph(pixels_HW, "example"), sex, engine())


def stretched(pixels_HW: NDArray[Any]) -> NDArray[np.uint8]:
    """As many viewers export: from the 1st to the 99th percentile, clipped, 8 bit."""
    low, high = np.percentile(pixels_HW, [1, 99])
    return np.clip((pixels_HW - low) / (high - low) * 255, 0, 255).astype(np.uint8)


def test_the_file_is_what_its_sidecar_says() -> None:
    info = read_info("alanet")
    assert info.path.stat().st_size <= 64_000_000
    assert info.regions
    assert info.training["data"]["holdout"] == [0, 1]
    content = info.path.read_bytes()
    assert b".py" not in content
    text = info.path.with_suffix(".json").read_text(encoding="utf-8")
    assert "/work" not in text
    assert "/home" not in text
    assert "non-commercial" in text


@pytest.mark.parametrize(("name", "months", "sex"), examples())
def test_an_example_is_read(name: str, months: float, sex: Sex) -> None:
    radiograph = read_radiograph(EXAMPLES / f"{name}.jpg")
    assessment = assess(radiograph, sex, engine())
    assert assessment.months == pytest.approx(months, abs=WRONG_BY)
    assert [region.name for region in assessment.regions] == list(REGIONS)
    height, width = radiograph.pixels_HW.shape
    assert all(0 <= r.box.x1 < r.box.x2 <= width and 0 <= r.box.y1 < r.box.y2 <= height for r in assessment.regions)


@pytest.mark.parametrize(("name", "months", "sex"), examples())
def test_a_negative_reads_the_same(name: str, months: float, sex: Sex) -> None:
    pixels_HW = read_radiograph(EXAMPLES / f"{name}.jpg").pixels_HW
    as_it_is = read(pixels_HW, sex).months
    assert read(pixels_HW.max() - pixels_HW, sex).months == pytest.approx(as_it_is, abs=HALF_A_MONTH)


@pytest.mark.parametrize(("name", "months", "sex"), examples())
def test_a_stretched_copy_reads_the_same(name: str, months: float, sex: Sex) -> None:
    pixels_HW = read_radiograph(EXAMPLES / f"{name}.jpg").pixels_HW
    as_it_is = read(pixels_HW, sex).months
    assert read(stretched(pixels_HW), sex).months == pytest.approx(as_it_is, abs=HALF_A_MONTH)


def test_the_reference_runtime_gives_the_same_bytes_on_one_thread_and_two() -> None:
    pixels_HW = np.random.default_rng(0).integers(0, 256, (256, 224), dtype=np.uint8)
    one, two = (open_engine("alanet", threads=n).run(pixels_HW, male=True) for n in (1, 2))
    for name, first, second in zip(one._fields, one, two, strict=True):
        assert np.asarray(first).tobytes() == np.asarray(second).tobytes(), name
