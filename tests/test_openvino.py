"""OpenVINO as a backend: the same reading as the reference's, pinned to float32, several threads at once."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carpal.errors import BackendError, WeightsError
from carpal.imaging.preprocess import pad, preprocess
from carpal.inference import openvino as openvino_runtime
from carpal.inference.engine import open_engine
from carpal.types import Radiograph

openvino = pytest.importorskip("openvino")


@pytest.fixture
def image_HW(drawn_hand: Radiograph) -> Any:
    return pad(preprocess(drawn_hand.pixels_HW, 128).grey_HW)[0]


def test_it_reads_what_the_reference_reads(tiny_onnx: Path, image_HW: Any) -> None:
    ours, theirs = open_engine(tiny_onnx, "openvino", 1), open_engine(tiny_onnx, "onnx", 1)
    assert (ours.model.backend, ours.model.precision) == ("openvino", "fp32")
    assert ours.model.identity != theirs.model.identity == theirs.model.sha256
    for male in (False, True):
        a, b = ours.run(image_HW, male), theirs.run(image_HW, male)
        difference = {name: np.abs(np.subtract(x, y)).max() for name, x, y in zip(a._fields, a, b, strict=True)}
        assert difference["months"] < 0.01, difference
        assert difference["boxes_R4"] < 0.05, difference
    boxes_R4 = np.full((17, 4), np.nan, np.float32)
    boxes_R4[5] = [2, 2, 18, 18]
    np.testing.assert_allclose(ours.run(image_HW, True, boxes_R4).boxes_R4[5], boxes_R4[5], atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2, None])
def test_as_many_calls_run_at_once_as_there_are_cores_for(tiny_onnx: Path, threads: int | None) -> None:
    compiled = openvino_runtime._compile(str(tiny_onnx), threads)
    cores = len(os.sched_getaffinity(0))
    assert compiled.get_property("NUM_STREAMS") == max(1, cores // (threads or cores))


def test_threads_do_not_share_their_images(tiny_onnx: Path, image_HW: Any) -> None:
    engine = open_engine(tiny_onnx, "openvino", 1)
    images = [image_HW, image_HW[:, ::-1].copy()] * 4
    alone = [engine.run(image, True).months for image in images]
    assert len(set(alone)) == 2
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda image: engine.run(image, True).months, images)) == alone


AT_ONCE = """
import sys, threading
import numpy as np
from carpal.inference.engine import open_engine

sys.setswitchinterval(1e-6)
engine, together = open_engine(sys.argv[1], "openvino", 1), threading.Barrier(8)

def read():
    together.wait()
    engine.run(np.zeros((128, 128), np.float32), False)

threads = [threading.Thread(target=read, daemon=True) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_the_first_images_of_a_process_may_come_at_once(tiny_onnx: Path) -> None:
    """Without `_meet_numpy` more than half of such processes hang."""
    for _ in range(3):
        subprocess.run([sys.executable, "-c", AT_ONCE, str(tiny_onnx)], check=True, timeout=120)


def test_another_precision_than_float32_is_refused(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_runtime, "HINT", "INFERENCE_PRECISION_HINT")
    compile_model = openvino.Core.compile_model

    def silently(core: Any, model: Any, device: str, settings: dict[str, Any]) -> Any:
        return compile_model(core, model, device, settings | {"INFERENCE_PRECISION_HINT": "bf16"})

    monkeypatch.setattr(openvino.Core, "compile_model", silently)
    with pytest.raises(BackendError, match="instead of f32"):
        open_engine(tiny_onnx, "openvino", 1)


def test_bytes_that_are_no_network_are_refused(tmp_path: Path) -> None:
    from test_engine import weights_file

    with pytest.raises(WeightsError, match="no ONNX file that OpenVINO can run"):
        open_engine(weights_file(tmp_path, b"no protobuf"), "openvino")
