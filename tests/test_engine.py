"""Weights by name or path, the checks on them, and the two backends giving the same reading."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carpal.errors import BackendError, ConfigError, WeightsError
from carpal.imaging.preprocess import pad, preprocess
from carpal.inference import weights as info_module
from carpal.inference.engine import Reading, need_finite, open_engine
from carpal.inference.weights import read_info, released_names, resolve, sha256_of
from carpal.types import Radiograph


def weights_file(folder: Path, content: bytes = b"weights", name: str = "some.onnx", **sidecar: Any) -> Path:
    """A file of any content with a sidecar that fits it, but for what `sidecar` says."""
    path = folder / name
    path.write_bytes(content)
    values = {"name": "some", "version": "1", "sha256": sha256_of(path)} | sidecar
    path.with_suffix(".json").write_text(json.dumps(values))
    return path


@pytest.fixture
def copied_onnx(tiny_onnx: Path, tmp_path: Path) -> Path:
    for suffix in (".onnx", ".json"):
        shutil.copy(tiny_onnx.with_suffix(suffix), tmp_path)
    return tmp_path / tiny_onnx.name


def onnx_with(folder: Path, image_type: str = "FLOAT", logits: int = 228, months: str = "months") -> Path:
    """An ONNX file that keeps our contract but for the arguments: months and probabilities are constants."""
    onnx = pytest.importorskip("onnx")
    kinds, make = onnx.TensorProto, onnx.helper
    values = {"probabilities": np.full((1, logits), 0.5, np.float32), months: np.full(1, logits / 2, np.float32)}
    nodes = [
        make.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(value))
        for name, value in values.items()
    ]
    shape = ["batch", 1, "height", "width"]
    inputs = [
        make.make_tensor_value_info("image", getattr(kinds, image_type), shape),
        make.make_tensor_value_info("male", kinds.FLOAT, ["batch"]),
    ]
    outputs = [make.make_tensor_value_info(name, kinds.FLOAT, value.shape) for name, value in values.items()]
    graph = make.make_graph(nodes, "g", inputs, outputs)
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=10)
    return weights_file(folder, model.SerializeToString())


def test_a_released_name_resolves_to_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info_module, "RELEASED", tmp_path)
    path = weights_file(tmp_path, name="alanet.onnx")
    assert released_names() == ["alanet"]
    assert resolve("alanet") == path
    assert resolve(str(path)) == path


def test_an_unknown_name_lists_the_released_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info_module, "RELEASED", tmp_path)
    for name in ("alanet.onnx", "second.onnx"):
        weights_file(tmp_path, name=name)
    with pytest.raises(WeightsError, match=r"alanett does not exist.* a released name: alanet, second$"):
        resolve("alanett")
    with pytest.raises(WeightsError, match="is a folder"):
        resolve(tmp_path)
    with pytest.raises(WeightsError, match=r"alanet\.json is no weights file"):
        resolve(tmp_path / "alanet.json")


def test_a_sidecar_is_read_and_its_gaps_filled_from_the_architecture(tmp_path: Path) -> None:
    architecture = {"regions": "named", "patch": True, "long_side": 256}
    info = read_info(weights_file(tmp_path, name="run.safetensors", architecture=architecture))
    assert (info.long_side, info.regions, info.backend, info.bytes) == (256, True, "torch", 7)
    assert json.loads(json.dumps(info.as_dict()))["architecture"] == architecture


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    path = weights_file(tmp_path)
    path.write_bytes(b"weightz")
    with pytest.raises(WeightsError, match=r"some\.onnx is not the file that some\.json describes"):
        read_info(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "not readable JSON"),
        ("[]", "lacks name, version, sha256"),
        ('{"name": "a", "version": "1"}', "lacks sha256"),
        (None, "missing beside it"),
    ],
)
def test_a_broken_sidecar_is_refused(tmp_path: Path, content: str | None, complaint: str) -> None:
    path = weights_file(tmp_path)
    sidecar = path.with_suffix(".json")
    sidecar.unlink() if content is None else sidecar.write_text(content)
    with pytest.raises(WeightsError, match=complaint):
        read_info(path)


def test_a_sidecar_with_a_value_of_the_wrong_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="wrong kind"):
        read_info(weights_file(tmp_path, long_side="wide"))


@pytest.mark.parametrize("key", ["view_scale", "closer"])
@pytest.mark.parametrize("scale", [0.9, 1.6, float("nan"), "near", None, True])
def test_the_view_s_scale_must_be_possible(tmp_path: Path, key: str, scale: Any) -> None:
    with pytest.raises(WeightsError, match=rf'"{key}": .* - it must be a number from 1 to 1\.5'):
        read_info(weights_file(tmp_path, **{key: scale}))


@pytest.mark.parametrize("flip", [0, 1, "false", None])
def test_flip_is_true_or_false(tmp_path: Path, flip: Any) -> None:
    with pytest.raises(WeightsError, match=r'"flip": .* - it must be true or false'):
        read_info(weights_file(tmp_path, flip=flip))


def test_how_weights_want_to_be_read(tmp_path: Path) -> None:
    """By default the aligned image and its mirror image; sidecars before 0.6 call the scale `closer`."""

    def wish(**values: Any) -> tuple[float, bool]:
        info = read_info(weights_file(tmp_path, **values))
        return info.view_scale, info.flip

    assert wish() == (1, True)
    assert wish(closer=1.25) == (1.25, True)
    assert wish(view_scale=1.2, flip=False) == (1.2, False)
    assert wish(view_scale=1.2, closer=1.5) == (1.2, True)


def test_the_backend_must_exist_and_fit_the_file(tmp_path: Path) -> None:
    path = weights_file(tmp_path)
    with pytest.raises(ConfigError, match="'tensorflow' is no backend"):
        open_engine(path, "tensorflow")
    with pytest.raises(WeightsError, match=r"use --backend onnx, or give a \.safetensors file"):
        open_engine(path, "torch")
    with pytest.raises(WeightsError, match="use --backend torch"):
        open_engine(weights_file(tmp_path, name="a.safetensors"))


def test_bytes_that_are_no_onnx_file_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(WeightsError, match=r"some\.onnx is no ONNX file"):
        open_engine(weights_file(tmp_path, b"no protobuf"))


@pytest.mark.parametrize(
    "broken", [{"image_type": "UINT8"}, {"logits": 240}, {"months": "age"}], ids=["input", "logits", "output"]
)
def test_an_onnx_file_of_another_architecture_is_refused(tmp_path: Path, broken: dict[str, Any]) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(WeightsError, match=r"some\.onnx is another architecture"):
        open_engine(onnx_with(tmp_path, **broken))


def test_an_onnx_file_without_regions_is_read(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    reading = open_engine(onnx_with(tmp_path)).run(np.zeros((64, 32), np.uint8), True)
    assert reading.months == 114.0
    assert reading.boxes_R4 is None


def test_onnx_file_without_the_regions_its_sidecar_promises_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = onnx_with(tmp_path)
    with pytest.raises(WeightsError, match=r"another architecture.*region_months"):
        open_engine(weights_file(tmp_path, path.read_bytes(), regions=True))


def test_both_backends_give_the_same_reading(tiny_onnx: Path, tiny_weights: Path, drawn_hand: Radiograph) -> None:
    ours, theirs = open_engine(tiny_onnx, threads=1), open_engine(tiny_weights, "torch")
    assert ours.long_side == theirs.long_side == 128
    image_HW, _ = pad(preprocess(drawn_hand.pixels_HW, 128).pixels_HW)
    for male in (False, True):
        a, b = ours.run(image_HW, male), theirs.run(image_HW, male)
        difference = {name: np.abs(np.subtract(x, y)).max() for name, x, y in zip(a._fields, a, b, strict=True)}
        assert difference["months"] < 0.05, difference
        assert difference["boxes_R4"] < 0.5, difference
        assert difference["region_months_R"] < 0.05, difference
        assert a.months == pytest.approx(float(a.probabilities_K.sum()), abs=1e-3)
        assert (a.probabilities_K.shape, a.boxes_R4.shape, a.scores_R.shape) == ((228,), (17, 4), (17,))


def test_given_boxes_replace_those_found_and_change_the_ages(
    tiny_onnx: Path, tiny_weights: Path, drawn_hand: Radiograph
) -> None:
    image_HW, _ = pad(preprocess(drawn_hand.pixels_HW, 128).pixels_HW)
    for engine in (open_engine(tiny_onnx, threads=1), open_engine(tiny_weights, "torch")):
        free = engine.run(image_HW, True)
        boxes_R4 = np.full((17, 4), np.nan, np.float32)
        boxes_R4[5] = [2, 2, 18, 18]
        given = engine.run(image_HW, True, boxes_R4)
        assert given.boxes_R4 is not None
        assert free.boxes_R4 is not None
        np.testing.assert_allclose(given.boxes_R4[5], boxes_R4[5])
        others = np.arange(17) != 5
        np.testing.assert_allclose(given.boxes_R4[others], free.boxes_R4[others])
        np.testing.assert_allclose(given.region_months_R[others], free.region_months_R[others], atol=1e-3)
        assert abs(given.region_months_R[5] - free.region_months_R[5]) > 1e-3


def test_boxes_of_another_shape_are_our_mistake(tiny_onnx: Path) -> None:
    with pytest.raises(AssertionError, match="boxes are R x 4"):
        open_engine(tiny_onnx, threads=1).run(np.zeros((128, 128), np.uint8), True, np.zeros((3, 4), np.float32))


def test_the_tiny_network_listens_to_sex_and_image(tiny_onnx: Path, drawn_hand: Radiograph) -> None:
    """By more than an export may be off (`parity.EXACT`), or the parity above would say nothing."""
    engine = open_engine(tiny_onnx, threads=1)
    image_HW, _ = pad(preprocess(drawn_hand.pixels_HW, 128).pixels_HW)
    female, male, mirrored = (
        engine.run(image, sex).months
        for image, sex in ((image_HW, False), (image_HW, True), (image_HW[:, ::-1], False))
    )
    assert abs(female - male) > 0.01
    assert abs(female - mirrored) > 0.01


def test_an_image_that_is_not_padded_is_our_mistake(tiny_onnx: Path) -> None:
    with pytest.raises(AssertionError, match="multiples of 32"):
        open_engine(tiny_onnx, threads=1).run(np.zeros((100, 128), np.uint8), True)


def test_the_changed_onnx_file_is_refused(copied_onnx: Path) -> None:
    open_engine(copied_onnx, threads=1)
    content = bytearray(copied_onnx.read_bytes())
    content[len(content) // 2] ^= 1
    copied_onnx.write_bytes(content)
    with pytest.raises(WeightsError, match="SHA-256"):
        open_engine(copied_onnx)


def test_an_answer_that_is_no_number_is_an_error() -> None:
    fine = Reading(10.0, np.zeros(228, np.float32))
    assert need_finite(fine, "a.onnx") is fine
    with pytest.raises(BackendError, match=re.escape("a.onnx answered")):
        need_finite(fine._replace(scores_R=np.array([np.nan], np.float32)), "a.onnx")
