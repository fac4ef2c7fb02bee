"""Export: one ONNX file that answers like PyTorch, or none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carpal.errors import ConfigError, WeightsError
from carpal.inference.weights import read_info

pytestmark = pytest.mark.slow

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from carpal.anatomy import MEAN_HAND  # noqa: E402
from carpal.lab.export import export as module  # noqa: E402 (needs torch)
from carpal.lab.export import parity  # noqa: E402
from carpal.lab.export.export import NAMED, export, find_weights, halve  # noqa: E402
from carpal.lab.export.parity import ASPECTS, compare, phantom  # noqa: E402
from carpal.lab.export.torch_runtime import Deployed  # noqa: E402
from carpal.lab.model import boxes  # noqa: E402
from carpal.lab.model.rpn import RpnOutput  # noqa: E402


def changed(content: bytes, layer: str, factor: float) -> bytes:
    """The network with the weights of one layer multiplied."""
    model = onnx.load_from_string(content)
    tensor = next(t for t in model.graph.initializer if t.name.startswith(f"network.{layer}.weight"))
    values = onnx.numpy_helper.to_array(tensor) * np.array(factor, np.float16)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return bytes(model.SerializeToString())


def test_the_file_is_described_and_its_parity_stated(tiny_onnx: Path, tiny_weights: Path) -> None:
    info = read_info(tiny_onnx)
    source = json.loads(tiny_weights.with_suffix(".json").read_text())
    assert (info.name, info.version, info.long_side, info.regions) == ("tiny", "0.0", 128, True)
    assert info.architecture == source["architecture"]
    assert info.training == {"name": "none"}
    for storage, limits in (("float32", parity.EXACT), ("float16", parity.STORED)):
        assert info.parity[storage]["months"]["max"] <= limits.months
        assert info.parity[storage]["boxes"]["max"] <= limits.pixels
    assert "non-commercial" in info.licence
    assert len({tuple(shape) for shape in info.parity["float16"]["shapes"]}) == len(ASPECTS)
    assert sorted(p.suffix for p in tiny_onnx.parent.glob("tiny.*")) == [".json", ".onnx"]


def test_weights_are_stored_in_half_and_norms_folded(tiny_onnx: Path, tiny_network: Any) -> None:
    graph = onnx.load(tiny_onnx).graph
    assert not any(node.op_type == "BatchNormalization" for node in graph.node)
    kinds = {t.data_type for t in graph.initializer if np.prod(t.dims) >= module.HALVED_FROM}
    assert kinds == {onnx.TensorProto.FLOAT16}
    parameters = sum(p.numel() for p in tiny_network.parameters())
    assert tiny_onnx.stat().st_size < 2 * parameters + 600_000  # the rest: biases, and the graph itself


def test_no_path_of_the_machine_is_in_the_file(tiny_onnx: Path) -> None:
    content = tiny_onnx.read_bytes()
    assert str(Path(module.__file__).parents[1]).encode() not in content
    assert b".py" not in content


@pytest.mark.parametrize("shape", [(1, 96, 64), (3, 160, 128), (2, 64, 224)])
def test_batch_height_and_width_are_free(tiny_onnx: Path, tiny_network: Any, shape: tuple[int, int, int]) -> None:
    batch, height, width = shape
    image_B1HW = np.stack([phantom(max(height, width), width / height, seed) for seed in range(batch)])[:, None]
    assert image_B1HW.shape == (batch, 1, height, width)
    male_B = np.arange(batch, dtype=np.float32) % 2
    session = ort.InferenceSession(str(tiny_onnx), providers=["CPUExecutionProvider"])
    assert [o.name for o in session.get_outputs()] == ["months", "probabilities", *NAMED]
    found = compare(Deployed(tiny_network), session, image_B1HW, male_B)
    limits = {
        "months": 0.05,
        "probabilities": 0.01,
        "boxes": 0.5,
        "scores": 0.01,
        "region_months": 0.05,
        "features": 0.05,
    }
    assert found.keys() == limits.keys()
    for name, difference in found.items():
        assert difference.max() <= limits[name], f"{name}: max {difference.max()}, mean {difference.mean()}"


@pytest.mark.parametrize(("logit", "apart"), [(2.0, 0.2), (1.9, 60.0)], ids=["as good", "worse"])
def test_boxes_may_only_be_others_where_they_fit_a_hand_as_well(tiny_network: Any, logit: float, apart: float) -> None:
    """Two hands side by side: the second one's boxes are right when they score within TIE of the first one's."""
    hand_R2 = torch.tensor(MEAN_HAND) * 0.13 * 128
    centres_A2 = torch.cat([hand_R2 + torch.tensor([30.0, 60.0]), hand_R2 + torch.tensor([90.0, 60.0])])
    anchors_A4 = boxes.centred(centres_A2, 16)
    logits_AR = torch.cat([torch.eye(17) * 7 - 5, torch.eye(17) * (logit + 5) - 5])
    rpn = RpnOutput(logits_AR[None], torch.zeros(1, 34, 17, 4), anchors_A4)
    given_BR4 = boxes.clip(anchors_A4[None, 17:] + 0.2, 128, 128)
    distance_BR, scores_BR = parity._to_equally_good(tiny_network, rpn, given_BR4, (128, 128))
    assert float(distance_BR.median()) == pytest.approx(apart, abs=0.25)
    assert scores_BR.shape == (1, 17)


@pytest.mark.parametrize(
    ("layer", "complaint"),
    [
        ("mlp.2", r" months: max [\d.]+, mean [\d.]+ months, allowed 0.01"),
        ("roi_head.fully_connected.1", r" region_months: max [\d.]+"),
        ("rpn.deltas", r" boxes: max [\d.]+, mean [\d.]+ px, allowed 0.05"),
    ],
)
def test_a_network_that_disagrees_is_not_written(
    layer: str, complaint: str, tiny_onnx: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = changed(tiny_onnx.read_bytes(), layer, 1.5)
    monkeypatch.setattr(module, "to_onnx", lambda *_: content)
    with pytest.raises(WeightsError, match="disagrees with PyTorch.*" + complaint):
        export(tiny_weights, tmp_path / "out.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_second_export_replaces_both_files_and_takes_a_name(
    tiny_onnx: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "to_onnx", lambda *_: tiny_onnx.read_bytes())
    monkeypatch.setattr(module, "measure", lambda *_: {})
    (tmp_path / "out.onnx").write_bytes(b"old")
    info = export(tiny_weights.parent, tmp_path / "out.onnx", name="better", version="2", view_scale=1.25, flip=False)
    assert (info.name, info.version, info.view_scale, info.flip) == ("better", "2", 1.25, False)
    with pytest.raises(ConfigError, match=r"--view-scale 2 is not possible - it must be 1 to 1\.5"):
        export(tiny_weights, tmp_path / "other.onnx", view_scale=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.json", "out.onnx"]


def test_the_weights_own_sidecar_is_never_overwritten(tiny_weights: Path, tmp_path: Path) -> None:
    for suffix in (".safetensors", ".json"):
        shutil.copy(tiny_weights.with_suffix(suffix), tmp_path)
    with pytest.raises(ConfigError, match="would overwrite"):
        export(tmp_path / "tiny.safetensors", tmp_path / "tiny.onnx")


@pytest.mark.parametrize(
    ("out", "storage", "complaint"),
    [("a.pt", "float16", "must end in .onnx"), ("none/a.onnx", "float16", "no folder"), ("a.onnx", "int4", "'int4'")],
)
def test_what_cannot_be_written_is_said_first(
    tiny_weights: Path, tmp_path: Path, out: str, storage: str, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        export(tiny_weights, tmp_path / out, storage=storage)


def test_a_run_is_found_by_its_folder(tiny_weights: Path, tmp_path: Path) -> None:
    assert find_weights(tiny_weights.parent) == tiny_weights
    assert find_weights(tiny_weights) == tiny_weights
    with pytest.raises(WeightsError, match="has not finished"):
        find_weights(tmp_path)
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").touch()
    with pytest.raises(WeightsError, match=r"holds 2 weights files.*a\.safetensors, b\.safetensors"):
        find_weights(tmp_path)
    with pytest.raises(WeightsError, match="cannot be exported"):
        find_weights(tmp_path / "a.onnx")


def one_weight(values: np.ndarray) -> Any:
    """A graph that adds one stored weight to its input."""
    make, kinds = onnx.helper, onnx.TensorProto
    graph = make.make_graph(
        [make.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [make.make_tensor_value_info("x", kinds.FLOAT, [1])],
        [make.make_tensor_value_info("y", kinds.FLOAT, values.shape)],
        [onnx.numpy_helper.from_array(values, "w")],
    )
    return make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize(("size", "exact"), [(1024, False), (1023, True)])
def test_halving_keeps_the_arithmetic_in_float32(size: int, exact: bool) -> None:
    values = np.linspace(-1, 1, size, dtype=np.float32)
    model = one_weight(values)
    halve(model)
    onnx.checker.check_model(model)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": np.array([1000], np.float32)})
    kept = values if exact else values.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(y, kept + np.float32(1000))


def test_weights_too_large_for_half_are_refused() -> None:
    with pytest.raises(WeightsError, match="--storage float32"):
        halve(one_weight(np.full(2000, 1e5, np.float32)))


def test_phantoms_differ_and_fit_the_stride() -> None:
    first, second = phantom(128, 0.6, 0), phantom(128, 0.6, 1)
    assert first.shape == (128, 64)
    assert first.dtype == np.uint8
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, phantom(128, 0.6, 0))
