"""What the loop asks of a network, for ALA-Net and the comparison systems alike: its start, its forward, its loss.

Letters: B batch, H W the canvas, R regions (17).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from carpal.errors import ConfigError
from carpal.lab.baselines import protocol, registry
from carpal.lab.baselines.detector import Detector
from carpal.lab.baselines.protocol import Prediction, System
from carpal.lab.data.dataset import Mixture
from carpal.lab.model import boxes, losses, unfold, weights
from carpal.lab.model.alanet import ALANet, Output
from carpal.lab.model.resnet import ResNet50
from carpal.lab.training.config import Run, resolve

Network: TypeAlias = ALANet | System


def build(run: Run, mixture: Mixture) -> Network:
    """The network at its start: its own initialisation, the age prior, then what `run.start` offers."""
    try:
        model = registry.build(run.model)
    except ValueError as error:
        raise ConfigError(f"model.system: {error}.") from error
    ages = mixture.months()
    if len(ages):
        model.set_age_prior(ages)
    if isinstance(model, System):
        _start_system(run, model)
    elif run.start:
        path = resolve(run.start)
        tensors = unfold.state_of(path, model) if is_folded(run) else weights.read_tensors(path)
        if "mlp.0.weight" in tensors:
            weights.take_matching(model, tensors)
        else:
            weights.load_imagenet(model.trunk, path)
    return model


def is_folded(run: Run) -> bool:
    """Whether a run starts from an exported file, whose batch norms are folded away (`lab.model.unfold`)."""
    return run.start.endswith(".onnx")


def _start_system(run: Run, model: System) -> None:
    """ImageNet's trunk where the system has a ResNet-50, the region detector where it needs one."""
    if model.starts_from == "detector":
        if not run.start:
            raise ConfigError(
                f"{run.name} needs a region detector - it has none of its own - give the weights of an ALA-Net, "
                f"trained at {run.model.long_side} pixels: --set start=runs/NAME/NAME.safetensors."
            )
        path = resolve(run.start)
        stated = weights.read_sidecar(path)["architecture"].get("long_side")
        if stated != run.model.long_side:
            raise ConfigError(
                f"{path} finds regions on images of {stated} pixels - this run has {run.model.long_side} - start from "
                "a detector of the same size, or set model.long_side."
            )
        detector = next(module for module in model.modules() if isinstance(module, Detector))
        detector.load(weights.read_tensors(path), str(path))
    elif run.start:
        trunk = trunk_of(model)
        if trunk is None:
            raise ConfigError(f"{run.name} has no ResNet-50 to start from {run.start} - leave start out.")
        weights.load_imagenet(trunk, resolve(run.start))


def trunk_of(model: Network) -> ResNet50 | None:
    """The ResNet-50 that a network trains at a rate of its own; None where it has another trunk."""
    trunk = getattr(model, "trunk", None)
    return trunk if isinstance(trunk, ResNet50) else None


def forward(
    run: Run, model: Network, image_B1HW: Tensor, male_B: Tensor, target: losses.Targets
) -> Output | Prediction:
    """The network's forward; without an RPN, patch training reads the annotated regions (paper, section 4.2).

    A system that needs key points is given the annotated ones; its detector finds those that nobody annotated.
    """
    if isinstance(model, System):
        boxes_BR4 = None
        if model.starts_from == "detector":
            boxes_BR4 = boxes.centred(target.points_BR2, run.model.box_size)
            boxes_BR4 = torch.where(target.known_BR[..., None], boxes_BR4, math.nan)
        return model(image_B1HW, male_B, boxes_BR4)  # type: ignore[no-any-return]
    if model.config.regions == "none" and model.config.patch:
        truth_BR4 = losses.annotated_boxes(target, run.model.box_size, image_B1HW.shape[-2:])
        return model(image_B1HW, male_B, truth_BR4)  # type: ignore[no-any-return]
    return model(image_B1HW, male_B)  # type: ignore[no-any-return]


def total(
    run: Run, model: Network, output: Output | Prediction, target: losses.Targets, counts_3: Tensor
) -> Mapping[str, Tensor]:
    """Every term of the network's loss by its name, and "total"."""
    if isinstance(model, System):
        assert isinstance(output, Prediction), "a system answers with a Prediction"
        return protocol.total(model, output, target, counts_3)
    assert isinstance(output, Output), "ALA-Net answers with an Output"
    return losses.total(_in_float(output), target, counts_3, run.model.box_size)


def build_optimiser(run: Run, model: Network) -> torch.optim.Optimizer:
    """Adam (AdamW with weight decay) over two groups: the trunk, at its own rate, and the rest."""
    for module in frozen_stages(run, model):
        module.requires_grad_(False)
    trunk = trunk_of(model)
    ids = set() if trunk is None else {id(p) for p in trunk.parameters()}
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if id(p) in ids], "factor": run.optim.trunk_lr},
        {"params": [p for p in trainable if id(p) not in ids], "factor": 1.0},
    ]
    return torch.optim.AdamW(groups, lr=run.optim.lr, weight_decay=run.optim.weight_decay, fused=True)


def set_mode(run: Run, model: Network) -> None:
    """Training mode, but for what the run freezes: batch norms' statistics, the first stages of the trunk."""
    model.train()
    frozen = frozen_stages(run, model)
    if run.optim.freeze_norm:
        frozen += [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for module in frozen:
        module.eval()


def compile_trunk(run: Run, model: Network) -> None:
    """Hands the trunk to torch.compile where `optim.compile` asks for it; names and values of its tensors stay."""
    if not run.optim.compile:
        return
    trunk = trunk_of(model)
    if trunk is None:
        raise ConfigError(f"optim.compile is {run.optim.compile}; {run.name} has no ResNet-50, so it must be empty.")
    trunk.compile(mode=run.optim.compile)


def frozen_stages(run: Run, model: Network) -> list[torch.nn.Module]:
    """The parts of the trunk that `optim.freeze_stages` leaves alone."""
    trunk, stages = trunk_of(model), run.optim.freeze_stages
    if not stages:
        return []
    if trunk is None:
        raise ConfigError(f"optim.freeze_stages is {stages}; {run.name} has no ResNet-50, so it must be 0.")
    return [part for parts in trunk.stages()[:stages] for part in parts]


def _in_float(output: Output) -> Output:
    """Logits in float32: losses are computed at full precision."""
    patch = output.patch_logits_BRK
    return output._replace(
        logits_BK=output.logits_BK.float(), patch_logits_BRK=None if patch is None else patch.float()
    )
