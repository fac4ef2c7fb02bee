"""The training loop on a few drawn hands, with a network an eighth as wide: it learns, resumes and adds up exactly."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import loop_kit
from carpal.errors import ConfigError
from carpal.imaging.preprocess import view_size
from carpal.lab.data.prepare import prepare
from carpal.lab.model import losses, weights
from carpal.lab.model.alanet import ALANet
from carpal.lab.training import checkpoint, config, loop, recipes
from carpal.lab.training.config import Data, Optim, Run, Schedule
from carpal.lab.training.distributed import World
from loop_kit import ALONE, SIDE, TINY, killed_at, sample, tiny_run

_exact = loop_kit.exact


@pytest.fixture(autouse=True)
def _deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("stores")
    kinds = {
        "full": (range(1, 9), True, True),
        "aged": (range(2, 4), True, False),
        "marked": (range(4, 6), False, True),
    }
    for name, (numbers, aged, annotated) in kinds.items():
        prepare([sample(number, aged, annotated) for number in numbers], folder / name, SIDE)
    return {name: str(folder / name) for name in kinds}


def metrics(out: Path) -> list[dict[str, float]]:
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def step_once(run: Run, step: int = 0) -> tuple[ALANet, torch.optim.Optimizer, dict[str, float]]:
    torch.manual_seed(run.seed)
    mixture = loop.open_mixture(run)
    model = loop.build(run, mixture)
    optimiser = loop.build_optimiser(run, model)
    one_step = loop.micro_batches(run, mixture, ALONE, step)
    return model, optimiser, loop.train_step(run, step, model, optimiser, one_step, ALONE)


def test_the_loss_falls_and_everything_is_written(stores: dict[str, str], tmp_path: Path) -> None:
    run = tiny_run(stores["full"], steps=24, clip=5.0)
    path = loop.train(run, tmp_path / "out")
    records = metrics(tmp_path / "out")
    assert [record["step"] for record in records] == list(range(1, 25))
    assert set(records[0]) == {"step", "ord", "patch", "rpn_objectness", "rpn_box", "total", "lr"}
    for name, share in {"ord": 0.75, "patch": 0.97, "rpn_objectness": 0.98, "rpn_box": 0.6, "total": 0.8}.items():
        first, last = (sum(record[name] for record in part) / 4 for part in (records[:4], records[-4:]))
        assert last < share * first, name
    model, sidecar = weights.load(path)
    assert path.name == "tiny.safetensors"
    assert model.config == TINY
    assert sidecar["training"]["schedule"] == config.as_dict(run)["schedule"] | {"drops": list(run.schedule.drops)}
    assert config.from_dict(json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))) == run


def test_a_killed_run_resumes_to_the_very_same_bits(
    stores: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny_run(stores["full"], steps=9, batch=5, clip=1.0)  # epochs of eight: they end within batches
    whole = loop.train(run, tmp_path / "whole")
    with killed_at(6, monkeypatch):
        loop.train(run, tmp_path / "killed")
    assert metrics(tmp_path / "killed")[-1]["step"] == 6, "it went on after its checkpoint at 4"
    assert checkpoint.read(tmp_path / "killed")["step"] == 4
    taken: list[int] = []
    true_step = loop.train_step

    def count(run: Run, step: int, *rest: Any) -> dict[str, float]:
        taken.append(step)
        return true_step(run, step, *rest)

    monkeypatch.setattr(loop, "train_step", count)
    resumed = loop.train(run, tmp_path / "killed")
    assert taken == [4, 5, 6, 7, 8]
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")
    tensors, wanted = load_file(resumed), load_file(whole)
    assert all(torch.equal(tensors[name], tensor) for name, tensor in wanted.items())
    loop.train(run, tmp_path / "killed")
    assert len(taken) == 5, "a finished run takes no further step"


@pytest.mark.parametrize("micro_batch", [1, 3])
def test_micro_batches_add_up_to_the_large_batch(stores: dict[str, str], tmp_path: Path, micro_batch: int) -> None:
    run = tiny_run(stores["full"], freeze_norm=True, lr=1e-3)
    run = replace(run, data=Data(stores=tuple(stores.values())))  # some without an age, some without regions
    loop.train(run, tmp_path / "large")
    loop.train(replace(run, optim=replace(run.optim, micro_batch=micro_batch)), tmp_path / "small")
    for small, large in zip(metrics(tmp_path / "small"), metrics(tmp_path / "large"), strict=True):
        assert small == pytest.approx(large, rel=1e-5)


@pytest.mark.parametrize("stages", [0, 1, 3, 4])
def test_frozen_stages_stay_to_the_bit(stores: dict[str, str], stages: int) -> None:
    run = tiny_run(stores["full"], freeze_stages=stages, weight_decay=0.1)
    torch.manual_seed(run.seed)
    before = {name: tensor.clone() for name, tensor in loop.build(run, loop.open_mixture(run)).state_dict().items()}
    after = step_once(run)[0].state_dict()
    names = ["conv1", "bn1", *(f"layer{i + 1}" for i in range(stages))] if stages else []
    frozen = {name for name in before if name.removeprefix("trunk.").split(".")[0] in names}
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert bool(frozen) == bool(stages)
    assert not frozen & moved
    assert {name for name in before if name.endswith(("conv1.weight", "running_mean"))} - frozen <= moved


def test_frozen_norms_keep_their_statistics_and_learn(stores: dict[str, str]) -> None:
    model, _, _ = step_once(tiny_run(stores["full"], freeze_norm=True))
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert all(int(norm.running_mean.count_nonzero()) == 0 for norm in norms if norm.running_mean is not None)
    assert bool(model.trunk.layer4[0].bn3.weight.any()), "it started at zero"


@pytest.mark.parametrize("name", ["alanet", "resnet50", "local", "patch", "vanilla_rpn", "anonymous"])
def test_every_row_of_the_tables_trains_each_of_its_parameters(stores: dict[str, str], name: str) -> None:
    row = recipes.get(name).model
    run = tiny_run(stores["full"], model=replace(TINY, regions=row.regions, local=row.local, patch=row.patch))
    model, _, terms = step_once(run)
    assert all(math.isfinite(value) and value > 0 for value in terms.values())
    rpn = set() if row.regions == "none" else {"rpn_objectness", "rpn_box"}
    assert set(terms) == {"ord", "total"} | rpn | ({"patch"} if row.patch else set())
    assert terms["total"] == pytest.approx(sum(value for key, value in terms.items() if key != "total"), rel=1e-5)
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_patch_training_without_an_rpn_reads_the_annotated_regions(stores: dict[str, str]) -> None:
    run = tiny_run(stores["full"], model=replace(TINY, regions="none", local=False))
    mixture = loop.open_mixture(run)
    image_B1HW, male_B, target = loop.place(run, mixture.batch(0, 3), ALONE)
    output = loop.forward(run, loop.build(run, mixture), image_B1HW, male_B, target)
    assert output.boxes_BR4 is not None
    assert target.known_BR.sum() > 40
    inside_BR = target.known_BR & ((target.points_BR2 > 8) & (target.points_BR2 < 72)).all(-1)
    centres_BR2 = (output.boxes_BR4[..., :2] + output.boxes_BR4[..., 2:]) / 2
    torch.testing.assert_close(centres_BR2[inside_BR], target.points_BR2[inside_BR])


def test_a_hand_teaches_what_is_known_of_it(stores: dict[str, str]) -> None:
    aged, _, terms = step_once(tiny_run(stores["aged"], batch=2))
    assert terms["ord"] > 0 < terms["patch"]
    assert terms["rpn_objectness"] == terms["rpn_box"] == 0
    assert not bool(aged.rpn.objectness.weight.grad.any())
    marked, _, terms = step_once(tiny_run(stores["marked"], batch=2))
    assert terms["ord"] == terms["patch"] == 0
    assert terms["rpn_objectness"] > 0 < terms["rpn_box"]
    assert bool(marked.rpn.objectness.weight.grad.any())
    assert not any(bool(parameter.grad.any()) for parameter in marked.mlp.parameters())


def test_a_loss_that_is_no_number_stops_before_the_weights_move(stores: dict[str, str]) -> None:
    run = tiny_run(stores["full"])
    mixture = loop.open_mixture(run)
    model = loop.build(run, mixture)
    optimiser = loop.build_optimiser(run, model)
    model.mlp[0].bias.data[0] = float("nan")
    before = model.rpn.conv.weight.clone()
    with pytest.raises(loop.Diverged, match=r"loss is nan at step 2: lower optim\.lr"):
        loop.train_step(run, 2, model, optimiser, loop.micro_batches(run, mixture, ALONE, 2), ALONE)
    assert torch.equal(model.rpn.conv.weight, before)


def test_the_rates_reach_the_groups_and_the_gradient_is_clipped(stores: dict[str, str]) -> None:
    run = tiny_run(stores["full"], trunk_lr=0.25, clip=1e-3)
    run = replace(run, schedule=replace(run.schedule, warmup=10))
    model, optimiser, _ = step_once(run, step=4)
    trunk, rest = optimiser.param_groups
    assert (trunk["lr"], rest["lr"]) == (pytest.approx(3e-3 * 0.5 * 0.25), pytest.approx(3e-3 * 0.5))
    assert {id(p) for p in trunk["params"]} == {id(p) for p in model.trunk.parameters()}
    assert len(trunk["params"]) + len(rest["params"]) == len(list(model.parameters()))
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


def test_the_rate_drops_as_in_the_paper() -> None:
    run = recipes.alanet()
    rates = {step: loop.learning_rate(run, step) for step in (0, 29_999, 30_000, 39_999, 40_000, 49_999)}
    assert rates == pytest.approx({0: 1e-3, 29_999: 1e-3, 30_000: 1e-4, 39_999: 1e-4, 40_000: 1e-5, 49_999: 1e-5})


def test_the_rate_warms_up_and_falls_along_a_cosine() -> None:
    run = Run(optim=Optim(lr=2.0), schedule=Schedule(steps=110, warmup=10, cosine=True))
    rates = [loop.learning_rate(run, step) for step in range(110)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == 2.0
    assert rates[60] == pytest.approx(1.0)
    assert rates[35] == pytest.approx(1 + math.cos(math.pi / 4))
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))
    assert 0 < rates[-1] < 1e-3
    stepped = replace(run, schedule=Schedule(steps=110, warmup=10, drops=(5,)))
    assert loop.learning_rate(stepped, 5) == pytest.approx(2.0 * 0.6 * 0.1)


def test_a_run_starts_from_weights_of_ours_or_of_imagenet(stores: dict[str, str], tmp_path: Path) -> None:
    run = tiny_run(stores["full"])
    torch.manual_seed(5)
    donor = ALANet(replace(TINY, local=False, patch=False))
    weights.save(tmp_path / "donor.safetensors", donor, {"name": "donor", "version": "0"})
    mixture = loop.open_mixture(run)
    ours = loop.build(replace(run, start=str(tmp_path / "donor.safetensors")), mixture)
    assert torch.equal(ours.rpn.conv.weight, donor.rpn.conv.weight)
    assert torch.equal(ours.mlp[2].bias, donor.mlp[2].bias)
    assert ours.mlp[0].weight.shape != donor.mlp[0].weight.shape, "what does not fit is left out"
    kept = {name: t for name, t in donor.trunk.state_dict().items() if not name.startswith("layer4")}
    kept["conv1.weight"] = torch.randn(8, 3, 7, 7)
    save_file({n: t for n, t in kept.items() if not n.endswith("tracked")}, tmp_path / "imagenet.safetensors")
    trunk = loop.build(replace(run, start=str(tmp_path / "imagenet.safetensors")), mixture).trunk
    assert torch.equal(trunk.layer3[0].conv1.weight, donor.trunk.layer3[0].conv1.weight)
    assert not torch.equal(trunk.layer4[0].conv1.weight, donor.trunk.layer4[0].conv1.weight)


def test_a_new_network_predicts_the_mean_age_of_its_hands(stores: dict[str, str]) -> None:
    run = tiny_run(stores["full"])
    mixture = loop.open_mixture(run)
    last = loop.build(run, mixture).mlp[-1]
    assert float(torch.sigmoid(last.bias.detach()).sum()) == pytest.approx(float(mixture.months().mean()), abs=10)


def test_what_cannot_be_trained_is_said() -> None:
    with pytest.raises(ConfigError, match="give --data"):
        loop.open_mixture(Run())
    with pytest.raises(ConfigError, match=r"data\.repeats has 1 numbers for 2 stores"):
        loop.open_mixture(Run(data=Data(("a", "b"), (2.0,))))
    with pytest.raises(ConfigError, match=r"optim\.batch is 32; it must be a multiple of the 3 processes"):
        loop.micro_batches(Run(), None, World(0, 3, torch.device("cpu")), 0)  # type: ignore[arg-type]


def test_targets_are_on_the_canvas_with_the_place_seeds(stores: dict[str, str]) -> None:
    run = tiny_run(stores["full"])
    batch = loop.open_mixture(run).batch(0, 4)
    image_B1HW, male_B, target = loop.place(run, batch, ALONE)
    assert image_B1HW.shape == (4, 1, *view_size(SIDE))
    assert target.seeds_B.tolist() == batch.seeds
    assert torch.equal(target.months_B, batch.months_B)
    assert torch.equal(male_B, batch.male_B)
    assert losses.counts(target).tolist() == [4, 4, 4]
