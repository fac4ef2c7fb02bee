"""An exported float network to 8-bit integers: which nodes, with which ranges, block by block (QDQ, static).

Letters: T tensors, K histogram bins.

Only convolutions, the ROI head's large matrix product, the residual sums and the rectifiers behind them become
integers: weights by channel, symmetric int8; activations by tensor, uint8. The first convolution, the RPN's two last
ones, the choice of the 17 names, the boxes and the ordinal layers stay in float32: they are cheap, and a digit lost
there moves a box or an age. `lab/export/quantize.py` decides which blocks are worth it, and measures the result.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from carpal.errors import WeightsError, need
from carpal.inference.onnx import open_session

BINS: Final = 4096
SHARE: Final = 0.99999
"""Of a tensor's values that its range holds; of five rules tried, the one that moved ages least (docs/log.md)."""
KINDS: Final = ("Conv", "Gemm", "Add", "Relu")
_BLOCK: Final = re.compile(
    r"(?:^|\.)(trunk\.layer\d\.\d+|reduction|rpn\.conv|roi_head\.convolutions|roi_head\.fully_connected)\."
)

Feed = Mapping[str, NDArray[Any]]
Blocks = dict[str, list[str]]
"""The nodes' names by block, in the order of the graph: "trunk.layer1.0", ..., "reduction", "rpn.conv", ..."""


class Histogram(NamedTuple):
    """The values that a tensor took: counts of `BINS` equal bins from -edge to edge, and the extremes."""

    counts_K: NDArray[np.int64]
    edge: float
    low: float
    high: float

    def range(self, share: float = SHARE) -> tuple[float, float]:
        """The interval around zero that holds this share of the values, as seen from either end."""
        cumulative_K = np.cumsum(self.counts_K) / self.counts_K.sum()
        edges = np.linspace(-self.edge, self.edge, len(self.counts_K) + 1)
        low = edges[np.searchsorted(cumulative_K, 1 - share)]
        high = edges[min(int(np.searchsorted(cumulative_K, share)) + 1, len(self.counts_K))]
        return min(0.0, max(self.low, float(low))), max(0.0, min(self.high, float(high)))


def float_form(content: bytes) -> Any:
    """The ONNX model with its float16 weights turned back to float32 constants (see `export.halve`)."""
    onnx = need("onnx", feature="Quantising", extra="export")
    model = onnx.load_from_string(content)
    graph, kept = model.graph, []
    half = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in half:
            tensor = half[node.input[0]]
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, node.output[0]))
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    return model


def blocks(model: Any) -> Blocks:
    """The nodes that may become integers, by block. Raises WeightsError for a file without a trunk that we know."""
    producer = {name: node for node in model.graph.node for name in node.output}
    home: dict[str, str] = {}
    for node in model.graph.node:
        block = None
        if node.op_type in ("Conv", "Gemm"):
            found = _BLOCK.search(node.input[1])
            block = found and found.group(1)
        elif node.op_type == "Relu":
            block = home.get(_name(producer.get(node.input[0])))
        elif node.op_type == "Add":  # a residual sum: both sides come from convolutions or rectifiers of the trunk
            before = [producer.get(name) for name in node.input]
            if all(each is not None and each.op_type in ("Conv", "Relu", "MaxPool") for each in before):
                block = next((home[_name(each)] for each in before if _name(each) in home and _conv3(each)), None)
        if block:
            home[node.name] = block
    found_blocks: Blocks = {}
    for name, block in home.items():
        found_blocks.setdefault(block, []).append(name)
    if not any(name.startswith("trunk.") for name in found_blocks):
        raise WeightsError("The file has no convolutions of our trunk - it was not exported by `carpal export`")
    return found_blocks


def _name(node: Any) -> str:
    return "" if node is None else str(node.name)


def _conv3(node: Any) -> bool:
    return bool(node.op_type == "Conv" and ".conv3." in node.input[1])


def activations(model: Any, names: Iterable[str]) -> list[str]:
    """The tensors that go into and come out of these nodes, weights and biases left out."""
    wanted, constant = set(names), {tensor.name for tensor in model.graph.initializer}
    found: dict[str, None] = {}
    for node in model.graph.node:
        if node.name in wanted:
            found |= dict.fromkeys(name for name in (*node.input, *node.output) if name not in constant)
    return list(found)


def observe(model: Any, feeds: Sequence[Feed]) -> dict[str, Histogram]:
    """Runs the float model on every feed and counts what each activation of its blocks was.

    The bins reach to one and a half times the extremes of every fourth feed; what lies beyond counts in the last bin.
    """
    onnx = need("onnx", feature="Quantising", extra="export")
    names = activations(model, (name for nodes in blocks(model).values() for name in nodes))
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    exposed.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = open_session(exposed.SerializeToString())
    edge = dict.fromkeys(names, 1e-6)
    for feed in feeds[::4]:
        for name, values in zip(names, session.run(names, feed), strict=True):
            edge[name] = max(edge[name], 1.5 * float(np.abs(values).max()))
    counts = {name: np.zeros(BINS, np.int64) for name in names}
    extremes = dict.fromkeys(names, (0.0, 0.0))
    for feed in feeds:
        for name, values in zip(names, session.run(names, feed), strict=True):
            inside = np.clip((values.ravel() + edge[name]) * (BINS / (2 * edge[name])), 0, BINS - 1)
            counts[name] += np.bincount(inside.astype(np.int64), minlength=BINS)
            low, high = extremes[name]
            extremes[name] = min(low, float(values.min())), max(high, float(values.max()))
    return {name: Histogram(counts[name], edge[name], *extremes[name]) for name in names}


def quantise(model: Any, histograms: Mapping[str, Histogram], nodes: Sequence[str], share: float = SHARE) -> bytes:
    """The bytes of a file in which these nodes compute in integers; `model` stays as it is."""
    onnx = need("onnx", feature="Quantising", extra="export")
    quantization = need("onnxruntime.quantization", feature="Quantising", extra="export")
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    limits = {name: tuple(map(np.float32, histogram.range(share))) for name, histogram in histograms.items()}
    quantizer = quantization.QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=False,
        weight_qType=quantization.QuantType.QInt8,
        activation_qType=quantization.QuantType.QUInt8,
        tensors_range=quantization.calibrate.TensorsData(quantization.CalibrationMethod.MinMax, limits),
        nodes_to_quantize=list(nodes),
        nodes_to_exclude=[],
        op_types_to_quantize=list(KINDS),
        extra_options={"WeightSymmetric": True, "ActivationSymmetric": False},
    )
    quantizer.quantize_model()
    return bytes(quantizer.model.model.SerializeToString())
