"""The door to the network: weights and a backend in, something that reads prepared images out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from carpal.anatomy import REGIONS
from carpal.errors import BackendError, ConfigError, WeightsError, need
from carpal.inference.weights import BACKENDS, PRECISIONS, WeightsInfo, read_info
from carpal.quality.intervals import Calibration
from carpal.quality.thresholds import Limits
from carpal.types import ModelId


class Reading(NamedTuple):
    """What the network says of one image. Boxes are (x1, y1, x2, y2) in prepared pixels, ages are months.

    Boxes, scores and region ages follow `anatomy.REGIONS`; they are None for a network without named regions.
    """

    months: float
    """The age, 0 to 228 but for rounding."""
    probabilities_K: NDArray[np.float32]
    """P(age > k months), k = 0 to 227."""
    boxes_R4: NDArray[np.float32] | None = None
    """Where the 17 regions lie."""
    scores_R: NDArray[np.float32] | None = None
    """How sure the detector is of each, 0 to 1."""
    region_months_R: NDArray[np.float32] | None = None
    """The age that each shows by itself."""
    features_F: NDArray[np.float32] | None = None
    """What the age was read from; None for weights that were exported before 0.3 or name no regions."""


class Engine(Protocol):
    """A network that is ready to read."""

    @property
    def model(self) -> ModelId:
        """Which weights answer."""

    @property
    def long_side(self) -> int:
        """The long side that `imaging.preprocess.preprocess` must bring an image to."""

    @property
    def view_scale(self) -> float:
        """The view that is read is the middle of the aligned image, so many times as large."""

    @property
    def flip(self) -> bool:
        """Whether the reading is the mean of the view and its mirror image."""

    @property
    def calibration(self) -> Calibration | None:
        """What gives each age its interval; None where the weights' sidecar holds none."""

    @property
    def refusal(self) -> Limits | None:
        """What an image is refused by; None where the weights' sidecar holds no limits."""

    def run(self, image_HW: NDArray[Any], male: bool, boxes_R4: NDArray[np.float32] | None = None) -> Reading:
        """Runs the network once. `carpal.read` does so several times a radiograph, with all that belongs around it.

        Args:
            image_HW: a prepared image, uint8 or float32, grey values 0 to 255, sides multiples of 32.
            male: True for a boy, False for a girl.
            boxes_R4: regions in prepared pixels that replace those the network would find, NaN for one that it is to
                find; None for all.

        Returns:
            The answer, in months and prepared pixels.

        Raises:
            BackendError: the network answers with NaN or infinity.
        """


def open_engine(
    weights: str | Path = "alanet",
    backend: str = "onnx",
    threads: int | None = None,
    precision: str | None = None,
) -> Engine:
    """Opens the network once, to read many radiographs with it: `carpal.read(path, sex, engine)`.

    Args:
        weights: the name of released weights, or a file's path.
        backend: "onnx" (the reference) or "openvino" for .onnx files, "torch" for .safetensors files.
        threads: of the CPU, for one reading; None takes every core.
        precision: "fp32" or "int8", kept to or refused; None takes what the weights' sidecar prefers.

    Returns:
        The network, ready to read; several threads may read with it at the same time.

    Raises:
        ConfigError: no such backend or precision.
        WeightsError: no such file, another hash or architecture than its sidecar's, or no int8 form.
        BackendError: the runtime is not installed or cannot open the file.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"{backend!r} is no backend - choose one of {', '.join(BACKENDS)}")
    if precision not in (None, *PRECISIONS):
        raise ConfigError(f"{precision!r} is no precision - choose one of {', '.join(PRECISIONS)}")
    info = read_info(weights, precision)
    _check(info, backend, precision)
    if backend == "torch":
        for package in ("torch", "safetensors"):
            need(package, feature="The torch backend", extra="torch")
        from carpal.lab.export.torch_runtime import EagerEngine

        return EagerEngine(info, threads)
    if backend == "openvino":
        from carpal.inference.openvino import OpenVinoEngine

        return OpenVinoEngine(info, threads)
    from carpal.inference.onnx import OnnxEngine

    return OnnxEngine(info, threads)


def _check(info: WeightsInfo, backend: str, precision: str | None) -> None:
    """Raises where the file is not for the backend, or of another precision than was asked for."""
    suffix = ".safetensors" if backend == "torch" else ".onnx"
    if info.path.suffix != suffix:
        raise WeightsError(
            f"{info.path} is not for the {backend} backend - that one reads {suffix} files - "
            f"use --backend {info.backend}, or give a {suffix} file with --weights"
        )
    if precision is not None and info.precision != precision:
        raise WeightsError(
            f"{info.path} computes in {info.precision} - {precision} was asked for - give the file it was made from"
        )


def check_input(image_HW: NDArray[Any], boxes_R4: NDArray[Any] | None = None) -> None:
    """Our own mistake, not the user's, when this fails: engines take uint8 or float32, H x W, multiples of 32."""
    assert image_HW.ndim == 2, f"an engine reads H x W, got shape {image_HW.shape}"
    assert image_HW.dtype in (np.uint8, np.float32), f"an engine reads uint8 or float32, got {image_HW.dtype}"
    assert not any(side % 32 for side in image_HW.shape), f"sides must be multiples of 32, got {image_HW.shape}"
    assert boxes_R4 is None or boxes_R4.shape == (len(REGIONS), 4), f"boxes are R x 4, got {np.shape(boxes_R4)}"


def need_finite(reading: Reading, source: str) -> Reading:
    """Passes a reading on; raises BackendError where the network answered with something that is no number."""
    values = [np.asarray(value) for value in reading if value is not None]
    if not all(np.isfinite(value).all() for value in values):
        raise BackendError(f"{source} answered with something that is no number - check the file with `carpal info`")
    return reading
