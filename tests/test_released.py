"""The released weights keep the promises of the README, on the radiographs of `examples/`."""

from __future__ import annotations

import csv
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from carpal.anatomy import REGIONS
from carpal.imaging.read import read_radiograph
from carpal.inference.assess import assess
from carpal.inference.weights import read_info
from carpal.types import Assessment, Radiograph, Sex

pytest.importorskip("onnxruntime")

from carpal.inference.engine import Engine, open_engine
from carpal.lab.evaluation.distortions import FAMILIES
from carpal.lab.evaluation.stress import Remembering
from carpal.lab.evaluation.threshold_fit import HANDS

EXAMPLES = Path(__file__).parents[1] / "examples"
HALF_A_MONTH = 0.5
GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "golden" / "ages.json").read_text(encoding="utf-8"))
"""Written by `python bench/golden_ages.py`."""
SAME = 0.05
"""Months: what another processor or runtime may move an age by."""


@cache
def engine() -> Engine:
    return open_engine("alanet", precision="fp32")


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
    assert info.held_out == (0, 1)
    assert (info.view_scale, info.flip) == (1.2, True)
    if info.int8:
        integers = read_info("alanet", "int8")
        assert (integers.view_scale, integers.flip) == (info.view_scale, info.flip)
    content = info.path.read_bytes()
    assert b".py" not in content
    text = info.path.with_suffix(".json").read_text(encoding="utf-8")
    assert "/work" not in text
    assert "/home" not in text
    assert "non-commercial" in text


def test_the_golden_ages_are_those_of_the_weights_that_are_shipped() -> None:
    assert GOLDEN["weights"]["sha256"] == read_info("alanet", "fp32").sha256, "measure again: bench/golden_ages.py"
    assert set(GOLDEN["months"]) == {name for name, _, _ in examples()}


@pytest.mark.parametrize(("name", "label", "sex"), examples())
def test_an_example_is_read_to_the_golden_age(name: str, label: float, sex: Sex) -> None:
    radiograph = read_radiograph(EXAMPLES / f"{name}.jpg")
    assessment = assess(radiograph, sex, engine())
    assert assessment.months == pytest.approx(GOLDEN["months"][name], abs=SAME)
    assert assessment.months == pytest.approx(label, abs=36), "trained on: three years off is a broken file"
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


@pytest.mark.parametrize(("name", "months", "sex"), examples()[:2])
def test_turned_and_mirrored_it_reads_the_same(name: str, months: float, sex: Sex) -> None:
    pixels_HW = read_radiograph(EXAMPLES / f"{name}.jpg").pixels_HW
    once = Remembering(engine())  # what turned comes down to the same view is not read twice
    as_it_is = assess(Radiograph(pixels_HW, "example"), sex, once).months
    steps = [(kind, strength) for kind in ("quarter turns", "flip") for strength in FAMILIES[kind].strengths]
    for family, strength in steps:
        moved_HW = FAMILIES[family].apply(pixels_HW, strength)
        assert not np.array_equal(moved_HW, pixels_HW)
        found = assess(Radiograph(moved_HW, "example"), sex, once).months
        assert found == pytest.approx(as_it_is, abs=HALF_A_MONTH), f"{family} {strength}"


def test_the_intervals_hold_as_often_as_they_promise() -> None:
    check = sidecar()["calibration"]["check"]
    assert check["crossfitted"] is True
    assert check["n"] >= 500
    assert 0.87 <= check["coverage"] <= 0.93


@pytest.mark.parametrize(("kind", "fewer"), [("rsna", 0.01), ("brazil", 0.02)])
def test_few_hands_are_refused(kind: str, fewer: float) -> None:
    """As a share of those that the network read, although the others' refusals count too: it errs upwards."""
    parts = [part[kind] for part in evidence() if kind in part]
    read = sum(part.get("read_by_network", part["n"]) for part in parts)
    assert read >= 200
    assert sum(part["refused"] for part in parts) < fewer * read


def test_nearly_all_that_was_kept_out_is_refused() -> None:
    _, kept_out = evidence()
    others = [part for kind, part in kept_out.items() if kind not in HANDS]
    assert sum(part["n"] for part in others) >= 200
    assert sum(part["refused"] for part in others) > 0.98 * sum(part["n"] for part in others)


def sidecar() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(read_info("alanet").path.with_suffix(".json").read_text(encoding="utf-8"))
    return content


def evidence() -> tuple[dict[str, Any], dict[str, Any]]:
    """What the limits were fitted on, and what was kept out: for each kind of picture n, refused, codes."""
    block = sidecar()["refusal"]
    return block["fitted_on"], block["kept_out"]


def test_the_reference_runtime_gives_the_same_bytes_on_one_thread_and_two() -> None:
    pixels_HW = np.random.default_rng(0).integers(0, 256, (256, 224), dtype=np.uint8)
    one, two = (open_engine("alanet", threads=n).run(pixels_HW, male=True) for n in (1, 2))
    for name, first, second in zip(one._fields, one, two, strict=True):
        assert np.asarray(first).tobytes() == np.asarray(second).tobytes(), name
