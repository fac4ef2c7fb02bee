"""PyTorch as the backend, and `Deployed`: the network with the inputs and outputs that every backend shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from carpal.inference.engine import Reading, check_input, need_finite
from carpal.inference.weights import WeightsInfo, has_regions
from carpal.lab.baselines.protocol import System
from carpal.lab.baselines.registry import load
from carpal.lab.model import ordinal
from carpal.lab.model.alanet import ALANet
from carpal.quality.thresholds import Limits
from carpal.types import ModelId


class Deployed(nn.Module):
    """A network as it is used: grey values and sex in, months and regions out.

    `image` (B, 1, H, W), 0..255, and `male` (B), both float. Returns months (B), probabilities (B, 228) and, where the
    network names its regions, boxes (B, 17, 4) in prepared pixels, scores (B, 17), each region's months (B, 17) and the
    features (B, F) that the age is read from; it then also takes `given_boxes` (B, 17, 4) that replace its own, NaN for
    those that it is to find itself. A comparison system answers with months and probabilities alone, whatever regions
    it uses inside.
    """

    def __init__(self, network: ALANet | System) -> None:
        super().__init__()
        self.network = network.eval()
        self.regions = has_regions(vars(network.config))

    def forward(self, image: Tensor, male: Tensor, given_boxes: Tensor | None = None) -> tuple[Tensor, ...]:
        output = self.network(image.float(), male, given_boxes)
        if isinstance(self.network, System):
            return output.months_B, output.above_BK
        probabilities_BK = torch.sigmoid(output.logits_BK)
        results: tuple[Tensor, ...] = (probabilities_BK.sum(-1), probabilities_BK)
        if self.regions:
            results += (output.boxes_BR4, output.scores_BR, ordinal.months(output.patch_logits_BRK), output.features_BF)
        return results


class EagerEngine:
    """A .safetensors file in PyTorch, on the CPU."""

    def __init__(self, info: WeightsInfo, threads: int | None = None) -> None:
        self.model: ModelId = info.model
        self.long_side = info.long_side
        self.view_scale, self.flip = info.view_scale, info.flip
        self.calibration = info.calibration
        self.refusal = Limits.from_sidecar(info.refusal, str(info.path))
        self._source = str(info.path)
        if threads is not None:
            torch.set_num_threads(threads)
        network, _ = load(info.path)
        self._network = Deployed(network)
        points = isinstance(network, System) and network.starts_from == "detector"
        self.takes_regions = points or self._network.regions

    def run(self, image_HW: NDArray[Any], male: bool, boxes_R4: NDArray[np.float32] | None = None) -> Reading:
        check_input(image_HW, boxes_R4)
        given_BR4 = None if boxes_R4 is None else boxes_R4[None]
        months_1, *rest = run_eager(self._network, image_HW[None, None], np.array([male], np.float32), given_BR4)
        return need_finite(Reading(float(months_1[0]), *(value[0] for value in rest)), self._source)

    def propose(self, image_HW: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """The 17 boxes (R, 4) in prepared pixels and their scores (R) of a network of any kind that proposes some."""
        check_input(image_HW)
        with torch.inference_mode():
            output = self._network.network(torch.from_numpy(image_HW[None, None].copy()).float(), torch.zeros(1))
        if output.boxes_BR4 is None or output.scores_BR is None:
            return None
        return output.boxes_BR4[0].numpy(), output.scores_BR[0].numpy()


def run_eager(
    network: Deployed, image_B1HW: NDArray[Any], male_B: NDArray[Any], boxes_BR4: NDArray[Any] | None = None
) -> list[NDArray[Any]]:
    """The outputs of `Deployed` as arrays."""
    given_BR4 = None if boxes_BR4 is None else torch.from_numpy(boxes_BR4)
    with torch.inference_mode():
        outputs = network(torch.from_numpy(image_B1HW.copy()), torch.from_numpy(male_B), given_BR4)
    return [value.numpy() for value in outputs]
