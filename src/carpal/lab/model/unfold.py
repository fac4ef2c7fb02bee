"""The exported file back to a network that learns: to go on from the released weights with one's own radiographs.

An export keeps the parameters' names, in float16 or float32, but folds each batch norm into the convolution before it:
what is left of the norm is a bias. Here the norm comes back in two steps. `state_of` leaves it doing nothing but adding
that bias, which gives the exported network's answers. `measure_norms` then gives it the mean and the variance of what
passes through it, and a scale and a shift that undo them: the same answers, and in training the norm of a network that
was never folded.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from carpal.errors import BackendError, WeightsError

PREFIX, HALF, FOLDED = "network.", ".half", ".weight_bias"
NORM: Final = nn.BatchNorm2d


def state_of(path: Path, network: nn.Module) -> dict[str, Tensor]:
    """The exported parameters under `network`'s names; parts that the file has none of are left out.

    Raises WeightsError where the file is no export of a network like this one.
    """
    graph = _open(path).graph
    found = {_name(each.name): _tensor(each) for each in graph.initializer}
    renamed, dropped = _transposed(graph), _dropped_biases(graph)
    state: dict[str, Tensor] = {}
    for name, wanted in network.state_dict().items():
        if name in found:
            state[name] = found[name]
        elif renamed.get(name) in found:
            state[name] = found[renamed[name]].T.contiguous()
        elif name in dropped:
            state[name] = torch.zeros_like(wanted)
    for convolution, norm in _folded_pairs(network):
        bias = found.get(f"{convolution}{FOLDED}")
        if bias is None:
            continue
        module = network.get_submodule(norm)
        assert isinstance(module, NORM)
        state[f"{norm}.bias"] = bias
        state[f"{norm}.weight"] = torch.ones_like(module.weight)
        state[f"{norm}.running_mean"] = torch.zeros_like(module.bias)
        state[f"{norm}.running_var"] = torch.full_like(module.bias, 1 - module.eps)
    if not state:
        raise WeightsError(f"{path} holds no part of this network - was it written by `carpal export`?")
    return state


@torch.no_grad()
def measure_norms(network: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Gives every batch norm the statistics of `batches` (the arguments of `network`); its answers stay the same."""
    norms = [module for module in network.modules() if isinstance(module, NORM)]
    sums: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        channels_C2N = inputs[0].double().transpose(0, 1).flatten(1)
        new_3C = torch.stack([torch.ones_like(channels_C2N).sum(1), channels_C2N.sum(1), channels_C2N.square().sum(1)])
        sums[module] = sums[module] + new_3C if module in sums else new_3C

    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    was_training = network.training
    network.eval()
    for batch in batches:
        network(*batch)
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    for norm in norms:
        if norm in sums:
            _restate(norm, *sums[norm])


def _restate(norm: nn.Module, count_C: Tensor, sum_C: Tensor, squares_C: Tensor) -> None:
    """New running statistics for a norm, and the scale and shift with which it still does what it did."""
    assert isinstance(norm, NORM)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean_C = sum_C / count_C
    variance_C = (squares_C / count_C - mean_C.square()).clamp(min=0)
    scale_C = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    shift_C = norm.bias.double() - scale_C * norm.running_mean.double()
    norm.running_mean.copy_(mean_C)
    norm.running_var.copy_(variance_C)
    norm.weight.copy_(scale_C * (variance_C + norm.eps).sqrt())
    norm.bias.copy_(shift_C + scale_C * mean_C)


def _open(path: Path) -> Any:
    try:
        import onnx
    except ImportError:
        raise BackendError(f"{path} is taken apart by onnx - not installed - pip install 'carpal[export]'") from None
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf's own, of a file of another kind
        raise WeightsError(f"{path} is no readable ONNX file - {error} - copy it again") from None


def _name(stored: str) -> str:
    return stored.removeprefix(PREFIX).removesuffix(HALF)


def _transposed(graph: Any) -> dict[str, str]:
    """Linear layers' weights that the exporter transposed and renamed, with the names that they have now.

    Such a layer is a product of the weight and an addition of the bias, which kept its name.
    """
    sources = _sources(graph)
    found = {}
    for node in graph.node:
        if node.op_type != "Add":
            continue
        biases = [name for name in map(_name, node.input) if name.endswith(".bias")]
        products = [sources[given] for given in node.input if given in sources and sources[given].op_type == "MatMul"]
        if len(biases) == len(products) == 1:
            weight = f"{biases[0].removesuffix('.bias')}.weight"
            found[weight] = _name(_uncast(sources, products[0].input[1]))
    return found


def _dropped_biases(graph: Any) -> set[str]:
    """The convolutions' biases that the exporter dropped because they are zero."""
    sources = _sources(graph)
    bare = [node for node in graph.node if node.op_type == "Conv" and len(node.input) == 2]
    return {f"{_name(_uncast(sources, node.input[1])).removesuffix('.weight')}.bias" for node in bare}


def _sources(graph: Any) -> dict[str, Any]:
    """The node that makes each value."""
    return {output: node for node in graph.node for output in node.output}


def _uncast(sources: dict[str, Any], name: str) -> str:
    node = sources.get(name)
    return str(node.input[0]) if node is not None and node.op_type == "Cast" else name


def _tensor(initializer: Any) -> Tensor:
    from onnx import numpy_helper

    return torch.from_numpy(np.array(numpy_helper.to_array(initializer), np.float32))


def _folded_pairs(network: nn.Module) -> list[tuple[str, str]]:
    """Each convolution and the batch norm after it, by name: they stand one after the other in their module.

    ResNet's blocks list conv1, bn1, conv2, bn2, conv3, bn3; sequences list them in order.
    """
    pairs = []
    convolution = ""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            convolution = name
        elif isinstance(module, NORM) and convolution:
            pairs.append((convolution, name))
            convolution = ""
    return pairs
