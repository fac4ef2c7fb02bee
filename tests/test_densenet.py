"""The other trunk against torchvision's (golden/README.md tells how the values were made), and inside the network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from carpal.errors import WeightsError
from carpal.model import weights
from carpal.model.alanet import ALANet, ModelConfig
from carpal.model.densenet import DenseNet169
from carpal.model.resnet import ResNet50
from carpal.training import systems
from carpal.training.config import Optim, Run
from trunk_kit import compare_with_golden

GOLDEN = Path(__file__).parent / "golden" / "densenet169.npz"


def test_c4_and_c5_equal_torchvision() -> None:
    compare_with_golden(DenseNet169(width=8), GOLDEN, least_scale=0.05)


def test_the_width_of_64_is_the_published_network() -> None:
    """torchvision's 14,149,480 parameters without the classifier and without two of three input channels."""
    trunk = DenseNet169()
    assert sum(p.numel() for p in trunk.parameters()) == 14_149_480 - 1_665_000 - 2 * 64 * 49
    assert (trunk.c4_channels, trunk.c5_channels) == (1280, 1664)


@pytest.mark.parametrize(("height", "width"), [(96, 160), (160, 96), (32, 32)])
def test_c4_has_stride_16_and_c5_stride_32(height: int, width: int) -> None:
    c4_BCHW, c5_BCHW = DenseNet169(width=8).eval()(torch.zeros(2, 1, height, width))
    assert c4_BCHW.shape == (2, 160, height // 16, width // 16)
    assert c5_BCHW.shape == (2, 208, height // 32, width // 32)


def test_it_starts_from_published_names_and_from_no_other_trunks(tmp_path: Path) -> None:
    """Three equal colours through ImageNet's first layer are what the grey trunk sees; every other tensor is copied."""
    torch.manual_seed(0)
    trunk, path = DenseNet169(width=8), tmp_path / "imagenet.safetensors"
    state = {f"features.{n}": torch.randn_like(t) for n, t in trunk.state_dict().items() if t.dim()}
    state["features.conv0.weight"] = torch.randn(8, 3, 7, 7)
    save_file(state, path)
    weights.load_imagenet(trunk, path)
    found = trunk.state_dict()
    same = [n for n in found if found[n].dim() and torch.equal(found[n], state[f"features.{n}"])]
    assert set(found) - set(same) == {n for n in found if not found[n].dim()} | {"conv0.weight", "norm0.running_mean"}
    with pytest.raises(WeightsError, match=r"no conv1\.weight and no bn1\.running_mean; ImageNet's ResNet50"):
        weights.load_imagenet(ResNet50(width=8), path)


@pytest.mark.parametrize("trunk", ["resnet50", "densenet169"])
def test_each_trunk_carries_the_whole_network_and_can_be_frozen(trunk: str) -> None:
    config = ModelConfig(trunk=trunk, width=8, long_side=64, box_size=16, roi_features=8)
    model = ALANet(config)
    output = model.eval()(torch.rand(2, 1, 64, 64) * 255, torch.tensor([0.0, 1.0]))
    assert output.logits_BK.shape == (2, 228)
    assert output.boxes_BR4 is not None
    assert output.boxes_BR4.shape == (2, 17, 4)
    run = Run(model=config, optim=Optim(freeze_stages=4))
    systems.build_optimiser(run, model)
    assert not any(p.requires_grad for p in model.trunk.parameters())
    assert all(p.requires_grad for p in model.mlp.parameters())
    assert len(systems.frozen_stages(Run(model=config, optim=Optim(freeze_stages=1)), model)) in (3, 4)


def test_an_unknown_trunk_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ValueError, match="resnet50, densenet169, got 'vgg16'"):
        ModelConfig(trunk="vgg16")
