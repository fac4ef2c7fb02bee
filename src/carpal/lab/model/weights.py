"""Weights on disk: safetensors with a JSON sidecar, and the ImageNet start. No pickle is ever read.

`run/alanet.safetensors` stands beside `run/alanet.json`, which holds the name, the version, the SHA-256 of the weights
file, the `ModelConfig` and how the weights were trained.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from carpal.errors import ConfigError, WeightsError
from carpal.lab.model.alanet import GREY_MEAN, GREY_STD, ALANet, ModelConfig
from carpal.lab.model.resnet import ResNet50

Network = TypeVar("Network", bound=torch.nn.Module)

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
REMOVED: Final = (
    *("model.trunk", "data.pairs", "data.even", "augment.marks", "augment.invert", "optim.ema"),
    *("loss.spread", "loss.consistency", "loss.taught", "teachers"),
)
"""Settings of experiments that made no network better (docs/log.md): files that state them as off stay readable."""
REMOVED_AFTER: Final = "carpal 0.5.1 (commit c1dd475)"
"""The last version that knows them."""


def without_removed(settings: dict[str, Any]) -> dict[str, Any]:
    """A run's stored settings without those of `REMOVED`.

    Raises ConfigError where one is on: the network that it describes cannot be built or trained any more.
    """
    kept = {name: dict(part) if isinstance(part, dict) else part for name, part in settings.items()}
    for setting in REMOVED:
        section, _, name = setting.rpartition(".")
        part = kept.get(section) if section else kept
        value = part.pop(name, None) if isinstance(part, dict) else None
        if value and value != "resnet50":  # the trunk that stayed
            raise ConfigError(
                f"{setting} is {value!r} - that setting was removed, {REMOVED_AFTER} is the last version that has it - "
                "use that version, or train without it."
            )
    if not kept.get("loss", True):  # a section of nothing but removed settings
        del kept["loss"]
    return kept


def save(path: Path, model: torch.nn.Module, meta: dict[str, Any]) -> None:
    """Writes `path` (.safetensors) and its sidecar, weights first; `meta` needs "name" and "version".

    `model.config` is the dataclass of the network's settings.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    partial = path.with_suffix(".partial")
    save_file(state, partial)
    partial.replace(path)
    sidecar = {**meta, "sha256": sha256(path), "architecture": dataclasses.asdict(_settings(model))}
    sidecar_path(path).write_text(json.dumps(sidecar, indent=2) + "\n", encoding="utf-8")


def alanet(architecture: dict[str, Any]) -> ALANet:
    """The network that a sidecar describes. Raises TypeError, ValueError or ConfigError where it describes another."""
    return ALANet(ModelConfig(**without_removed({"model": architecture})["model"]))


def load(path: Path, build: Callable[[dict[str, Any]], Network] = alanet) -> tuple[Network, dict[str, Any]]:  # type: ignore[assignment]
    """The network (in eval mode) and its sidecar. Raises WeightsError for a wrong hash or another architecture.

    `build` makes the network of an architecture: ALA-Net's here, any system's in `lab.baselines.registry`.
    """
    sidecar = read_sidecar(path)
    if sha256(path) != sidecar["sha256"]:
        raise WeightsError(
            f"{path} is not the file that its sidecar describes: its SHA-256 is {sha256(path)[:12]}…, the sidecar says "
            f"{str(sidecar['sha256'])[:12]}…. Copy both files again from where they came from."
        )
    try:
        model = build(sidecar["architecture"])
    except (TypeError, ValueError, ConfigError) as error:
        raise WeightsError(
            f"{sidecar_path(path)} describes a network that this version does not know: {error}."
        ) from error
    load_state(model, read_tensors(path), path)
    return model.eval(), sidecar


def load_state(model: torch.nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Loads every tensor by name; says how many are missing, unexpected or of another shape, and the first five."""
    wanted = model.state_dict()
    problems = {
        "missing": [name for name in wanted if name not in state],
        "unexpected": [name for name in state if name not in wanted],
        "of another shape": [n for n in wanted if n in state and wanted[n].shape != state[n].shape],
    }
    found = [f"{len(names)} {kind} ({', '.join(names[:5])})" for kind, names in problems.items() if names]
    if found:
        raise WeightsError(f"{path} belongs to another network: tensors {'; '.join(found)}.")
    model.load_state_dict(state)


def take_matching(model: ALANet, state: dict[str, Tensor]) -> list[str]:
    """Copies every tensor that fits by name and shape; returns the names that kept their initialisation.

    A network that gains region features keeps what its MLP knew of the others: these features come last, and their
    weights start at zero.
    """
    own, first = model.state_dict(), "mlp.0.weight"
    known = state.get(first)
    if known is not None and len(known) == len(own[first]) and known.shape[1] < own[first].shape[1]:
        missing = own[first].shape[1] - known.shape[1]
        state = {**state, first: torch.nn.functional.pad(known, (0, missing))}
    fitting = {name: t for name, t in state.items() if name in own and own[name].shape == t.shape}
    model.load_state_dict({**own, **fitting})
    return [name for name in own if name not in fitting]


def load_imagenet(trunk: ResNet50, path: Path) -> None:
    """Starts the trunk from ImageNet's conv1..layer3 (RGB, torchvision's names); layer4 keeps its initialisation.

    The grey input stands for three equal colours: the colours' filters are summed, each divided by its own standard
    deviation, and the difference of the means goes into the first batch norm's running mean. This is exact but for the
    zero padding at the border.
    """
    state, own = read_tensors(path), trunk.state_dict()
    conv, norm = "conv1.weight", "bn1.running_mean"
    expected = "ImageNet's ResNet-50 was expected"
    absent = [name for name in (conv, norm) if name not in state]
    if absent:
        raise WeightsError(f"{path} has no {' and no '.join(absent)}; {expected}.")
    rgb_O377 = state[conv]
    if rgb_O377.shape != (len(own[conv]), 3, 7, 7):
        raise WeightsError(f"{path} has a first convolution of {tuple(rgb_O377.shape)}; {expected}.")
    mean_3, std_3 = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    state[conv] = (rgb_O377 * (GREY_STD / std_3)[:, None, None]).sum(1, keepdim=True)
    offset_3 = (GREY_MEAN - mean_3) / std_3
    state[norm] = state[norm] - (rgb_O377.sum((2, 3)) * offset_3).sum(1)
    kept = {n: t for n, t in own.items() if n.startswith("layer4.") or n.endswith("num_batches_tracked")}
    load_state(trunk, {**kept, **state}, path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file: {error}. Copy it again.") from error


def _settings(model: torch.nn.Module) -> Any:
    assert dataclasses.is_dataclass(model.config), "a network keeps its settings as a dataclass"
    return model.config


def read_sidecar(path: Path) -> dict[str, Any]:
    """The JSON beside a weights file."""
    try:
        sidecar: dict[str, Any] = json.loads(sidecar_path(path).read_text(encoding="utf-8"))
        sidecar["sha256"], sidecar["architecture"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path} needs {sidecar_path(path).name} beside it with its hash and architecture; reading it gave: "
            f"{error}."
        ) from error
    return sidecar


def sidecar_path(path: Path) -> Path:
    """`alanet.safetensors` -> `alanet.json`."""
    return path.with_suffix(".json")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}. Check the path given to --weights.") from error
