"""The default backend: ONNX Runtime on the CPU, without PyTorch."""

from __future__ import annotations

import os
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from carpal.anatomy import REGIONS
from carpal.errors import BackendError, WeightsError, need
from carpal.inference.engine import Reading, check_input, need_finite
from carpal.inference.weights import WeightsInfo
from carpal.quality.thresholds import Limits
from carpal.types import RANKS, ModelId

INPUTS: Final = {"image": "tensor(float)", "male": "tensor(float)"}
REGION_INPUTS: Final = {"given_boxes": "tensor(float)"}
OUTPUTS: Final = ("months", "probabilities")
REGION_OUTPUTS: Final = ("boxes", "scores", "region_months")
FEATURES: Final = "features"
"""An output that older files lack: what the age is read from."""
ERRORS_ONLY: Final = 3


class OnnxEngine:
    """An ONNX file that keeps our contract of inputs and outputs, opened."""

    def __init__(self, info: WeightsInfo, threads: int | None = None) -> None:
        self.model: ModelId = info.model
        self.long_side = info.long_side
        self.view_scale, self.flip = info.view_scale, info.flip
        self.calibration = info.calibration
        self.refusal = Limits.from_sidecar(info.refusal, str(info.path))
        self._path = info.path
        self._session = open_session(str(info.path), threads)
        self._outputs = [*OUTPUTS, *(REGION_OUTPUTS if info.regions else ())]
        check_contract(self._session, str(info.path), self._outputs)
        if info.regions and FEATURES in {value.name for value in self._session.get_outputs()}:
            self._outputs.append(FEATURES)
        self.takes_regions = "boxes" in self._outputs

    def run(self, image_HW: NDArray[Any], male: bool, boxes_R4: NDArray[np.float32] | None = None) -> Reading:
        check_input(image_HW, boxes_R4)
        try:
            values = self._session.run(self._outputs, inputs_of(image_HW, male, boxes_R4, self.takes_regions))
        except Exception as error:  # ONNX Runtime's own errors share no base but this
            raise BackendError(f"ONNX Runtime failed on {self._path} - {first_line(error)}") from error
        months_1, *rest = values
        return need_finite(Reading(float(months_1[0]), *(value[0] for value in rest)), str(self._path))


def open_session(model: str | bytes, threads: int | None = None, name: str | None = None) -> Any:
    """An inference session on the CPU for a file or its bytes. Raises BackendError, or WeightsError naming the file."""
    onnxruntime = need("onnxruntime", feature="The onnx backend", extra="onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # see above
        what = name or (model if isinstance(model, str) else "the exported network")
        raise WeightsError(
            f"{what} is no ONNX file that can be run - {first_line(error)} - copy or export it again"
        ) from error


def check_contract(session: Any, source: str, outputs: list[str]) -> None:
    """Raises WeightsError where the file's inputs or outputs are not those of a network exported by `carpal`."""
    inputs = {value.name: value.type for value in session.get_inputs()}
    found = {value.name: value.shape for value in session.get_outputs()}
    missing = [name for name in outputs if name not in found]
    wanted = INPUTS | (REGION_INPUTS if "boxes" in outputs else {})
    if inputs != wanted or missing or found["probabilities"][-1] != RANKS - 1:
        raise WeightsError(
            f"{source} is another architecture - its inputs are {inputs}, its outputs {found}; wanted are the "
            f"inputs {wanted} and the outputs {', '.join(outputs)} with {RANKS - 1} probabilities - "
            "export with `carpal export`"
        )


def inputs_of(
    image_HW: NDArray[Any], male: bool, boxes_R4: NDArray[np.float32] | None, takes_regions: bool
) -> dict[str, NDArray[np.float32]]:
    """What an exported network is given to read one image, by the names of its inputs."""
    feed = {"image": image_HW[None, None].astype(np.float32), "male": np.array([male], np.float32)}
    if takes_regions:
        feed["given_boxes"] = (no_boxes(1) if boxes_R4 is None else boxes_R4[None]).astype(np.float32)
    return feed


def no_boxes(batch: int) -> NDArray[np.float32]:
    """The input `given_boxes` (batch, 17, 4) that leaves every region to the network."""
    return np.full((batch, len(REGIONS), 4), np.nan, np.float32)


def first_line(error: Exception) -> str:
    """The first line of a runtime's message, which is the one that says something."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
