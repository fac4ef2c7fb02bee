"""Seeds, no network, a drawn hand, and the tiny network: trained on nothing, exported once a test run."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import random
import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import numpy as np
import pytest
from PIL import Image

from carpal.types import Radiograph, Sex

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one test a core

NEEDS_TORCH = re.compile(
    r"^ *(import|from) +(torch|safetensors|onnx|onnxscript"
    r"|carpal\.lab\.(model|baselines|training|export|data\.dataset)"
    r"|carpal\.lab import (model|baselines|training|export))\b",
    re.MULTILINE,
)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Where PyTorch is not installed the product's tests run, and the laboratory's are left out."""
    if collection_path.suffix != ".py" or importlib.util.find_spec("torch") is not None:
        return None
    return True if NEEDS_TORCH.search(collection_path.read_text(encoding="utf-8")) else None


hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")  # no test measures time: a busy machine must not fail one

LOOPBACK = ("127.", "::1", "localhost")


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Every test starts from the same random state."""
    random.seed(0)
    np.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that leaves the machine is an error; loopback and Unix sockets stay open."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and not str(address[0]).startswith(LOOPBACK):
            raise RuntimeError(f"a test tried to reach {address}: tests work without the network")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def drawn_hand() -> Radiograph:
    """A drawn hand of ten years, 200 x 256 pixels. It stands in for a radiograph in tests only."""
    from carpal.lab.data.synthetic import draw_hand

    return Radiograph(draw_hand(120, Sex.FEMALE, seed=1).pixels_HW, "drawn.png")


@pytest.fixture
def hand_png(tmp_path: Path, drawn_hand: Radiograph) -> Path:
    """The drawn hand as a file."""
    path = tmp_path / "hand.png"
    Image.fromarray(drawn_hand.pixels_HW).save(path)
    return path


@pytest.fixture
def fake_engine() -> Callable[..., Any]:
    """Builds an engine that answers what it is told and keeps what it was asked."""
    from carpal.inference.engine import Reading
    from carpal.types import ModelId

    def build(months: float = 120.0, long_side: int = 128, **fields: Any) -> SimpleNamespace:
        boxes_R4 = np.array([[4 * i, 3 * i, 4 * i + 16, 3 * i + 16] for i in range(17)], np.float32)
        values = {
            "boxes_R4": boxes_R4,
            "scores_R": np.full(17, 0.9, np.float32),
            "region_months_R": np.arange(100, 117, dtype=np.float32),
        }
        reading = Reading(months, np.full(228, months / 228, np.float32), **(values | fields))
        asked: list[tuple[Any, bool]] = []

        def run(image_HW: Any, male: bool) -> Reading:
            asked.append((image_HW, male))
            return reading

        model = ModelId("fake", "1", "0" * 64)
        fixed = {"view_scale": 1.2, "flip": True, "calibration": None, "refusal": None}
        return SimpleNamespace(model=model, long_side=long_side, **fixed, run=run, asked=asked)

    return build


@pytest.fixture(scope="session")
def tiny_network() -> Any:
    """ALA-Net an eighth as wide at 128 pixels, with batch statistics of drawn hands and heads that answer variedly."""
    torch = pytest.importorskip("torch")
    from carpal.imaging.preprocess import pad, preprocess
    from carpal.lab.data.synthetic import draw_hand
    from carpal.lab.model.alanet import ALANet, ModelConfig

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ALANet(ModelConfig(width=8, long_side=128, box_size=16, roi_features=32))
        for name, parameter in network.named_parameters():
            if name.endswith("bn3.weight"):
                torch.nn.init.constant_(parameter, 0.5)
            elif name.startswith("rpn.") and parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.1)
        torch.nn.init.normal_(network.mlp[-1].weight, std=0.2)
        hands = [draw_hand(40 * i, Sex.MALE, seed=i).pixels_HW for i in range(4)]
        image_B1HW = np.stack([pad(preprocess(hand, 128).pixels_HW)[0] for hand in hands])[:, None]
        norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = None  # the plain mean over what it sees
        with torch.no_grad():
            network.train()(torch.from_numpy(image_B1HW).float(), torch.zeros(4))
        for norm in norms:
            norm.momentum = 0.1
    return network.eval()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that all processes of this test run share, locked while one of them works in it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "tiny"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def tiny_weights(tiny_network: Any, tiny_folder: Path) -> Path:
    """The tiny network as a run leaves it: tiny.safetensors and tiny.json. Copy before changing."""
    from carpal.lab.model.weights import save

    path = tiny_folder / "run" / "tiny.safetensors"
    with (tiny_folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            save(path, tiny_network, {"name": "tiny", "version": "0.0", "training": {"name": "none"}})
    return path


@pytest.fixture(scope="session")
def tiny_onnx(tiny_weights: Path, tiny_folder: Path) -> Path:
    """The tiny network, exported: tiny.onnx and tiny.json. Copy before changing."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    from carpal.lab.export.export import export

    path = tiny_folder / "tiny.onnx"
    with (tiny_folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_file():
            export(tiny_weights, path)
    return path
