"""Every comparison system passes the same tests: gradients, odd sizes, learning, saved state, bf16, its own protocol.

Letters: B batch, H W the prepared image, R regions (17), K ranks.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from carpal.imaging.preprocess import pad, preprocess
from carpal.lab.baselines import protocol, registry
from carpal.lab.baselines.protocol import Prediction, System, SystemConfig
from carpal.lab.data.synthetic import draw_hand
from carpal.lab.model import boxes, losses, weights
from carpal.types import Sex

every_system = pytest.mark.parametrize("name", registry.SYSTEMS)
WITH_POINTS = ("iglovikov", "bonet")


def tiny(name: str) -> SystemConfig:
    return SystemConfig(name, long_side=96, width=8, box_size=12, parts=8, head_side=2, detector_width=8)


def system(name: str, seed: int = 0) -> System:
    """A system with every path open: new residual blocks begin as their shortcuts, here they count."""
    torch.manual_seed(seed)
    model = registry.build(tiny(name))
    assert isinstance(model, System)
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith("bn3.weight") or parameter_name.endswith(".scale"):
            torch.nn.init.constant_(parameter, 0.5)
    return model


def noise(height: int, width: int, batch: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Random images, sexes and ages, not in balance: a mean error of zero has no gradient in a bias."""
    random = torch.Generator().manual_seed(1)
    image_B1HW = torch.rand(batch, 1, height, width, generator=random) * 255
    image_B1HW *= torch.linspace(0.2, 1.0, batch)[:, None, None, None]
    return image_B1HW, torch.arange(batch) % 2.0, torch.tensor([30.0, 60.0, 200.0])[:batch]


@cache
def drawn_hands() -> tuple[Tensor, Tensor, losses.Targets]:
    """Eight drawn hands of 64 pixels, 30 to 212 months."""
    hands = [draw_hand(30 + 26 * i, list(Sex)[i % 2], seed=i, height=160) for i in range(8)]
    prepared = [preprocess(hand.pixels_HW, 64) for hand in hands]
    image_B1HW = torch.from_numpy(np.stack([pad(p.pixels_HW, 32)[0] for p in prepared]))[:, None].float()
    points_BR2 = np.stack([p.geometry.to_prepared(h.points_R2) for p, h in zip(prepared, hands, strict=True)])
    known_BR = torch.ones(8, 17, dtype=torch.bool)
    months_B = torch.tensor([hand.months for hand in hands])
    target = losses.Targets(months_B, torch.from_numpy(points_BR2).float(), known_BR, torch.arange(8))
    return image_B1HW, torch.tensor([float(hand.sex is Sex.MALE) for hand in hands]), target


def settled(model: System) -> System:
    """The system in evaluation mode, its batch norms with the statistics of the drawn hands and not of nothing."""
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the plain mean over what it sees
    with torch.no_grad():
        model.train()(*drawn_hands()[:2])
    return model.eval()


def loss_of(model: System, prediction: Prediction, months_B: Tensor) -> Tensor:
    return torch.stack([value_B.mean() for value_B in model.terms(prediction, months_B).values()]).sum()


@every_system
@pytest.mark.parametrize(("height", "width"), [(96, 128), (160, 96), (96, 64), (64, 32)])
def test_odd_sizes_give_an_age_and_its_distribution(name: str, height: int, width: int) -> None:
    model = system(name).eval()
    with torch.no_grad():
        prediction = model(*noise(height, width)[:2])
    assert prediction.months_B.shape == (3,)
    assert prediction.above_BK.shape == (3, 228)
    assert ((prediction.above_BK >= 0) & (prediction.above_BK <= 1)).all()
    assert (prediction.above_BK.diff(dim=1) <= 1e-6).all(), "P(age > k) falls with k"
    torch.testing.assert_close(prediction.above_BK.sum(1), prediction.months_B, rtol=1e-5, atol=1e-3)
    assert (prediction.boxes_BR4 is not None) == (name in WITH_POINTS)


@every_system
def test_a_gradient_reaches_every_parameter(name: str) -> None:
    model = system(name).train()
    image_B1HW, male_B, months_B = noise(96, 128)
    loss_of(model, model(image_B1HW, male_B), months_B).backward()
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert [n for n, p in trained.items() if p.grad is None or not bool((p.grad != 0).any())] == []
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in trained.values())
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
    assert all(n.startswith("detector.") for n in frozen)
    assert bool(frozen) == (name in WITH_POINTS)


@every_system
def test_the_loss_falls_on_eight_drawn_hands(name: str) -> None:
    torch.manual_seed(0)
    model = registry.build(tiny(name))
    assert isinstance(model, System)
    image_B1HW, male_B, target = drawn_hands()
    model.train().set_age_prior(target.months_B)
    given_BR4 = boxes.centred(target.points_BR2, 12) if name in WITH_POINTS else None
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    history = []
    for _ in range(25):
        optimiser.zero_grad()
        loss = protocol.total(model, model(image_B1HW, male_B, given_BR4), target, losses.counts(target))["total"]
        loss.backward()
        optimiser.step()
        history.append(float(loss.detach()))
    assert all(math.isfinite(value) for value in history)
    assert sum(history[-3:]) / 3 < 0.8 * history[0], f"from {history[0]:.3f} to {history[-1]:.3f}"


@every_system
def test_a_batch_of_two_equals_two_batches_of_one(name: str) -> None:
    model = settled(system(name))
    image_B1HW, male_B, _ = noise(96, 96)
    with torch.no_grad():
        both = model(image_B1HW, male_B).months_B
        each = torch.cat([model(image_B1HW[i : i + 1], male_B[i : i + 1]).months_B for i in range(3)])
    assert both.unique().numel() == 3, "images that read alike prove nothing"
    torch.testing.assert_close(both, each, rtol=1e-4, atol=1e-2)


@every_system
def test_weights_come_back_from_disk(name: str, tmp_path: Path) -> None:
    model = system(name, seed=1).eval()
    path = tmp_path / f"{name}.safetensors"
    weights.save(path, model, {"name": name, "version": "0"})
    again, sidecar = registry.load(path)
    assert sidecar["architecture"]["system"] == name
    assert isinstance(again, registry.SYSTEMS[name])
    image_B1HW, male_B, _ = noise(96, 64)
    with torch.no_grad():
        assert torch.equal(model(image_B1HW, male_B).months_B, again(image_B1HW, male_B).months_B)


@every_system
def test_sex_changes_the_age(name: str) -> None:
    model = system(name).eval()
    image_B1HW = noise(96, 96)[0][:1].expand(2, -1, -1, -1)
    with torch.no_grad():
        female, male = model(image_B1HW, torch.tensor([0.0, 1.0])).months_B.tolist()
    assert abs(female - male) > 1e-3


@every_system
def test_bf16_trains_and_answers_in_float32(name: str) -> None:
    model = system(name).train()
    image_B1HW, male_B, months_B = noise(96, 64)
    with torch.autocast("cpu", torch.bfloat16):
        prediction = model(image_B1HW, male_B)
    loss = loss_of(model, prediction, months_B)
    loss.backward()
    assert prediction.months_B.dtype == prediction.above_BK.dtype == loss.dtype == torch.float32
    assert math.isfinite(float(loss.detach()))


@every_system
def test_the_untrained_system_answers_the_training_ages(name: str) -> None:
    torch.manual_seed(0)
    model = registry.build(tiny(name))
    ages_N = torch.tensor([24.0, 60, 96, 120, 132, 150, 168, 180] * 40)
    model.set_age_prior(ages_N)
    with torch.no_grad():
        prediction = model.eval()(*drawn_hands()[:2])
    assert (prediction.months_B - ages_N.mean()).abs().max() < 12


@pytest.mark.parametrize("name", WITH_POINTS)
def test_given_points_replace_the_detected_ones(name: str) -> None:
    model = settled(system(name))
    image_B1HW, male_B, target = drawn_hands()
    truth_BR4 = boxes.centred(target.points_BR2, 12)
    some_BR4 = truth_BR4.clone()
    some_BR4[:, 5:] = math.nan
    with torch.no_grad():
        found, told, mixed = (model(image_B1HW, male_B, given) for given in (None, truth_BR4, some_BR4))
    assert torch.equal(told.boxes_BR4, truth_BR4)
    assert not torch.allclose(told.months_B, found.months_B)
    assert torch.equal(mixed.boxes_BR4[:, :5], truth_BR4[:, :5])
    assert torch.equal(mixed.boxes_BR4[:, 5:], found.boxes_BR4[:, 5:])


@pytest.mark.parametrize("name", WITH_POINTS)
def test_the_detector_never_learns(name: str) -> None:
    model = system(name).train()
    before = {n: t.clone() for n, t in model.state_dict().items() if n.startswith("detector.")}
    model(*noise(96, 96)[:2])
    assert before
    assert all(torch.equal(model.state_dict()[n], t) for n, t in before.items()), "its batch norms moved"


def test_months_without_an_age_count_for_nothing() -> None:
    model = system("larson").eval()
    image_B1HW, male_B, months_B = noise(96, 96)
    known_BR = torch.zeros(3, 17, dtype=torch.bool)
    with torch.no_grad():
        prediction = model(image_B1HW, male_B)
    holed = losses.Targets(torch.tensor([30.0, math.nan, 200.0]), torch.zeros(3, 17, 2), known_BR, torch.arange(3))
    found = protocol.total(model, prediction, holed, losses.counts(holed))
    each_B = model.terms(prediction, months_B)["class"]
    assert float(found["total"]) == pytest.approx(float(each_B[0] + each_B[2]) / 2, rel=1e-6)


def test_an_unknown_system_and_a_size_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no system 'alexnet'; systems: larson, ren"):
        registry.build(SystemConfig("alexnet"))
    with pytest.raises(ValueError, match="at least 1"):
        SystemConfig("larson", width=0)
