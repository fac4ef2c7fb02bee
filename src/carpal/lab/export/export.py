"""PyTorch weights to one ONNX file, written only after ONNX Runtime has given the same answers.

The batch norms are folded into the convolutions, and large weights are stored as float16, each followed by a cast to
float32 that ONNX Runtime carries out once, when it opens the file: half the size, the same speed, float32 arithmetic.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from carpal.errors import ConfigError, WeightsError
from carpal.inference.weights import LARGEST_VIEW_SCALE, WeightsInfo, put_in_place, read_info, sidecar_of
from carpal.lab.baselines.registry import load
from carpal.lab.export.parity import EXACT, STORED, measure
from carpal.lab.export.torch_runtime import Deployed
from carpal.lab.model.alanet import REGION_COUNT

OPSET: Final = 18
NAMED: Final = ("boxes", "scores", "region_months", "features")
"""The outputs of a network that names its regions, besides those of every network."""
HALVED_FROM: Final = 1024
"""Weights with at least so many numbers are stored as float16; biases and constants stay float32."""
KEPT: Final = ("network.trunk.conv1.", "network.trunk.layer1.")
"""The first stage stays float32: a hundredth of the file, and most of what rounding changed (docs/log.md)."""
LICENCE: Final = (
    "Research, non-commercial. Trained on the RSNA Pediatric Bone Age Challenge 2017 (rsna.org): cite Halabi et al., "
    "Radiology 2019;290(2):498-503."
)


def export(
    source: Path | str,
    out: Path | str,
    name: str | None = None,
    version: str | None = None,
    storage: str = "float16",
    view_scale: float = 1.0,
    flip: bool = True,
) -> WeightsInfo:
    """Writes `out` (.onnx) and its sidecar from a .safetensors file, or from the folder of a finished run.

    `name` and `version` default to the file's stem and the source's version; `storage` is "float16" or "float32";
    `view_scale` and `flip` say how the weights want to be read (`WeightsInfo`).
    Raises WeightsError with the measured differences where the exported network disagrees with PyTorch: at first with
    the same float32 weights, which shows that the graph is right, then as stored, which shows what rounding costs.
    """
    source, out = find_weights(Path(source)), Path(out)
    _check_out(source, out, storage, view_scale)
    network, meta = load(source)
    deployed = Deployed(network)
    long_side = network.config.long_side
    content, parity = _checked(deployed, long_side, storage)
    sidecar = {
        "name": name or out.stem,
        "version": version or str(meta.get("version", "unknown")),
        "sha256": "",
        "long_side": long_side,
        "regions": deployed.regions,
        "architecture": meta["architecture"],
        "training": meta.get("training", {}),
        "storage": storage,
        "view_scale": view_scale,
        "flip": flip,
        "parity": parity | {"torch": torch.__version__},
        "cost": cost(deployed, long_side),
        "licence": LICENCE,
    }
    put_in_place(out, content, sidecar)
    return read_info(out)


def _checked(deployed: Deployed, long_side: int, storage: str) -> tuple[bytes, dict[str, Any]]:
    """The file's bytes, and how far its answers are from PyTorch's. Raises WeightsError where that is too far."""
    content = to_onnx(deployed, long_side)
    parity = {"float32": measure(deployed, content, long_side, EXACT)}
    if storage == "float16":
        content = halved(content)
        parity["float16"] = measure(deployed, content, long_side, STORED)
    return content, parity


def find_weights(source: Path) -> Path:
    """A .safetensors file, or the only one in a run's folder. Raises WeightsError."""
    if not source.is_dir():
        if source.suffix == ".safetensors" and source.is_file():
            return source
        raise WeightsError(f"{source} cannot be exported - it is no .safetensors file - give one, or a run's folder")
    found = sorted(source.glob("*.safetensors"))
    if len(found) == 1:
        return found[0]
    if found:
        raise WeightsError(f"{source} holds {len(found)} weights files - name one: {', '.join(p.name for p in found)}")
    raise WeightsError(
        f"{source} holds no weights - its run has not finished - continue it with `carpal train --resume`"
    )


def to_onnx(deployed: Deployed, long_side: int) -> bytes:
    """The network as the bytes of an ONNX file with dynamic batch, height and width."""
    import onnx

    batch, rows, columns = (torch.export.Dim(name, min=1, max=top) for name, top in _DIMENSIONS.items())
    sizes = {"image": {0: batch, 2: 32 * rows, 3: 32 * columns}, "male": {0: batch}}
    image = torch.zeros(2, 1, long_side, max(32, long_side * 3 // 4 // 32 * 32))
    example: tuple[torch.Tensor, ...] = (image, torch.zeros(2))
    if deployed.regions:
        sizes["given_boxes"] = {0: batch}
        example += (torch.full((2, REGION_COUNT, 4), torch.nan),)
    outputs = ["months", "probabilities", *(NAMED if deployed.regions else ())]
    deployed.requires_grad_(False)  # tracing is a tenth faster without
    with warnings.catch_warnings(), _quiet("torch.onnx", "onnxscript"):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            deployed,
            example,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=list(sizes),
            output_names=outputs,
            dynamic_shapes=sizes,
        )
    assert program is not None
    model = program.model_proto
    strip(model)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def cost(deployed: Deployed, long_side: int) -> dict[str, Any]:
    """The network's parameters, and the FLOPs of one image of the usual aspect (two for a multiplication and addition).

    PyTorch's own counter: convolutions and matrix products, which are nearly all.
    """
    from torch.utils.flop_counter import FlopCounterMode

    height, width = long_side, max(32, long_side * 3 // 4 // 32 * 32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        deployed(torch.zeros(1, 1, height, width), torch.zeros(1))
    parameters = sum(p.numel() for p in deployed.network.parameters())
    return {"parameters": parameters, "flops": counter.get_total_flops(), "flops_at": [height, width]}


_DIMENSIONS: Final = {"batch": 1024, "rows": 128, "columns": 128}
"""Largest batch, and largest height and width in units of 32 pixels, that the file declares."""


def strip(model: Any) -> None:
    """Removes the exporter's notes, which hold the paths of this machine's source files. Changes `model` in place."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.ClearField("doc_string")


def halved(content: bytes) -> bytes:
    """The bytes of an ONNX file with its large weights in float16."""
    import onnx

    model = onnx.load_from_string(content)
    halve(model)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def halve(model: Any) -> None:
    """Stores large float32 weights as float16, each behind a Cast of the old name. Changes `model` in place."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        small = np.prod(tensor.dims) < HALVED_FROM
        if tensor.data_type != TensorProto.FLOAT or small or tensor.name.startswith(KEPT):
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max() > np.finfo(np.float16).max:
            raise WeightsError(f"{tensor.name} is too large for float16 storage - export with --storage float32")
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], f"{name}.cast", to=TensorProto.FLOAT))
    for cast in reversed(casts):
        graph.node.insert(0, cast)


@contextlib.contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Silences loggers for the length of a `with`."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _check_out(source: Path, out: Path, storage: str, view_scale: float) -> None:
    if not 1 <= view_scale <= LARGEST_VIEW_SCALE:
        raise ConfigError(
            f"--view-scale {view_scale:g} is not possible - it must be 1 to {LARGEST_VIEW_SCALE:g} - choose another"
        )
    if storage not in ("float16", "float32"):
        raise ConfigError(f'storage is "float16" or "float32" - got {storage!r} - choose one')
    if out.suffix != ".onnx":
        raise ConfigError(f"{out} is no name for an ONNX file - it must end in .onnx - choose another")
    if not out.parent.is_dir():
        raise ConfigError(f"{out} cannot be written - {out.parent} is no folder - create it first")
    if sidecar_of(out).resolve() == sidecar_of(source).resolve():
        raise ConfigError(
            f"{out} would overwrite {sidecar_of(source)} - that is the sidecar of {source.name} - "
            "choose another stem or folder"
        )
