"""Our own region detector, frozen, inside the systems that need key points: so they read any image by themselves.

Letters: B batch, R regions (17). It is ALA-Net's trunk up to C4, reduction and region proposal network, with the
weights of a trained network of ours (a run's `start`); it is never trained here, and travels in the system's file.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import torch
from torch import Tensor, nn

from carpal.errors import WeightsError
from carpal.lab.baselines.protocol import SystemConfig, full_precision, normalise
from carpal.lab.model.alanet import ALANet, ModelConfig
from carpal.lab.model.rpn import RpnOutput


class Detector(nn.Module):
    """An image to 17 named boxes (B, R, 4) and their scores (B, R); always in evaluation mode, never a gradient."""

    def __init__(self, config: SystemConfig) -> None:
        super().__init__()
        settings = ModelConfig(
            local=False, patch=False, long_side=config.long_side, box_size=config.box_size, width=config.detector_width
        )
        self.network = ALANet(settings)
        self.network.trunk.layer4 = nn.Sequential()
        self.network.mlp = nn.Sequential()
        self.network.sex = nn.Sequential()
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode: its batch norms must not learn."""
        return super().train(False)

    def forward(self, image_B1HW: Tensor, boxes_BR4: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`boxes_BR4` replaces what it finds, NaN keeps one."""
        with torch.no_grad():
            c4_BCHW, _ = self.network.trunk(normalise(image_B1HW))
            found = self.network.rpn(self.network.reduction(c4_BCHW))
            with full_precision(image_B1HW.device):
                found = RpnOutput(*(value.float() for value in found))
                picked_BR4, scores_BR = self.network.pick(found, image_B1HW.shape[-2:])
        if boxes_BR4 is not None:
            picked_BR4 = torch.where(boxes_BR4.isnan(), picked_BR4, boxes_BR4)
        return picked_BR4, scores_BR

    def load(self, tensors: dict[str, Tensor], source: str) -> None:
        """Takes the detector's part of a network of ours. Raises WeightsError where that has none that fits."""
        own = self.network.state_dict()
        missing = [name for name in own if name not in tensors or tensors[name].shape != own[name].shape]
        if missing:
            raise WeightsError(
                f"{source} holds no region detector of this size - {len(missing)} of {len(own)} tensors are missing "
                f"or of another shape ({_few(missing)}) - start from an ALA-Net of ours with named regions, and set "
                "model.detector_width to its width."
            )
        self.network.load_state_dict({name: tensors[name] for name in own})


def _few(names: Iterable[str]) -> str:
    return ", ".join(list(names)[:3])
