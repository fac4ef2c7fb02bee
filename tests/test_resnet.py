"""The trunk against torchvision's (golden/README.md tells how the values were made), and where it differs."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from carpal.lab.model.resnet import Bottleneck, ResNet50

GOLDEN = Path(__file__).parent / "golden" / "resnet50.npz"


def drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    """The weights of a parameter or buffer, by its name alone: the same function as in golden/README.md."""
    normal = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("running_var"):
        return torch.tensor(1 + 0.3 * np.abs(normal))
    if normal.ndim == 1:
        return torch.tensor((0.5 if name.endswith("weight") else 0.0) + 0.1 * normal)
    return torch.tensor(normal / np.sqrt(normal[0].size))


def test_c4_and_c5_equal_torchvision() -> None:
    """To 1e-4 of each map's standard deviation."""
    trunk = ResNet50(width=8).eval()
    with torch.no_grad():
        for name, tensor in trunk.state_dict().items():
            if tensor.dim():
                tensor.copy_(drawn(name, tuple(tensor.shape)))
        golden = np.load(GOLDEN)
        features = trunk(torch.from_numpy(golden["image_B1HW"]))
    for name, ours in zip(("c4_BCHW", "c5_BCHW"), features, strict=True):
        theirs = golden[name]
        assert ours.shape == theirs.shape
        difference = np.abs(ours.numpy() - theirs)
        scale = theirs.std()
        assert scale > 0.1, "golden features that are all alike prove nothing"
        assert difference.max() < 1e-4 * scale, f"{name}: max {difference.max():.2e}, mean {difference.mean():.2e}"


def test_the_width_of_64_is_the_published_network() -> None:
    """torchvision's 25,557,032 parameters without the classifier and without two of three input channels."""
    trunk = ResNet50()
    assert sum(p.numel() for p in trunk.parameters()) == 25_557_032 - 2_049_000 - 2 * 64 * 49
    assert (trunk.c4_channels, trunk.c5_channels) == (1024, 2048)
    names = set(trunk.state_dict())
    assert {
        "conv1.weight",
        "bn1.running_var",
        "layer1.0.downsample.1.bias",
        "layer4.2.bn3.num_batches_tracked",
    } <= names
    assert len(names) == 318  # 320 in torchvision, less fc.weight and fc.bias


@pytest.mark.parametrize(("height", "width"), [(96, 160), (160, 96), (32, 32)])
def test_c4_has_stride_16_and_c5_stride_32(height: int, width: int) -> None:
    trunk = ResNet50(width=8).eval()
    c4_BCHW, c5_BCHW = trunk(torch.zeros(2, 1, height, width))
    assert c4_BCHW.shape == (2, 128, height // 16, width // 16)
    assert c5_BCHW.shape == (2, 256, height // 32, width // 32)


def test_the_stride_of_a_stage_sits_in_its_first_1x1() -> None:
    trunk = ResNet50(width=8)
    strided = {name for name, m in trunk.named_modules() if isinstance(m, torch.nn.Conv2d) and m.stride != (1, 1)}
    shortcuts = {f"layer{stage}.0.downsample.0" for stage in (2, 3, 4)}
    assert strided == {"conv1", *(f"layer{stage}.0.conv1" for stage in (2, 3, 4)), *shortcuts}


def test_a_new_block_is_its_shortcut() -> None:
    torch.manual_seed(0)
    trunk = ResNet50(width=8)
    x_BCHW = torch.rand(2, 32, 6, 5)
    block = trunk.layer1[1]
    assert isinstance(block, Bottleneck)
    assert block.downsample is None
    torch.testing.assert_close(block(x_BCHW), x_BCHW, rtol=0, atol=0)
