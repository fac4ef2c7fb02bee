"""An exported file, taken apart, is the network that it came from, and goes on learning."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carpal.errors import WeightsError
from carpal.lab.data.prepare import Sample, prepare

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from carpal.inference.onnx import OnnxEngine  # noqa: E402
from carpal.inference.weights import read_info  # noqa: E402
from carpal.lab.export.torch_runtime import Deployed, run_eager  # noqa: E402 (needs torch)
from carpal.lab.model import unfold, weights  # noqa: E402
from carpal.lab.model.alanet import ALANet, ModelConfig  # noqa: E402
from carpal.lab.training import loop  # noqa: E402
from carpal.lab.training.config import Data, Optim, Run, Schedule  # noqa: E402


def unfolded(path: Path) -> Any:
    """A fresh network with the file's parameters; every one of them must be there."""
    architecture = json.loads(path.with_suffix(".json").read_text())["architecture"]
    network = ALANet(ModelConfig(**architecture)).eval()
    own, state = network.state_dict(), unfold.state_of(path, network)
    assert {name for name in own if name not in state and not name.endswith("num_batches_tracked")} == set()
    network.load_state_dict({**own, **state})
    return network


def answers(network: Any, images_B1HW: Any) -> list[Any]:
    return run_eager(Deployed(network), images_B1HW, np.float32([0, 1]))


@pytest.fixture
def images_B1HW(drawn_hand: Any) -> Any:
    piece_HW = np.float32(drawn_hand.pixels_HW[:128, :96])
    return np.stack([piece_HW, piece_HW[:, ::-1]])[:, None].copy()


def test_it_answers_as_the_file_does(tiny_onnx: Path, images_B1HW: Any) -> None:
    network, engine = unfolded(tiny_onnx), OnnxEngine(read_info(tiny_onnx))
    months_B, _, boxes_BR4, _, region_months_BR, _ = answers(network, images_B1HW)
    for i, male in enumerate((False, True)):
        reading = engine.run(images_B1HW[i, 0], male)
        assert months_B[i] == pytest.approx(reading.months, abs=1e-3)
        np.testing.assert_allclose(boxes_BR4[i], reading.boxes_R4, atol=1e-2)
        np.testing.assert_allclose(region_months_BR[i], reading.region_months_R, atol=1e-2)


def test_measured_norms_change_no_answer_and_fit_the_batch(tiny_onnx: Path, images_B1HW: Any) -> None:
    """In training mode the network, normalised by the same images, then answers as in use; before, it does not."""
    network = unfolded(tiny_onnx)
    before, plain = answers(network, images_B1HW), copy.deepcopy(network)
    images, male = torch.from_numpy(images_B1HW), torch.tensor([0.0, 1.0])
    unfold.measure_norms(network, [(images, male)])
    assert not network.training
    for one, other in zip(before, answers(network, images_B1HW), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        wanted_BF = network(images, male).features_BF
        measured_BF, plain_BF = (each.train()(images, male).features_BF for each in (network, plain))
    assert float((plain_BF - wanted_BF).abs().mean()) > 10 * float((measured_BF - wanted_BF).abs().mean())


def test_a_network_of_another_kind_takes_what_fits(tiny_onnx: Path) -> None:
    state = unfold.state_of(tiny_onnx, ALANet(ModelConfig(regions="none", local=False, patch=False, width=8)))
    assert {name.split(".")[0] for name in state} == {"trunk", "sex", "mlp"}


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.onnx"
    path.write_bytes(b"no network at all")
    with pytest.raises(WeightsError, match=r"weights\.onnx is no readable ONNX file"):
        unfold.state_of(path, torch.nn.Linear(1, 1))


def test_a_run_goes_on_from_it(tiny_onnx: Path, hand_png: Path, tmp_path: Path) -> None:
    """Its norms are given back with statistics of the run's own hands, and its sidecar is named as the ancestor."""
    samples = [Sample(f"h{months}", "hand.png", hand_png.read_bytes, months, False) for months in (100.0, 120.0, 140.0)]
    prepare(samples, tmp_path / "store", 128)
    run = Run(
        name="on",
        model=ModelConfig(width=8, long_side=128, box_size=16, roi_features=32),
        data=Data(stores=(str(tmp_path / "store"),)),
        optim=Optim(lr=1e-9, batch=2),
        schedule=Schedule(steps=1),
        start=str(tiny_onnx),
    )
    network, sidecar = weights.load(loop.train(run, tmp_path / "run"))
    assert sidecar["training"]["started_from"]["sha256"] == weights.sha256(tiny_onnx)
    norm = network.trunk.layer2[0].bn1
    assert norm.running_var.std() > 1e-4, "a norm that does nothing has a variance of one everywhere"
    scale_C = norm.weight / (norm.running_var + norm.eps).sqrt()
    folded_C = unfold.state_of(tiny_onnx, network)["trunk.layer2.0.bn1.bias"]
    torch.testing.assert_close(norm.bias - scale_C * norm.running_mean, folded_C, atol=0.1, rtol=0.1)
