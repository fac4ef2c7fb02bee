"""What the comparison systems are trained by, against scalar references written from each system's docstring.

Nothing of `carpal` takes part in a reference but the inputs; its constants are written out. Letters: B batch, C month
classes (229), K ranks (228), M maps, P parts, Q regions of Iglovikov (3).
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from carpal.lab.baselines import attention, protocol, registry
from carpal.lab.baselines.protocol import Prediction, System, SystemConfig

SD = 41.1793
"""Months: the standard deviation of RSNA's training ages, as Deeplasia's release states it; its mean is 127.3166."""
TRUTH = (0.0, 37.0, 130.0, 228.0)
ANSWERS = (4.0, 36.5, 101.0, 240.0)
"""Errors of 4, 0.5, 29 and 12 months, both signs, one beyond the last month."""


def draw(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def answer(months: Tensor, *raw: Tensor) -> Prediction:
    return Prediction(months, torch.zeros(len(months), 228), raw)


def terms(name: str, prediction: Prediction) -> dict[str, list[float]]:
    """The terms do not depend on the network, only on what it answered."""
    model = registry.build(
        SystemConfig(name, long_side=96, width=8, box_size=12, parts=8, head_side=2, detector_width=8)
    )
    assert isinstance(model, System)
    found = model.terms(prediction, torch.tensor(TRUTH, dtype=torch.float64))
    return {term: value_B.tolist() for term, value_B in found.items()}


def slow_cross_entropy(logits: list[float], months: float) -> float:
    """-log softmax at the class of the nearest month."""
    largest = max(logits)
    return math.log(sum(math.exp(z - largest) for z in logits)) + largest - logits[round(months)]


def slow_l1(months: float, truth: float) -> float:
    return abs(months - truth) / SD


@pytest.mark.parametrize("name", ["prsnet", "bonet", "convnext"])
def test_absolute_error_in_standard_deviations(name: str) -> None:
    months_B = torch.tensor(ANSWERS, dtype=torch.float64)
    expected = [slow_l1(months, truth) for months, truth in zip(ANSWERS, TRUTH, strict=True)]
    assert terms(name, answer(months_B, months_B)) == {"l1": pytest.approx(expected)}


def test_deeplasia_squares_the_error_of_the_z_score() -> None:
    months_B = torch.tensor(ANSWERS, dtype=torch.float64)
    expected = [
        ((months - 127.3166) / SD - (truth - 127.3166) / SD) ** 2 for months, truth in zip(ANSWERS, TRUTH, strict=True)
    ]
    assert terms("deeplasia", answer(months_B, months_B)) == {"mse": pytest.approx(expected)}


def test_larson_is_the_cross_entropy_of_229_months() -> None:
    logits_BC = draw(4, 229)
    expected = [slow_cross_entropy(row, truth) for row, truth in zip(logits_BC.tolist(), TRUTH, strict=True)]
    assert terms("larson", answer(draw(4), logits_BC)) == {"class": pytest.approx(expected)}


def test_ren_weighs_an_example_by_its_error_and_12_months() -> None:
    months_B = torch.tensor(ANSWERS, dtype=torch.float64)
    expected = []
    for months, truth in zip(ANSWERS, TRUTH, strict=True):
        error = abs(months - truth)
        expected.append(error / (error + 12.0) * error / SD)
    assert terms("ren", answer(months_B, months_B)) == {"dynamic": pytest.approx(expected)}


def test_ren_s_weight_is_no_part_of_what_is_learned() -> None:
    """The gradient is that of the absolute error times the weight, not that of e^2 / (e + 12)."""
    model = registry.build(SystemConfig("ren", long_side=96, width=8))
    assert isinstance(model, System)
    months_B = torch.tensor(ANSWERS, dtype=torch.float64, requires_grad=True)
    loss = model.terms(answer(months_B, months_B), torch.tensor(TRUTH, dtype=torch.float64))["dynamic"].sum()
    (gradient_B,) = torch.autograd.grad(loss, months_B)
    expected = []
    for months, truth in zip(ANSWERS, TRUTH, strict=True):
        error = abs(months - truth)
        expected.append(math.copysign(error / (error + 12.0) / SD, months - truth))
    assert gradient_B.tolist() == pytest.approx(expected)


def test_arcnn_adds_half_of_its_parts_and_a_tenth_of_the_maps_overlap() -> None:
    own_B = torch.tensor(ANSWERS, dtype=torch.float64)
    parts_BM, overlap_B = 100 + 40 * draw(4, 3), draw(4).abs()
    found = terms("arcnn", answer(own_B, own_B, parts_BM, overlap_B))
    assert found == {
        "l1": pytest.approx([slow_l1(months, truth) for months, truth in zip(ANSWERS, TRUTH, strict=True)]),
        "parts": pytest.approx(
            [
                0.5 * sum(slow_l1(part, truth) for part in row) / 3
                for row, truth in zip(parts_BM.tolist(), TRUTH, strict=True)
            ]
        ),
        "overlap": pytest.approx([0.1 * value for value in overlap_B.tolist()]),
    }


def test_the_overlap_of_maps_is_the_mean_product_of_every_two() -> None:
    maps_BMHW = draw(2, 3, 2, 4).abs()
    for maps, found in zip(maps_BMHW.flatten(2).tolist(), attention.overlap(maps_BMHW).tolist(), strict=True):
        products = [
            sum(a * b for a, b in zip(maps[i], maps[k], strict=True)) for i in range(3) for k in range(3) if i != k
        ]
        assert found == pytest.approx(sum(products) / len(products))
    apart_BMHW = torch.eye(3, dtype=torch.float64).reshape(1, 3, 1, 3)
    assert float(attention.overlap(apart_BMHW)) == 0.0, "maps that share no cell"


def test_iglovikov_is_the_mean_over_regions_of_both_heads() -> None:
    months_BQ, logits_BQC = 100 + 40 * draw(4, 3), draw(4, 3, 229, seed=4)
    found = terms("iglovikov", answer(months_BQ.mean(1), months_BQ, logits_BQC))
    ages, logits = months_BQ.tolist(), logits_BQC.tolist()
    assert found == {
        "l1": pytest.approx([sum(slow_l1(q, truth) for q in row) / 3 for row, truth in zip(ages, TRUTH, strict=True)]),
        "class": pytest.approx(
            [sum(slow_cross_entropy(q, truth) for q in row) / 3 for row, truth in zip(logits, TRUTH, strict=True)]
        ),
    }


def test_a_regression_s_unit_is_a_standard_deviation_about_the_mean_age() -> None:
    head = protocol.Regression(3)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[0.5, -1.0, 2.0]]))
        head.linear.bias.fill_(0.25)
        months = float(head(torch.tensor([[1.0, 3.0, 0.5]]))[0])
    assert months == pytest.approx(127.3166 + 41.1793 * (0.5 - 3.0 + 1.0 + 0.25), abs=1e-3)


@pytest.mark.parametrize(("months", "wanted"), [(0.0, 0), (0.4, 0), (36.6, 37), (228.0, 228), (240.0, 228), (-3.0, 0)])
def test_the_class_of_an_age_is_the_nearest_month(months: float, wanted: int) -> None:
    assert int(protocol.class_of(torch.tensor(months))) == wanted


@pytest.mark.parametrize("months", [0.0, 0.5, 36.25, 227.5, 228.0])
def test_a_point_estimate_is_a_step_whose_sum_is_the_age(months: float) -> None:
    found = protocol.above_point(torch.tensor([months], dtype=torch.float64))[0].tolist()
    assert found == [min(1.0, max(0.0, months - k)) for k in range(228)]
    assert sum(found) == pytest.approx(months)


def test_classes_above_a_rank_are_those_of_later_months() -> None:
    logits_BC = draw(2, 229)
    for logits, found in zip(logits_BC.tolist(), protocol.above_classes(logits_BC).tolist(), strict=True):
        weights = [math.exp(z) for z in logits]
        share = [w / sum(weights) for w in weights]
        assert found == pytest.approx([sum(share[k + 1 :]) for k in range(228)])
        assert sum(found) == pytest.approx(sum(month * p for month, p in enumerate(share))), "the expected month"


PINNED: list[tuple[str, str, Any]] = [
    ("protocol", "MEAN_MONTHS", 127.3166),
    ("protocol", "SD_MONTHS", 41.1793),
    ("protocol", "SEX_FEATURES", 32),
    ("protocol", "PUBLISHED_WIDTH", 64),
    ("ren", "HALF_WEIGHT_MONTHS", 12.0),
    ("arcnn", "ROI_SIDE", 5),
    ("arcnn", "PART_WEIGHT", 0.5),
    ("arcnn", "OVERLAP_WEIGHT", 0.1),
    ("bonet", "SIGMA_SHARE", 0.014),
    ("bonet", "STRIDE", 32),
    ("iglovikov", "SHARES", {"hand": 1.0, "carpals": 0.5, "fingers": 0.625}),
    ("vgg", "CHANNELS", (32, 64, 128, 192, 256, 384)),
    ("vgg", "HIDDEN", 2048),
    ("convnext", "CHANNELS", (96, 192, 384, 768)),
    ("convnext", "BLOCKS", (3, 3, 9, 3)),
    ("convnext", "LAYER_SCALE", 1e-6),
    ("inception", "STEM_CHANNELS", 192),
]
"""What the papers and releases state, and what is ours where they are silent (each system's docstring says which)."""


@pytest.mark.parametrize(("module", "name", "value"), PINNED)
def test_a_constant_is_the_one_that_was_trained_with(module: str, name: str, value: Any) -> None:
    assert getattr(__import__(f"carpal.lab.baselines.{module}", fromlist=[name]), name) == value
