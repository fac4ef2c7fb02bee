"""The names of the comparison systems, and how a weights file of any system, or of ALA-Net, is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from torch import nn

from carpal.lab.baselines.arcnn import ARCNN
from carpal.lab.baselines.bonet import BoNet
from carpal.lab.baselines.convnext import ConvNeXt
from carpal.lab.baselines.deeplasia import Deeplasia
from carpal.lab.baselines.iglovikov import Iglovikov
from carpal.lab.baselines.larson import Larson
from carpal.lab.baselines.protocol import System, SystemConfig
from carpal.lab.baselines.prsnet import PRSNet
from carpal.lab.baselines.ren import Ren
from carpal.lab.model import weights
from carpal.lab.model.alanet import ALANet, ModelConfig

SYSTEMS: Final[dict[str, type[System]]] = {
    "larson": Larson,
    "ren": Ren,
    "iglovikov": Iglovikov,
    "prsnet": PRSNet,
    "arcnn": ARCNN,
    "bonet": BoNet,
    "deeplasia": Deeplasia,
    "convnext": ConvNeXt,
}


def build(config: ModelConfig | SystemConfig) -> ALANet | System:
    """The network of these settings at its own initialisation. Raises ValueError for an unknown system."""
    if isinstance(config, ModelConfig):
        return ALANet(config)
    if config.system not in SYSTEMS:
        raise ValueError(f"there is no system {config.system!r}; systems: {', '.join(SYSTEMS)}")
    return SYSTEMS[config.system](config)


def settings(architecture: dict[str, Any]) -> ModelConfig | SystemConfig:
    """The settings that a sidecar states; those of a system name it. Raises TypeError, ValueError, ConfigError."""
    if "system" in architecture:
        return SystemConfig(**architecture)
    return ModelConfig(**weights.without_removed({"model": architecture})["model"])


def load(path: Path) -> tuple[ALANet | System, dict[str, Any]]:
    """A network of ours (in eval mode) and its sidecar. Raises WeightsError as `lab.model.weights.load` does."""

    def from_sidecar(architecture: dict[str, Any]) -> nn.Module:
        return build(settings(architecture))

    network, sidecar = weights.load(path, from_sidecar)
    assert isinstance(network, ALANet | System)
    return network, sidecar
