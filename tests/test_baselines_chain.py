"""The comparison systems through the same chain as ALA-Net: train, resume, export, read, and the errors on the way."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import loop_kit
from carpal.errors import ConfigError, WeightsError
from carpal.imaging.preprocess import pad, preprocess
from carpal.inference.engine import open_engine
from carpal.inference.weights import read_info
from carpal.lab.baselines import registry
from carpal.lab.baselines.protocol import System, SystemConfig
from carpal.lab.data.annotations import Annotation
from carpal.lab.data.prepare import Sample, prepare
from carpal.lab.data.synthetic import draw_hand
from carpal.lab.export import parity
from carpal.lab.export.export import export
from carpal.lab.model import weights
from carpal.lab.model.alanet import ALANet, ModelConfig
from carpal.lab.training import config, distributed, loop, recipes, systems
from carpal.lab.training.config import Augment, Data, Optim, Run, Schedule
from carpal.types import Sex

pytestmark = pytest.mark.slow

_exact = loop_kit.exact
SIDE = 96
WITH_POINTS = ("iglovikov", "bonet")
every_system = pytest.mark.parametrize("name", registry.SYSTEMS)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four drawn hands, two of them with regions."""
    samples = []
    for number in range(4):
        hand = draw_hand(40 + 40 * number, Sex.MALE if number % 2 else Sex.FEMALE, seed=number, height=SIDE)
        file = io.BytesIO()
        Image.fromarray(hand.pixels_HW).save(file, "PNG")
        height, width = hand.pixels_HW.shape
        points_R3 = np.column_stack([hand.points_R2, np.ones(17)])
        regions = Annotation(f"h{number}", "drawn", width, height, points_R3) if number < 2 else None
        samples.append(
            Sample(f"h{number}", f"h{number}", file.getvalue, hand.months, bool(number % 2), regions=regions)
        )
    folder = tmp_path_factory.mktemp("store") / "drawn"
    prepare(samples, folder, SIDE)
    return str(folder)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained ALA-Net without region features, as the first training stage leaves one."""
    torch.manual_seed(0)
    model = ALANet(ModelConfig(local=False, patch=False, long_side=SIDE, box_size=8, width=8))
    path = tmp_path_factory.mktemp("detector") / "detector.safetensors"
    weights.save(path, model, {"name": "detector", "version": "0"})
    return path


def tiny_run(name: str, store: str, detector: Path, steps: int = 4) -> Run:
    settings = SystemConfig(name, SIDE, width=8, box_size=8, parts=8, head_side=2, detector_width=8)
    return Run(
        name=name,
        model=settings,
        data=Data(stores=(store,)),
        augment=Augment(flip=0.5, scale=0.1),
        optim=Optim(lr=1e-3, batch=4, clip=5.0),
        schedule=Schedule(steps=steps, drops=(), save_every=2, log_every=1),
        start=str(detector) if name in WITH_POINTS else "",
    )


@pytest.mark.parametrize("name", ["larson", "arcnn", "bonet"])
def test_a_killed_run_resumes_to_the_very_same_bits(
    name: str, store: str, detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny_run(name, store, detector)
    whole = load_file(loop.train(run, tmp_path / "whole"))
    true_step = loop.train_step

    def die_at_3(run: Run, step: int, *rest: object) -> dict[str, float]:
        if step == 3:
            raise KeyboardInterrupt
        return true_step(run, step, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(loop, "train_step", die_at_3)
        with pytest.raises(KeyboardInterrupt):
            loop.train(run, tmp_path / "killed")
    resumed = load_file(loop.train(run, tmp_path / "killed"))
    assert all(torch.equal(resumed[n], tensor) for n, tensor in whole.items())
    records = (tmp_path / "killed" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    terms = set(json.loads(records[0])) - {"step", "seconds", "lr", "total"}
    assert terms == {"larson": {"class"}, "arcnn": {"l1", "parts", "overlap"}, "bonet": {"l1"}}[name]
    stated = json.loads((tmp_path / "killed" / "run.json").read_text(encoding="utf-8"))
    assert config.from_dict(stated) == run


@every_system
def test_the_exported_file_answers_as_pytorch_does(name: str, store: str, detector: Path, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    run = tiny_run(name, store, detector, steps=2)
    path = loop.train(run, tmp_path / "run")
    info = export(path, tmp_path / f"{name}.onnx")
    assert info.parity["float32"]["months"]["max"] <= parity.EXACT.months
    assert info.parity["float16"]["months"]["max"] <= parity.STORED.months
    assert (info.regions, info.long_side, info.architecture["system"]) == (False, SIDE, name)
    assert info.cost["parameters"] == sum(p.numel() for p in registry.load(path)[0].parameters())
    assert info.cost["flops"] > 0
    prepared = preprocess(draw_hand(100, Sex.MALE, seed=9, height=160).pixels_HW, SIDE)
    image_HW = pad(prepared.pixels_HW)[0]
    onnx = open_engine(tmp_path / f"{name}.onnx", "onnx", threads=1).run(image_HW, True)
    torch_ = open_engine(path, "torch", threads=1).run(image_HW, True)
    assert onnx.months == pytest.approx(torch_.months, abs=parity.STORED.months)
    assert onnx.boxes_R4 is onnx.scores_R is torch_.boxes_R4 is None
    assert onnx.probabilities_K.sum() == pytest.approx(onnx.months, abs=0.01)


def test_points_can_be_given_to_the_torch_engine(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = registry.build(SystemConfig("bonet", SIDE, width=8, box_size=8, head_side=2, detector_width=8))
    for norm in (module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.momentum = None  # statistics of what it sees: without any, every picture reads alike
    hand = draw_hand(100, Sex.MALE, seed=9, height=SIDE)
    image_HW, (left, top) = pad(hand.pixels_HW)
    image_B1HW = torch.from_numpy(np.stack([image_HW, image_HW[::-1], image_HW[:, ::-1]]))[:, None].float()
    with torch.no_grad():
        model.train()(image_B1HW, torch.ones(3))
    weights.save(tmp_path / "bonet.safetensors", model, {"name": "bonet", "version": "0"})
    engine = open_engine(tmp_path / "bonet.safetensors", "torch", threads=1)
    points_R2 = hand.points_R2 + np.array([left, top])
    given_R4 = np.concatenate([points_R2 - 4, points_R2 + 4], 1).astype(np.float32)
    assert engine.run(image_HW, True, given_R4).months != engine.run(image_HW, True).months


def test_annotated_points_are_used_and_the_others_detected(store: str, detector: Path) -> None:
    run = tiny_run("bonet", store, detector)
    mixture = loop.open_mixture(run)
    model = loop.build(run, mixture).eval()
    world = distributed.World(0, 1, torch.device("cpu"))
    image_B1HW, male_B, target = loop.place(run, mixture.batch(0, 4), world)
    boxes_BR4 = systems.forward(run, model, image_B1HW, male_B, target).boxes_BR4
    found_BR4 = model(image_B1HW, male_B).boxes_BR4
    centres_BR2 = (boxes_BR4[..., :2] + boxes_BR4[..., 2:]) / 2
    known_BR = target.known_BR
    assert 17 < known_BR.sum() <= 34, "two of the four hands are annotated, but for points that left the canvas"
    torch.testing.assert_close(centres_BR2[known_BR], target.points_BR2[known_BR])
    assert torch.equal(boxes_BR4[~known_BR], found_BR4[~known_BR])


@pytest.mark.parametrize("name", WITH_POINTS)
def test_a_system_with_points_needs_a_detector_of_its_size(
    name: str, store: str, detector: Path, tmp_path: Path
) -> None:
    run = tiny_run(name, store, detector)
    mixture = loop.open_mixture(run)
    with pytest.raises(ConfigError, match=rf"{name} needs a region detector.*--set start="):
        loop.build(replace(run, start=""), mixture)
    with pytest.raises(ConfigError, match="images of 96 pixels - this run has 128"):
        loop.build(replace(run, model=replace(run.model, long_side=128)), mixture)
    with pytest.raises(WeightsError, match="holds no region detector of this size"):
        loop.build(replace(run, model=replace(run.model, detector_width=16)), mixture)


def test_a_start_or_a_freeze_without_a_trunk_is_refused(store: str, detector: Path) -> None:
    run = tiny_run("convnext", store, detector)
    mixture = loop.open_mixture(run)
    with pytest.raises(ConfigError, match="convnext has no ResNet-50 to start from"):
        loop.build(replace(run, start=str(detector)), mixture)
    with pytest.raises(ConfigError, match="must be 0"):
        loop.build_optimiser(replace(run, optim=replace(run.optim, freeze_stages=1)), loop.build(run, mixture))
    with pytest.raises(ConfigError, match="no system 'alexnet'"):
        loop.build(replace(run, model=replace(run.model, system="alexnet")), mixture)


@every_system
def test_a_recipe_has_the_systems_published_size(name: str) -> None:
    run = recipes.get(name)
    assert run.model == SystemConfig(name)
    assert config.override(run, ["model.long_side=96", "model.width=8"]).model == SystemConfig(name, 96, width=8)
    assert issubclass(registry.SYSTEMS[name], System)


PUBLISHED = {"larson": 23.5, "ren": 21.8, "deeplasia": 4.0, "convnext": 27.8}
"""Millions of parameters of the published trunks, without their classifiers."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_trunks_are_as_large_as_published(name: str) -> None:
    count = sum(p.numel() for p in registry.build(SystemConfig(name)).parameters()) / 1e6
    assert count == pytest.approx(PUBLISHED[name], rel=0.03)


def test_info_reads_the_cost_from_the_sidecar(detector: Path) -> None:
    assert read_info(detector).cost == {}
