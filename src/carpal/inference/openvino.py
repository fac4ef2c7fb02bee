"""The second backend: OpenVINO on the CPU, pinned to the precision that the file has.

Left alone, OpenVINO computes in bfloat16 wherever the processor can, without a word. Here it is told float32 and asked
what it took; an int8 file keeps its integers, and float32 elsewhere. Answers differ from the reference's, ONNX
Runtime's, in the last digits, and they may depend on the number of threads.
"""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from carpal.errors import BackendError, WeightsError, need
from carpal.inference.engine import Reading, check_input, need_finite
from carpal.inference.onnx import FEATURES, OUTPUTS, REGION_OUTPUTS, first_line, inputs_of
from carpal.inference.weights import WeightsInfo
from carpal.quality.thresholds import Limits
from carpal.types import ModelId

HINT: Final = "INFERENCE_PRECISION_HINT"


class OpenVinoEngine:
    """An ONNX file, compiled by OpenVINO."""

    def __init__(self, info: WeightsInfo, threads: int | None = None) -> None:
        self.model: ModelId = replace(info.model, backend="openvino")
        self.long_side = info.long_side
        self.view_scale, self.flip = info.view_scale, info.flip
        self.calibration = info.calibration
        self.refusal = Limits.from_sidecar(info.refusal, str(info.path))
        self._path = info.path
        self._outputs = [*OUTPUTS, *(REGION_OUTPUTS if info.regions else ())]
        self.takes_regions = "boxes" in self._outputs
        compiled = _compile(str(info.path), threads)
        found = {name for port in compiled.outputs for name in port.get_names()}
        if missing := [name for name in self._outputs if name not in found]:
            raise WeightsError(
                f"{info.path} is another architecture - it lacks the outputs {', '.join(missing)} - export with "
                "`carpal export`"
            )
        if info.regions and FEATURES in found:
            self._outputs.append(FEATURES)
        self._compiled, self._own = compiled, threading.local()

    def run(self, image_HW: NDArray[Any], male: bool, boxes_R4: NDArray[np.float32] | None = None) -> Reading:
        check_input(image_HW, boxes_R4)
        try:
            request = self._request()
            request.infer(inputs_of(image_HW, male, boxes_R4, self.takes_regions))
            months_1, *rest = (request.get_tensor(name).data.copy() for name in self._outputs)
        except RuntimeError as error:
            raise BackendError(f"OpenVINO failed on {self._path} - {first_line(error)}") from error
        return need_finite(Reading(float(months_1[0]), *(value[0] for value in rest)), str(self._path))

    def _request(self) -> Any:
        """This thread's own: a request keeps the tensors of one image."""
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        return self._own.request


def _meet_numpy(openvino: Any) -> None:
    """Has OpenVINO look numpy up in this thread.

    It does so at the first array that it sees. Where two threads show it theirs at the same time, each waits for the
    other for ever: one has Python's lock and wants the guard of the lookup, the other has it the other way round
    (seen with 2026.4; five of eight processes of eight threads hung).
    """
    openvino.Tensor(np.zeros(1, np.float32)).data.any()


def _compile(path: str, threads: int | None) -> Any:
    """The compiled model: each call takes `threads` cores, and as many calls run at once as there are cores for.

    Raises WeightsError for a file that is no network, BackendError for another precision.
    """
    openvino = need("openvino", feature="The openvino backend", extra="openvino")
    _meet_numpy(openvino)
    cores = len(os.sched_getaffinity(0))
    each = threads or cores
    streams = max(1, cores // each)
    settings = {
        HINT: "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": each * streams,
        "NUM_STREAMS": streams,
    }
    try:
        compiled = openvino.Core().compile_model(path, "CPU", settings)
    except RuntimeError as error:
        raise WeightsError(
            f"{path} is no ONNX file that OpenVINO can run - {first_line(error)} - copy or export it again"
        ) from error
    taken = compiled.get_property(HINT)
    if taken != openvino.Type.f32:
        raise BackendError(f"OpenVINO took the precision {taken} instead of f32 - use --backend onnx")
    return compiled
