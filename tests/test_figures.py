"""`carpal figures` with the tiny network on drawn hands: which pictures come, and what is in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from carpal.anatomy import REGIONS
from carpal.errors import ConfigError
from carpal.lab.data.synthetic import draw_hand
from carpal.lab.evaluation import figures
from carpal.lab.evaluation import figures as figure_drawings
from carpal.types import Sex


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four drawn hands with labels and regions; the last one lacks the regions of the wrist."""
    labels, points = ["id,boneage,male"], ["id,source,width,height,roi,x,y,v"]
    for i in range(4):
        hand = draw_hand(40 + 40 * i, Sex.MALE if i % 2 else Sex.FEMALE, seed=i, height=200)
        height, width = hand.pixels_HW.shape
        Image.fromarray(hand.pixels_HW).save(tmp_path / f"h{i}.png")
        labels.append(f"h{i},{hand.months:g},{i % 2}")
        for name, (x, y) in zip(REGIONS, hand.points_R2.tolist(), strict=True):
            if i < 3 or name not in ("Radius", "Ulna", "Wrist"):
                points.append(f"h{i},drawn,{width},{height},{name},{x:.2f},{y:.2f},1")
    (tmp_path / "labels.csv").write_text("\n".join(labels) + "\n")
    (tmp_path / "points.csv").write_text("\n".join(points) + "\n")
    return tmp_path


def test_all_six_pictures_are_drawn(folder: Path, tiny_weights: Path) -> None:
    written = figures.run(
        folder, folder / "labels.csv", folder / "out", regions=folder / "points.csv", weights=tiny_weights,
        backend="torch", cases=2,
    )  # fmt: skip
    names = ["figure1.png", "figure3.png", "bland_altman.png", "error_by_age.png", "calibration.png", "region_ages.png"]
    assert [path.name for path in written] == names
    sizes = {}
    for path in written:
        with Image.open(path) as image:
            sizes[path.name] = image.size
            assert np.asarray(image.convert("L")).std() > 10, f"{path.name} is not empty"
    assert sizes["figure1.png"][0] == sizes["figure3.png"][0], "both have three columns"
    assert sizes["figure3.png"][1] > 1.8 * sizes["figure1.png"][1], "two hands are two rows"


def test_without_regions_only_the_ages_are_drawn(folder: Path, tiny_weights: Path) -> None:
    written = figures.run(folder, folder / "labels.csv", folder / "out", weights=tiny_weights, backend="torch")
    assert {path.name for path in written} == {
        "bland_altman.png", "error_by_age.png", "calibration.png", "region_ages.png",
    }  # fmt: skip


def test_the_lot_is_the_same_for_the_same_seed(folder: Path, tiny_weights: Path) -> None:
    pictures = []
    for out, seed in (("a", 1), ("b", 1)):
        figures.run(
            folder, folder / "labels.csv", folder / out, regions=folder / "points.csv", weights=tiny_weights,
            backend="torch", cases=1, seed=seed,
        )  # fmt: skip
        pictures.append((folder / out / "figure3.png").read_bytes())
    assert pictures[0] == pictures[1]


def test_too_many_cases_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="room for 1 to 8"):
        figures.run(folder, folder / "labels.csv", folder / "out", cases=9)


def test_the_reliability_counts_as_a_loop_does() -> None:
    random = np.random.default_rng(0)
    above_NK, boneage_N = random.uniform(0, 1, (5, 228)), random.uniform(0, 228, 5)
    predicted_B, observed_B, count_B = figure_drawings.reliability(above_NK, boneage_N)
    for bin_ in range(10):
        inside = [
            (above_NK[n, k], boneage_N[n] > k) for n in range(5) for k in range(228)
            if bin_ / 10 <= above_NK[n, k] < (bin_ + 1) / 10
        ]  # fmt: skip
        assert count_B[bin_] == len(inside)
        assert predicted_B[bin_] == pytest.approx(np.mean([p for p, _ in inside]))
        assert observed_B[bin_] == pytest.approx(np.mean([truth for _, truth in inside]))


def test_a_perfect_network_is_calibrated() -> None:
    boneage_N = np.array([10.0, 100.5, 227.0])
    above_NK = (boneage_N[:, None] > np.arange(228)).astype(float)
    predicted_B, observed_B, count_B = figure_drawings.reliability(above_NK, boneage_N)
    assert predicted_B.tolist() == observed_B.tolist() == [0.0, 1.0]
    assert count_B.sum() == 3 * 228
