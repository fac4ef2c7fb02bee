"""The mean of networks: of their numbers, with batch norms that fit it, in the same words as a run."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from carpal.cli import main
from carpal.data.sources import prepare_from
from carpal.data.synthetic import write_dataset
from carpal.errors import ConfigError, WeightsError
from carpal.model import weights
from carpal.model.alanet import ALANet, ModelConfig
from carpal.training import average, distributed, loop
from carpal.training.config import Augment, Data, Run
from carpal.training.distributed import World

SIDE = 96
TINY = ModelConfig(width=8, long_side=SIDE, box_size=16, roi_features=16)
ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "autocast", lambda world: contextlib.nullcontext())
    monkeypatch.setattr(average, "EXAMPLES", 24)
    monkeypatch.setattr(average, "AT_ONCE", 8)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("hands")
    write_dataset(folder / "drawn", count=8, seed=1, height=SIDE)
    prepare_from(folder / "drawn", folder / "store", long_side=SIDE)
    return Run(name="tiny", model=TINY, data=Data(stores=(str(folder / "store"),)), augment=Augment(scale=0.0))


def network(path: Path, seed: int, config: ModelConfig = TINY) -> ALANet:
    torch.manual_seed(seed)
    model = ALANet(config).eval()
    weights.save(path, model, {"name": path.stem, "version": "1", "training": {"seed": seed}})
    return model


def test_every_number_is_the_mean_and_counters_stay() -> None:
    first = {"weight": torch.tensor([1.0, 5.0]), "count": torch.tensor(7)}
    second = {"weight": torch.tensor([2.0, -5.0]), "count": torch.tensor(9)}
    got = average.mean([first, second])
    assert (got["weight"].tolist(), int(got["count"])) == ([1.5, 0.0], 7)


def test_the_mean_of_one_network_has_its_weights_and_norms_that_were_measured(run: Run, tmp_path: Path) -> None:
    model = network(tmp_path / "a.safetensors", 0)
    out, sidecar = weights.load(average.average(run, [tmp_path / "a.safetensors"], tmp_path / "mean.safetensors"))
    parameters = dict(out.named_parameters())
    assert all(torch.equal(parameters[name], tensor) for name, tensor in model.named_parameters())
    pictures = [loop.place(run, loop.open_mixture(run).batch(first, 8), ALONE)[0] for first in (0, 8, 16)]
    grey = [(image / 255 - 0.449) / 0.226 for image in pictures]
    before = torch.stack([model.trunk.conv1(image).mean((0, 2, 3)) for image in grey]).mean(0)
    torch.testing.assert_close(out.trunk.bn1.running_mean, before, atol=1e-5, rtol=1e-4)
    assert out.trunk.bn1.momentum == 0.1
    assert sidecar["training"]["average_of"][0]["training"] == {"seed": 0}
    assert sidecar["training"]["data"]["stores"] == ["store"]


def test_the_command_averages_two(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("carpal.training.recipes").training.recipes.RECIPES, "tiny", lambda: run)
    first, second = (network(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2))
    out = tmp_path / "new" / "mean.safetensors"
    words = [str(tmp_path / "1.safetensors"), str(tmp_path / "2.safetensors"), "--data", *run.data.stores]
    assert main(["average", "tiny", *words, "--out", str(out)]) == 0
    model, _ = weights.load(out)
    torch.testing.assert_close(model.mlp[0].weight, (first.mlp[0].weight + second.mlp[0].weight) / 2)
    assert json.loads(out.with_suffix(".json").read_text())["training"]["average_of"][1]["file"] == "2.safetensors"


def test_what_cannot_be_averaged_is_said(run: Run, tmp_path: Path) -> None:
    network(tmp_path / "other.safetensors", 0, replace(TINY, roi_features=32))
    with pytest.raises(WeightsError, match="belongs to another network"):
        average.average(run, [tmp_path / "other.safetensors"], tmp_path / "mean.safetensors")
    with pytest.raises(ConfigError, match=r"must end in \.safetensors"):
        average.average(run, [tmp_path / "other.safetensors"], tmp_path / "mean.onnx")
