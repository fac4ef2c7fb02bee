"""Pictures: a PNG that shows the points it was given, for any number of radiographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from carpal.lab.evaluation import plots
from carpal.lab.evaluation.age import Predictions

Plot = Callable[[Predictions, Path], None]
PLOTS = [plots.bland_altman, plots.error_by_age]


def predictions(count: int, male: bool | None = None) -> Predictions:
    generator = np.random.default_rng(count)
    boneage = generator.uniform(6, 220, count)
    male_N = np.arange(count) % 2 == 0 if male is None else np.full(count, male)
    predicted = (boneage + generator.normal(0, 8, count)).clip(0, 228)
    return Predictions(tuple(map(str, range(count))), male_N, boneage, predicted)


def pixels(plot: Plot, table: Predictions, folder: Path) -> NDArray[np.int64]:
    path = folder / "plot.png"
    plot(table, path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(np.int64)


def shows(image_HW3: NDArray[np.int64], sex: str) -> bool:
    """Whether some pixels have the hue of the sex's colour: the dots are drawn over white, half transparent."""
    red, _, blue = plots.SEX_COLOURS[sex]
    difference_HW = image_HW3[..., 0] - image_HW3[..., 2]
    return bool(((difference_HW * np.sign(red - blue)) > 60).sum() > 20)


@pytest.mark.parametrize("plot", PLOTS)
def test_size_and_both_sexes(plot: Plot, tmp_path: Path) -> None:
    image = pixels(plot, predictions(40), tmp_path)
    assert image.shape == (750, 1200, 3)
    assert shows(image, "female")
    assert shows(image, "male")


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize(("male", "drawn"), [(True, "male"), (False, "female")])
def test_one_sex_alone(plot: Plot, male: bool, drawn: str, tmp_path: Path) -> None:
    image = pixels(plot, predictions(20, male), tmp_path)
    assert shows(image, drawn)


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize("count", [1, 2])
def test_few_radiographs(plot: Plot, count: int, tmp_path: Path) -> None:
    assert pixels(plot, predictions(count), tmp_path).std() > 5


@pytest.mark.parametrize("plot", PLOTS)
def test_a_perfect_model_is_drawn_too(plot: Plot, tmp_path: Path) -> None:
    table = predictions(10)
    perfect = Predictions(table.ids, table.male_N, table.boneage_N, table.boneage_N)
    assert pixels(plot, perfect, tmp_path).std() > 5


@pytest.mark.parametrize("plot", PLOTS)
def test_the_same_table_gives_the_same_picture(plot: Plot, tmp_path: Path) -> None:
    first, second = pixels(plot, predictions(15), tmp_path), pixels(plot, predictions(15), tmp_path)
    np.testing.assert_array_equal(first, second)
    assert (first != pixels(plot, predictions(16), tmp_path)).any()
