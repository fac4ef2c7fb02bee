"""A sidecar says how its weights were made, and names no path of the machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from carpal.inference.weights import WeightsInfo
from carpal.lab.model import weights
from carpal.lab.model.alanet import ALANet, ModelConfig
from carpal.lab.training import provenance, recipes
from carpal.lab.training.config import Data
from carpal.lab.training.distributed import World


def write_metrics(path: Path, seconds: list[float]) -> None:
    path.write_text("".join(json.dumps({"step": i, "seconds": s}) + "\n" for i, s in enumerate(seconds)))


@pytest.mark.parametrize(
    ("seconds", "total"),
    [([10.0, 20.0, 3600.0], 3600.0), ([900.0, 1800.0, 50.0, 1800.0], 3600.0), ([], 0.0)],
)
def test_hours_add_up_over_a_resumed_run(tmp_path: Path, seconds: list[float], total: float) -> None:
    write_metrics(tmp_path / "metrics.jsonl", seconds)
    assert provenance.hours(tmp_path / "metrics.jsonl") == pytest.approx(total / 3600)


def test_the_chain_of_starts_is_kept_and_no_path(tmp_path: Path) -> None:
    first = tmp_path / "secret-folder" / "first.safetensors"
    first.parent.mkdir()
    meta = {"name": "first", "version": "0", "training": {"name": "thumbs", "hours": 0.5}}
    weights.save(first, ALANet(ModelConfig(width=8, long_side=64, box_size=8)), meta)
    write_metrics(tmp_path / "metrics.jsonl", [36.0])
    run = replace(recipes.smoke(), start=str(first), data=Data(stores=(str(first.parent / "store"),)), seed=3)
    told = provenance.describe(run, [0] * 48, World(0, 1, torch.device("cpu")), tmp_path)  # type: ignore[arg-type]
    assert told["started_from"] == {"sha256": weights.sha256(first), "training": meta["training"]}
    assert (told["start"], told["data"]["stores"]) == ("first.safetensors", ["store"])
    assert (told["examples_an_epoch"], told["epochs"], told["hours"]) == (48, 10.0, 0.01)
    assert "secret-folder" not in json.dumps(told)


def test_foreign_weights_are_known_by_their_hash(tmp_path: Path) -> None:
    path = tmp_path / "imagenet.safetensors"
    path.write_bytes(b"foreign")
    assert provenance.ancestor(replace(recipes.smoke(), start=str(path))) == {"sha256": weights.sha256(path)}
    assert provenance.ancestor(recipes.smoke()) == {}


@pytest.mark.parametrize(
    ("training", "held_out"),
    [
        ({"data": {"holdout": [0]}, "started_from": {"training": {"data": {"holdout": [0, 1]}}}}, (0,)),
        ({"data": {"holdout": [0, 1]}, "started_from": {"training": {"data": {"holdout": [0]}}}}, (0,)),
        ({"data": {"holdout": [0]}, "started_from": {"training": {"data": {"holdout": [1]}}}}, ()),
        ({"data": {"holdout": [3, 2]}, "started_from": {"sha256": "of ImageNet"}}, (2, 3)),
        ({"data": {"holdout": [4]}, "started_from": {"trunk": {"training": {"data": {"stores": ["a"]}}}}}, ()),
        ({"data": {"holdout": [1]}, "average_of": [{"training": {"data": {"holdout": [n, 1]}}} for n in (0, 2)]}, (1,)),
        ({}, ()),
    ],
)
def test_held_out_is_what_no_training_of_the_chain_read(training: dict[str, Any], held_out: tuple[int, ...]) -> None:
    assert WeightsInfo(Path("a.onnx"), "a", "1", "", 0, 256, True, training=training).held_out == held_out
