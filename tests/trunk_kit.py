"""A trunk with weights that everybody can draw, against the features that torchvision's gave (golden/README.md)."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from carpal.model.alanet import Trunk


def drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    """The weights of a parameter or buffer, by its name alone: the same function as in golden/README.md."""
    normal = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("running_var"):
        return torch.tensor(1 + 0.3 * np.abs(normal))
    if normal.ndim == 1:
        return torch.tensor((0.5 if name.endswith("weight") else 0.0) + 0.1 * normal)
    return torch.tensor(normal / np.sqrt(normal[0].size))


def compare_with_golden(trunk: Trunk, path: Path, least_scale: float) -> None:
    """C4 and C5 are those of the file, to 1e-4 of their standard deviation, which is more than `least_scale`."""
    trunk.eval()
    with torch.no_grad():
        for name, tensor in trunk.state_dict().items():
            if tensor.dim():
                tensor.copy_(drawn(name, tuple(tensor.shape)))
        golden = np.load(path)
        features = trunk(torch.from_numpy(golden["image_B1HW"]))
    for name, ours in zip(("c4_BCHW", "c5_BCHW"), features, strict=True):
        theirs = golden[name]
        assert ours.shape == theirs.shape
        difference = np.abs(ours.numpy() - theirs)
        scale = theirs.std()
        assert scale > least_scale, "golden features that are all alike prove nothing"
        assert difference.max() < 1e-4 * scale, f"{name}: max {difference.max():.2e}, mean {difference.mean():.2e}"
