"""Teachers: a run learns their mean answer besides the labels, and none that has learned what it holds out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import loop_kit
from carpal.data.prepare import prepare
from carpal.errors import ConfigError
from carpal.model import losses, ordinal, weights
from carpal.model.alanet import ALANet, ModelConfig
from carpal.training import config, loop
from carpal.training.config import Run
from carpal.training.teachers import Teachers
from loop_kit import ALONE, SIDE, TINY, sample, tiny_run

_exact = loop_kit.exact
TAUGHT = losses.Loss(taught=0.5)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("stores") / "full"
    prepare([sample(number, True, True) for number in range(1, 5)], folder, SIDE)
    return str(folder)


def teacher(folder: Path, seed: int, model: ModelConfig = TINY, **training: Any) -> str:
    """An untrained network that says what it was trained on."""
    torch.manual_seed(seed)
    path = folder / f"teacher{seed}.safetensors"
    weights.save(path, ALANet(model), {"name": "teacher", "version": "0", "training": training})
    return str(path)


def taught_run(store: str, *teachers: str) -> Run:
    return replace(tiny_run(store), teachers=teachers, loss=TAUGHT)


def test_they_say_the_mean_of_what_each_says(store: str, tmp_path: Path) -> None:
    names = [teacher(tmp_path, seed) for seed in (1, 2)]
    image_B1HW, male_B = 255 * torch.rand(3, 1, SIDE, 80), torch.tensor([0.0, 1.0, 1.0])
    taught_BK = Teachers(taught_run(store, *names), ALONE).teach(image_B1HW, male_B, ALONE)
    with torch.no_grad():
        one_BK, other_BK = (torch.sigmoid(weights.load(Path(name))[0](image_B1HW, male_B).logits_BK) for name in names)
    torch.testing.assert_close(taught_BK, (one_BK + other_BK) / 2)
    assert float((one_BK - other_BK).abs().max()) > 1e-3, "two teachers, two answers"


def test_a_step_learns_from_them(store: str, tmp_path: Path) -> None:
    """Half of each target is the label, half what the teachers say: both terms of the loss follow the slow sum."""
    run = taught_run(store, teacher(tmp_path, 1))
    mixture = loop.open_mixture(run)
    torch.manual_seed(0)
    model = loop.build(run, mixture)
    optimiser = loop.build_optimiser(run, model)
    batches = loop.micro_batches(run, mixture, ALONE, 0)
    image_B1HW, male_B, target = loop.place(run, batches[0], ALONE)
    teachers = Teachers(run, ALONE)
    probability_BK = teachers.teach(image_B1HW, male_B, ALONE).double()
    target_BK = (ordinal.targets(target.months_B).double() + probability_BK) / 2
    with torch.no_grad():
        output = model.train()(image_B1HW, male_B)

    def entropy(logits_K: torch.Tensor, target_K: torch.Tensor) -> float:
        p_K = torch.sigmoid(logits_K.double())
        return float(-(target_K * p_K.log() + (1 - target_K) * (1 - p_K).log()).mean())

    hands = range(len(target_BK))
    whole = sum(entropy(output.logits_BK[i], target_BK[i]) for i in hands) / len(hands)
    regions = [entropy(output.patch_logits_BRK[i, r], target_BK[i]) for i in hands for r in range(17)]
    terms = loop.train_step(run, 0, model, optimiser, batches, ALONE, teachers)
    assert terms["ord"] == pytest.approx(whole, rel=1e-4)
    assert terms["patch"] == pytest.approx(sum(regions) / len(regions), rel=1e-4)


def test_a_run_with_teachers_trains_and_says_which_they_were(store: str, tmp_path: Path) -> None:
    name = teacher(tmp_path, 1, data={"holdout": [0, 1]})
    run = replace(taught_run(store, name), data=replace(tiny_run(store).data, holdout=(1,)))
    path = loop.train(run, tmp_path / "out")
    said = weights.read_sidecar(path)["training"]
    assert said["teachers"] == {"teacher1.safetensors": weights.sha256(Path(name))}
    assert said["loss"]["taught"] == 0.5
    plain = loop.train(replace(run, teachers=(), loss=losses.PAPER), tmp_path / "plain")
    assert weights.sha256(path) != weights.sha256(plain)
    assert config.from_dict(config.as_dict(run)) == run


@pytest.mark.parametrize(
    ("training", "fold"),
    [
        ({"data": {"holdout": [0]}}, 1),
        ({"data": {"holdout": [0, 1]}, "started_from": {"training": {"data": {"holdout": [1]}}}}, 0),
    ],
)
def test_a_teacher_that_knows_what_is_held_out_is_refused(
    training: dict[str, Any], fold: int, store: str, tmp_path: Path
) -> None:
    run = taught_run(store, teacher(tmp_path, 1, **training))
    run = replace(run, data=replace(run.data, holdout=(0, 1)))
    with pytest.raises(ConfigError, match=rf"was trained on fold {fold} - the run holds it out"):
        Teachers(run, ALONE)


def test_a_teacher_of_another_size_is_refused(store: str, tmp_path: Path) -> None:
    name = teacher(tmp_path, 1, replace(TINY, long_side=128))
    with pytest.raises(ConfigError, match="reads pictures of 128 pixels - the run's have 96"):
        Teachers(taught_run(store, name), ALONE)


@pytest.mark.parametrize(("teachers", "taught"), [(("a.safetensors",), 0.0), ((), 0.5)])
def test_teachers_and_their_share_need_each_other(teachers: tuple[str, ...], taught: float) -> None:
    with pytest.raises(ConfigError, match=r"teachers is .*; it must be some networks where loss.taught is above 0"):
        Run(teachers=teachers, loss=losses.Loss(taught=taught))
