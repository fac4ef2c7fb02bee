"""int8: which nodes, which ranges, how blocks are chosen, what the gate says, and what lies beside the float file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carpal.cli import main
from carpal.errors import ConfigError, WeightsError
from carpal.imaging.preprocess import pad, preprocess
from carpal.inference.engine import open_engine
from carpal.inference.weights import read_info, released_names, sha256_of
from carpal.lab.data.prepare import Sample
from carpal.lab.export import int8 as quantise
from carpal.lab.export import quantize as gate
from carpal.lab.export import quantize as quantised
from carpal.lab.export.quantize import AIM, Effect, Read, choose, effect, harm, judge, quantize, spread
from carpal.types import Radiograph, Sex

pytestmark = pytest.mark.slow

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture
def floats(tiny_onnx: Path, tmp_path: Path) -> Path:
    """The tiny float file and its sidecar, which says that folds 0 and 1 were held out; to be changed at will."""
    path = Path(shutil.copy(tiny_onnx, tmp_path))
    values = json.loads(tiny_onnx.with_suffix(".json").read_text())
    values |= {"training": {"data": {"holdout": [0, 1]}}, "view_scale": 1.1, "flip": False}
    path.with_suffix(".json").write_text(json.dumps(values))
    return path


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    """Fifteen drawn hands as PNG bytes, three in each fold."""
    from io import BytesIO

    from PIL import Image

    from carpal.lab.data.synthetic import draw_hand

    made = []
    for number in range(15):
        male = bool(number % 2)
        file = BytesIO()
        age = 40 + 10 * number
        Image.fromarray(draw_hand(age, Sex.MALE if male else Sex.FEMALE, seed=number).pixels_HW).save(file, "PNG")
        made.append(Sample(str(number), f"{number}.png", file.getvalue, age, male, fold=number % 5))
    return made


@pytest.fixture
def feeds(drawn_hand: Radiograph) -> list[quantise.Feed]:
    image_HW, _ = pad(preprocess(drawn_hand.pixels_HW, 128).grey_HW)
    feed = {"male": np.ones(1, np.float32), "given_boxes": np.full((1, 17, 4), np.nan, np.float32)}
    return [
        {**feed, "image": np.ascontiguousarray(side, np.float32)[None, None]} for side in (image_HW, image_HW[:, ::-1])
    ]


def test_only_blocks_of_the_trunk_the_reduction_and_the_heads_may_become_integers(floats: Path) -> None:
    model = quantise.float_form(floats.read_bytes())
    blocks = quantise.blocks(model)
    wanted = [f"trunk.layer{s}.{b}" for s, count in ((1, 3), (2, 4), (3, 6), (4, 3)) for b in range(count)]
    wanted += ["reduction", "rpn.conv", "roi_head.convolutions", "roi_head.fully_connected"]
    assert sorted(blocks) == sorted(wanted)
    kinds = {node.name: node.op_type for node in model.graph.node}
    assert {kinds[name] for names in blocks.values() for name in names} == {"Conv", "Gemm", "Add", "Relu"}
    assert sorted(kinds[name] for name in blocks["trunk.layer1.0"]) == ["Add", *["Conv"] * 4, *["Relu"] * 3]
    assert sum(kinds[name] == "Add" for names in blocks.values() for name in names) == 16


def test_a_file_of_others_is_refused() -> None:
    graph = onnx.helper.make_graph([], "g", [], [])
    with pytest.raises(WeightsError, match="no convolutions of our trunk"):
        quantise.blocks(onnx.helper.make_model(graph))


def test_the_float_form_answers_as_the_stored_one(floats: Path, feeds: list[quantise.Feed]) -> None:
    model = quantise.float_form(floats.read_bytes())
    assert not any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer)
    stored, plain = (quantised._run(content, feeds) for content in (floats.read_bytes(), model.SerializeToString()))
    assert [months for months, _ in stored] == [months for months, _ in plain]


def test_quantised_blocks_are_integers_and_the_rest_is_not(floats: Path, feeds: list[quantise.Feed]) -> None:
    model = quantise.float_form(floats.read_bytes())
    blocks = quantise.blocks(model)
    histograms = quantise.observe(model, feeds)
    nodes = [name for block, names in blocks.items() if block != "trunk.layer1.0" for name in names]
    made = onnx.load_from_string(quantise.quantise(model, histograms, nodes))
    behind = {node.output[0] for node in made.graph.node if node.op_type == "DequantizeLinear"}
    convolutions = {node.name: node.input[1] in behind for node in made.graph.node if node.op_type == "Conv"}
    floating = sorted(name for name, integer in convolutions.items() if not integer)
    kept = [n.name for n in model.graph.node if n.op_type == "Conv" and n.name not in nodes]
    assert floating == sorted(kept)
    assert len(kept) == 1 + 4 + 2  # the first, those of the block, the RPN's two heads
    moved = effect(quantised._run(model.SerializeToString(), feeds), quantised._run(made.SerializeToString(), feeds))
    assert 0 < moved.months < 10


def test_ranges_hold_zero_and_leave_out_the_last_values() -> None:
    counts_K = np.zeros(quantise.BINS, np.int64)
    counts_K[2048:3048] = 1000
    counts_K[4000] = 1
    histogram = quantise.Histogram(counts_K, 4.096, 0.0, 3.9)
    low, high = histogram.range(0.999)
    assert low == 0.0
    assert 1.99 < high < 2.01
    assert histogram.range(1.0) == (0.0, 3.9)


def test_blocks_that_move_most_stay_in_float_until_the_rest_is_small() -> None:
    effects = {"a": Effect(0.1, 0.0), "b": Effect(1.0, 0.0), "c": Effect(0.0, 0.01), "d": Effect(0.595, 0.0)}
    assert harm(effects) == ["c", "b", "d", "a"]
    assert choose(effects) == ["c", "b", "d"]  # 0.595 and 0.1 together are above AIM's 0.6
    assert choose({"a": Effect(0.1, 0.0), "d": Effect(0.59, 0.0)}) == []
    assert AIM.months < 1 > AIM.shift


def hands(months: list[float], move: float = 0.0) -> list[Read]:
    centres_R2 = np.stack([np.arange(17.0), np.zeros(17)], axis=-1) * 10
    return [Read(100.0, each, centres_R2 + np.array([0.0, move])) for each in months]


def test_the_gate_compares_errors_pair_by_pair() -> None:
    found = judge(hands([98.0, 104.0]), hands([98.2, 104.3], move=0.16))
    assert (found.n, found.mae_first, found.mae_second) == (2, 3.0, 3.05)
    assert found.mae_difference == pytest.approx(0.05)
    assert (found.bias, found.mean_absolute, found.max_absolute) == pytest.approx((0.25, 0.25, 0.3))
    assert found.mean_shift == pytest.approx(0.001)
    assert found.passed
    assert "difference +0.050" in str(found)


@pytest.mark.parametrize(("months", "move"), [([101.2], 0.0), ([100.8], 0.0), ([101.0], 0.6)])
def test_the_gate_refuses_better_ages_too_and_moved_regions(months: list[float], move: float) -> None:
    assert not judge(hands([101.0]), hands(months, move)).passed


def test_samples_are_spread_over_the_ages(samples: list[Sample]) -> None:
    some = spread(samples, 5)
    assert len({sample.id for sample in some}) == 5
    assert [sample.male for sample in some] == sorted(sample.male for sample in some)
    assert len(spread(samples, 100)) == 15


def test_the_command_writes_a_pair_that_int8_finds(
    floats: Path, samples: list[Sample], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quantised.shared, "images", lambda _: samples)
    monkeypatch.setattr(quantised, "CALIBRATION", 5)
    monkeypatch.setattr(quantised, "SEARCH", 3)
    monkeypatch.setattr(quantised, "_open", lambda path, backend: open_engine(path) if backend == "onnx" else None)
    out = floats.with_name("tiny.int8.onnx")
    with monkeypatch.context() as strict:
        strict.setattr(quantised, "judge", lambda *reads: judge(*reads, gate.Limits(0, 0)))
        assert main(["quantize", str(floats), "--data", "data", "--out", str(out)]) == 4
    assert "too far from tiny.onnx" in capsys.readouterr().err
    assert not out.exists()
    monkeypatch.setattr(quantised, "judge", lambda *reads: judge(*reads, gate.Limits(100, 1)))
    words = ["quantize", str(floats), "--data", "data", "--out", str(out), "--default", "--keep", "rpn.conv"]
    assert main(words) == 0
    made = json.loads(out.with_suffix(".json").read_text())["quantised"]
    assert (read_info(out, None).view_scale, read_info(out, None).flip) == (1.1, False)
    assert made["source"] == read_info(floats).sha256
    assert made["float32_blocks"][0] == "rpn.conv"
    assert made["gate"]["onnx"]["n"] == 6
    assert open_engine(floats).model.precision == "int8"
    assert open_engine(floats, precision="fp32").model.sha256 == read_info(floats).sha256
    assert (
        open_engine(floats, precision="int8").model.sha256 == json.loads(out.with_suffix(".json").read_text())["sha256"]
    )
    assert out.stat().st_size < 2 * floats.stat().st_size


@pytest.mark.parametrize(
    ("out", "default", "complaint"),
    [("none/a.onnx", False, "cannot be written"), ("tiny.onnx", False, "overwrite"), ("../a.onnx", True, "beside")],
)
def test_what_cannot_be_written_is_said_first(floats: Path, out: str, default: bool, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        quantize(floats, Path("data"), floats.parent / out, default=default)


def test_without_unseen_radiographs_there_is_no_gate(floats: Path) -> None:
    """Each fold was read by some training that led to these weights."""
    values = json.loads(floats.with_suffix(".json").read_text())
    values["training"]["started_from"] = {"training": {"data": {"holdout": [2]}}}
    floats.with_suffix(".json").write_text(json.dumps(values))
    with pytest.raises(WeightsError, match="no fold that its training held out"):
        quantize(floats, Path("data"), floats.parent / "a.onnx")


def write(folder: Path, name: str, **more: Any) -> Path:
    path = folder / f"{name}.onnx"
    path.write_bytes(name.encode())
    values = {"name": "a", "version": "1", "sha256": sha256_of(path)} | more
    path.with_suffix(".json").write_text(json.dumps(values))
    return path


def test_the_sidecar_leads_to_the_int8_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "a")
    with pytest.raises(WeightsError, match="no int8 form"):
        read_info(path, "int8")
    source = read_info(path).sha256
    other = write(tmp_path, "a.int8", precision="int8", quantised={"source": source}, refusal={"old": 1})
    write(tmp_path, "a", int8="a.int8.onnx", refusal={"new": 1}, view_scale=1.3, flip=False)
    assert read_info(path, None).precision == "fp32"
    assert read_info(path, "int8").path == other
    integers = read_info(path, "int8")
    assert (integers.refusal, integers.view_scale, integers.flip) == ({"new": 1}, 1.3, False)
    write(tmp_path, "a", int8="a.int8.onnx", default_precision="int8")
    assert (read_info(path, None).precision, read_info(path).precision) == ("int8", "fp32")
    with pytest.raises(WeightsError, match="computes in int8 - fp32 was asked for"):
        open_engine(other, precision="fp32")
    monkeypatch.setattr("carpal.inference.weights.RELEASED", tmp_path)
    assert released_names() == ["a"]
    write(tmp_path, "a.int8", precision="int8", quantised={"source": "another"})
    with pytest.raises(WeightsError, match="was made from another a"):
        read_info(path, "int8")
    other.unlink()
    with pytest.raises(WeightsError, match="is missing"):
        read_info(path, "int8")


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match="'int4' is no precision"):
        open_engine(precision="int4")
