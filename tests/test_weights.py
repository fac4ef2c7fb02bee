"""Weights on disk: what is saved comes back, what is damaged or foreign is refused, ImageNet's start is exact."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import save_file
from torch import Tensor

from carpal.errors import WeightsError
from carpal.lab.baselines import registry
from carpal.lab.model import weights
from carpal.lab.model.alanet import GREY_MEAN, GREY_STD, ALANet, ModelConfig
from carpal.lab.model.resnet import BATCH_NORM_EPS, ResNet50

CONFIG = ModelConfig(regions="anonymous", patch=False, long_side=96, width=4, roi_features=8)
META = {"name": "tiny", "version": "0.0.1", "training": {"recipe": "none"}}


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, ALANet]:
    torch.manual_seed(0)
    model = ALANet(CONFIG).eval()
    path = tmp_path / "tiny.safetensors"
    weights.save(path, model, META)
    return path, model


def rewrite(path: Path, **changes: Any) -> None:
    """Changes fields of a weights file's sidecar."""
    sidecar = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**sidecar, **changes}))


def test_what_is_saved_comes_back(saved: tuple[Path, ALANet]) -> None:
    path, model = saved
    loaded, sidecar = weights.load(path)
    assert loaded.config == CONFIG
    assert not loaded.training
    assert {name: sidecar[name] for name in META} == META
    assert sidecar["sha256"] == weights.sha256(path)
    image_B1HW, male_B = torch.rand(1, 1, 64, 96) * 255, torch.ones(1)
    with torch.no_grad():
        assert torch.equal(loaded(image_B1HW, male_B).logits_BK, model(image_B1HW, male_B).logits_BK)
    assert sorted(p.name for p in path.parent.iterdir()) == ["tiny.json", "tiny.safetensors"], "nothing half-written"


def test_saving_again_replaces_both_files(saved: tuple[Path, ALANet]) -> None:
    path, _ = saved
    other = ALANet(ModelConfig(regions="none", local=False, patch=False, width=4))
    weights.save(path, other, {**META, "version": "0.0.2"})
    loaded, sidecar = weights.load(path)
    assert loaded.config == other.config
    assert sidecar["version"] == "0.0.2"


def test_a_file_in_place_of_the_described_one_is_refused(saved: tuple[Path, ALANet]) -> None:
    path, _ = saved
    weights.save(path.with_name("other.safetensors"), ALANet(CONFIG), META)
    path.with_name("other.safetensors").replace(path)
    with pytest.raises(WeightsError, match=r"not the file that its sidecar describes.*SHA-256.*Copy both files again"):
        weights.load(path)


def test_one_changed_byte_is_noticed(saved: tuple[Path, ALANet]) -> None:
    path, _ = saved
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="SHA-256"):
        weights.load(path)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\xff" * 64])
def test_a_damaged_file_is_refused_even_with_its_hash(saved: tuple[Path, ALANet], content: bytes) -> None:
    path, _ = saved
    path.write_bytes(content)
    rewrite(path, sha256=weights.sha256(path))
    with pytest.raises(WeightsError, match=r"tiny\.safetensors is not a readable safetensors file"):
        weights.load(path)


def test_a_half_copied_file_is_refused(saved: tuple[Path, ALANet]) -> None:
    path, _ = saved
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    rewrite(path, sha256=weights.sha256(path))
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        weights.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for function in (weights.load, weights.read_tensors, weights.sha256):
        with pytest.raises(WeightsError, match=r"absent\.safetensors"):
            function(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("sidecar", [None, "", "{", "{}", '{"sha256": "0"}', "[]", '"text"', "\x00"])
def test_a_sidecar_that_says_nothing_is_refused(saved: tuple[Path, ALANet], sidecar: str | None) -> None:
    path, _ = saved
    path.with_suffix(".json").unlink()
    if sidecar is not None:
        path.with_suffix(".json").write_text(sidecar)
    with pytest.raises(WeightsError, match=r"needs tiny\.json beside it"):
        weights.load(path)


@pytest.mark.parametrize(
    "architecture", [{"wings": 2}, {"regions": "some"}, {"regions": "none", "local": True}, {"width": "8"}, None, [1]]
)
def test_an_unknown_architecture_is_refused(saved: tuple[Path, ALANet], architecture: Any) -> None:
    path, _ = saved
    rewrite(path, architecture=architecture)
    with pytest.raises(WeightsError, match=r"tiny\.json describes a network that this version does not know"):
        weights.load(path)


def test_a_sidecar_of_0_5_1_is_read_and_one_of_a_removed_trunk_refused(saved: tuple[Path, ALANet]) -> None:
    path, model = saved
    architecture = json.loads(path.with_suffix(".json").read_text())["architecture"]
    rewrite(path, architecture=architecture | {"trunk": "resnet50"})
    for load in (weights.load, registry.load):
        assert load(path)[0].config == model.config
    rewrite(path, architecture=architecture | {"trunk": "densenet169"})
    for load in (weights.load, registry.load):
        with pytest.raises(
            WeightsError, match=r"model\.trunk is 'densenet169' - that setting was removed, carpal 0\.5\.1"
        ):
            load(path)


def test_another_architecture_is_told_by_its_tensors(saved: tuple[Path, ALANet]) -> None:
    """The sidecar claims named regions and a patch MLP: 4 tensors are missing, 4 have the shape of one region."""
    path, _ = saved
    sidecar = json.loads(path.with_suffix(".json").read_text())
    rewrite(path, architecture={**sidecar["architecture"], "regions": "named", "patch": True})
    with pytest.raises(WeightsError) as caught:
        weights.load(path)
    message = str(caught.value)
    assert "4 missing (patch_mlp.0.weight, patch_mlp.0.bias, patch_mlp.2.weight, patch_mlp.2.bias)" in message
    assert (
        "4 of another shape (rpn.objectness.weight, rpn.objectness.bias, rpn.deltas.weight, rpn.deltas.bias)" in message
    )
    assert "unexpected" not in message
    assert str(path) in message


def test_unexpected_tensors_are_counted_and_the_first_five_named(saved: tuple[Path, ALANet]) -> None:
    path, model = saved
    extra = {f"head.{i}.weight": torch.zeros(1) for i in range(7)}
    with pytest.raises(WeightsError) as caught:
        weights.load_state(model, {**model.state_dict(), **extra}, path)
    names = ", ".join(f"head.{i}.weight" for i in range(5))
    assert f"7 unexpected ({names})" in str(caught.value)
    assert "head.5" not in str(caught.value)


def test_a_refused_state_changes_nothing(saved: tuple[Path, ALANet]) -> None:
    path, model = saved
    before = copy.deepcopy(model.state_dict())
    state = {name: torch.zeros_like(t) for name, t in before.items() if name != "mlp.2.bias"}
    with pytest.raises(WeightsError, match=r"1 missing \(mlp\.2\.bias\)"):
        weights.load_state(model, state, path)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_take_matching_takes_what_fits_and_names_the_rest() -> None:
    torch.manual_seed(0)
    source, model = ALANet(CONFIG), ALANet(ModelConfig(regions="named", patch=True, width=4, roi_features=8))
    fresh = weights.take_matching(model, source.state_dict())
    assert {name.split(".")[0] for name in fresh} == {"rpn", "patch_mlp"}
    assert "rpn.conv.weight" not in fresh
    assert torch.equal(model.state_dict()["trunk.conv1.weight"], source.state_dict()["trunk.conv1.weight"])


def rgb_state(width: int = 4) -> dict[str, Tensor]:
    """Random conv1 (RGB) .. layer3 under torchvision's names, as the published file has them."""
    torch.manual_seed(3)
    shapes = {n: t.shape for n, t in ResNet50(width).state_dict().items() if not n.startswith("layer4.") and t.dim()}
    state = {name: 0.3 * torch.randn(shape) for name, shape in shapes.items()}
    for name, tensor in state.items():
        if name.endswith("running_var"):
            state[name] = 0.5 + tensor.abs()
    return {**state, "conv1.weight": torch.randn(width, 3, 7, 7)}


@pytest.fixture
def imagenet(tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    state = rgb_state()
    save_file(state, tmp_path / "rgb.safetensors")
    return tmp_path / "rgb.safetensors", state


def stem(grey_HW: Tensor, trunk: ResNet50) -> Tensor:
    """Our first convolution and its norm on grey values 0..1."""
    return trunk.bn1(trunk.conv1(((grey_HW - GREY_MEAN) / GREY_STD)[None, None]))


def rgb_stem(grey_HW: Tensor, state: dict[str, Tensor]) -> Tensor:
    """ImageNet's: three equal colours, each normalised by its own mean and standard deviation, then the RGB filters."""
    means, deviations = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    colours_13HW = ((grey_HW.expand(3, -1, -1) - means[:, None, None]) / deviations[:, None, None])[None]
    hidden = F.conv2d(colours_13HW, state["conv1.weight"], stride=2, padding=3)
    mean, var, scale, shift = (state[f"bn1.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(hidden, mean, var, scale, shift, eps=BATCH_NORM_EPS)


def test_a_grey_image_means_the_same_to_the_grey_trunk(imagenet: tuple[Path, dict[str, Tensor]]) -> None:
    path, state = imagenet
    trunk = ResNet50(4).eval()
    weights.load_imagenet(trunk, path)
    grey_HW = torch.rand(48, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = stem(grey_HW, trunk), rgb_stem(grey_HW, state)
    difference = (ours - theirs)[..., 2:-2, 2:-2].abs()
    assert difference.max() < 1e-4, f"max {difference.max():.2e}, mean {difference.mean():.2e}"
    assert theirs.std() > 1, "values that are all alike prove nothing"


def test_the_start_leaves_layer4_and_takes_the_rest(imagenet: tuple[Path, dict[str, Tensor]]) -> None:
    path, state = imagenet
    trunk = ResNet50(4)
    before = copy.deepcopy(trunk.state_dict())
    weights.load_imagenet(trunk, path)
    for name, tensor in trunk.state_dict().items():
        if name.startswith("layer4."):
            assert torch.equal(tensor, before[name])
        elif name not in ("conv1.weight", "bn1.running_mean") and tensor.dim():
            assert torch.equal(tensor, state[name]), name


def test_a_start_of_another_width_is_refused(imagenet: tuple[Path, dict[str, Tensor]]) -> None:
    with pytest.raises(WeightsError, match=re.escape("first convolution of (4, 3, 7, 7)")):
        weights.load_imagenet(ResNet50(8), imagenet[0])


@pytest.mark.parametrize("name", ["conv1.weight", "bn1.running_mean", "layer2.1.bn2.bias"])
def test_a_start_that_lacks_a_tensor_is_refused(imagenet: tuple[Path, dict[str, Tensor]], name: str) -> None:
    path, state = imagenet
    save_file({n: t for n, t in state.items() if n != name}, path)
    with pytest.raises(WeightsError, match=name.replace(".", r"\.")):
        weights.load_imagenet(ResNet50(4), path)


def test_a_start_that_is_a_whole_network_is_refused(saved: tuple[Path, ALANet]) -> None:
    with pytest.raises(WeightsError, match=r"conv1\.weight"):
        weights.load_imagenet(ResNet50(4), saved[0])
