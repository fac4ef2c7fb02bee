"""What every comparison system shares: its settings, its answer, and how its own loss becomes a training step's.

Letters: B batch, H W the prepared image, D features, K the 228 ranks, R regions (17).

A system is an `nn.Module` that takes grey values 0..255 and the sex, answers with a `Prediction`, and says in `terms`
what its paper trains. Everything else (data, augmentation, optimiser, checkpoints, export, evaluation) is the same code
for all of them and for ALA-Net.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from carpal.lab.model import losses, ordinal
from carpal.lab.model.alanet import GREY_MEAN, GREY_STD

MEAN_MONTHS, SD_MONTHS = 127.3166, 41.1793
"""Mean and standard deviation of RSNA's training ages, as Deeplasia states them: the unit that regressions work in."""
SEX_FEATURES = 32
PUBLISHED_WIDTH = 64


@dataclass(frozen=True)
class SystemConfig:
    """A comparison system's settings. Sizes of images and boxes are pixels of the prepared image."""

    system: str = ""
    """The system's name in `registry.SYSTEMS`."""
    long_side: int = 512
    """The prepared image's long side."""
    width: int = PUBLISHED_WIDTH
    """Channels in 64ths of the published ones; 64 is the published network, tests use 8."""
    box_size: int = 64
    """Side of a part or region."""
    parts: int = 16
    """Parts that PRSNet selects, and that AR-CNN's agent proposes a quarter of."""
    head_side: int = 7
    """BoNet's last feature map is averaged to so many cells along a side before it is flattened."""
    detector_width: int = PUBLISHED_WIDTH
    """First channels of the region detector's ResNet-50 (Iglovikov, BoNet)."""

    def __post_init__(self) -> None:
        small = {name: getattr(self, name) for name in ("width", "box_size", "parts", "head_side", "detector_width")}
        if wrong := {name: value for name, value in small.items() if value < 1}:
            raise ValueError(f"sizes of a system are at least 1, got {wrong}")


class Prediction(NamedTuple):
    """What a system answers. `raw` is what its own loss reads; boxes and scores are None where it uses no regions."""

    months_B: Tensor
    above_BK: Tensor
    """P(age > k), k = 0..227: the sum is the age."""
    raw: tuple[Tensor, ...]
    boxes_BR4: Tensor | None = None
    scores_BR: Tensor | None = None


class System(nn.Module, ABC):
    """The base of all comparison systems."""

    starts_from: ClassVar[str] = "nothing"
    """What a run's `start` offers it: "imagenet" (its ResNet-50 trunk), "detector" (needed), or "nothing"."""

    def __init__(self, config: SystemConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(self, image_B1HW: Tensor, male_B: Tensor, boxes_BR4: Tensor | None = None) -> Prediction:
        """`boxes_BR4` replaces detected regions, NaN keeps one; systems without regions ignore it."""

    @abstractmethod
    def terms(self, prediction: Prediction, months_B: Tensor) -> dict[str, Tensor]:
        """The loss of each example (B) by the name of its term; their sum is trained."""

    def set_age_prior(self, months_N: Tensor) -> None:
        """Starts every output at the training ages' distribution (classes) or mean (regression)."""
        for module in self.modules():
            if isinstance(module, Regression | MonthClasses):
                module.set_age_prior(months_N)


def total(system: System, prediction: Prediction, target: losses.Targets, counts_3: Tensor) -> dict[str, Tensor]:
    """A system's terms summed over the examples with an age and divided by their number in the step, and "total"."""
    has_age_B, aged = ~target.months_B.isnan(), counts_3[0].clamp(min=1)
    each = system.terms(prediction, target.months_B.nan_to_num(0.0))
    terms = {name: (value_B * has_age_B).sum() / aged for name, value_B in each.items()}
    terms["total"] = torch.stack(list(terms.values())).sum()
    return terms


def normalise(image_B1HW: Tensor) -> Tensor:
    """Grey values 0..255 to ImageNet's scale, as ALA-Net does."""
    return (image_B1HW / 255.0 - GREY_MEAN) / GREY_STD


def scaled(channels: int, width: int) -> int:
    """So many channels at a width in 64ths, at least 4."""
    return max(4, channels * width // PUBLISHED_WIDTH)


def sex_embedding() -> nn.Sequential:
    """One number to 32 features: what BoNet, Deeplasia and others publish; the default where a paper is silent."""
    return nn.Sequential(nn.Linear(1, SEX_FEATURES), nn.ReLU())


def full_precision(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Leaves bf16 for what cannot bear it: an age of 128 months or more has steps of a month there."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return contextlib.nullcontext()


class Regression(nn.Module):
    """Features (..., D) to months (...): a linear layer whose unit is a standard deviation of the ages."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 1)

    def forward(self, features_BD: Tensor) -> Tensor:
        with full_precision(features_BD.device):
            z_B: Tensor = self.linear(features_BD.float())[..., 0]
        return MEAN_MONTHS + SD_MONTHS * z_B

    def set_age_prior(self, months_N: Tensor) -> None:
        """Starts at the mean age."""
        with torch.no_grad():
            self.linear.bias.fill_((float(months_N.float().mean()) - MEAN_MONTHS) / SD_MONTHS)
            self.linear.weight.mul_(0.1)


class MonthClasses(nn.Module):
    """Features (B, D) to logits (B, 229): one class for each month from 0 to 228."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, ordinal.RANKS)

    def forward(self, features_BD: Tensor) -> Tensor:
        with full_precision(features_BD.device):
            logits: Tensor = self.linear(features_BD.float())
        return logits

    def set_age_prior(self, months_N: Tensor) -> None:
        """Starts at the share of training ages in each month; no month is impossible."""
        counts = torch.bincount(class_of(months_N.float()), minlength=ordinal.RANKS).float() + 0.1
        with torch.no_grad():
            self.linear.bias.copy_(torch.log(counts / counts.sum()))
            self.linear.weight.mul_(0.1)


def class_of(months_B: Tensor) -> Tensor:
    """The class of an age: the nearest month."""
    return months_B.round().clamp(0, ordinal.RANKS - 1).long()


def above_point(months_B: Tensor) -> Tensor:
    """P(age > k) (B, K) of a point estimate: all at one age. Their sum is that age, within 0..228."""
    ranks_K = torch.arange(ordinal.LOGITS, device=months_B.device, dtype=months_B.dtype)
    return (months_B[..., None] - ranks_K).clamp(0.0, 1.0)


def above_classes(logits_BC: Tensor) -> Tensor:
    """P(age > k) (B, K) of month classes: what lies above k. Their sum is the expected age."""
    at_most_BC = torch.softmax(logits_BC, -1).cumsum(-1)
    return (1.0 - at_most_BC[..., :-1]).clamp(0.0, 1.0)


def l1(months_B: Tensor, truth_B: Tensor) -> Tensor:
    """Absolute error in standard deviations of the ages: the unit makes no difference to Adam."""
    return (months_B - truth_B).abs() / SD_MONTHS
