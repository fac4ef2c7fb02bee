"""The mean of several networks that come from one start: one network, often better than each of them.

Weights that grew from the same start lie in one valley of the loss, and their mean lies deeper in it than they do
(Izmailov et al. 2018; Wortsman et al. 2022). Only the batch norms must be measured anew: the mean of the networks is
not what the mean of their statistics belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

import carpal
from carpal.checkout import commit
from carpal.data.dataset import Mixture
from carpal.errors import ConfigError
from carpal.model import unfold, weights
from carpal.training import distributed, loop, provenance, systems
from carpal.training.config import Run
from carpal.training.distributed import World
from carpal.training.systems import Network

EXAMPLES: Final = 1536
"""That the batch norms are measured with."""
AT_ONCE: Final = 32


def average(run: Run, sources: Sequence[Path], out: Path) -> Path:
    """Writes the mean of the networks `sources` (.safetensors or exported .onnx) to `out` (.safetensors); returns it.

    `run` says what network they are, and by its data and augmentation with what pictures the norms are measured: as
    they are read, without what training adds. Raises WeightsError for a network of another kind.
    """
    if out.suffix != ".safetensors":
        raise ConfigError(f"{out} is no name for weights - it must end in .safetensors - choose another")
    world = distributed.join()
    mixture = loop.open_mixture(run)
    states = [_read(run, source, mixture, world) for source in sources]
    model = systems.build(run, mixture).to(world.device)
    model.load_state_dict(mean(states))
    measure_norms(run, model, mixture, world)
    parts = [{"file": source.name, **provenance.ancestor(replace(run, start=str(source)))} for source in sources]
    training = {"average_of": parts, "norms_measured_on": EXAMPLES, "data": provenance.data(run)}
    training["commit"] = commit()
    out.parent.mkdir(parents=True, exist_ok=True)
    weights.save(out, model.eval(), {"name": out.stem, "version": carpal.__version__, "training": training})
    return out


def mean(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each tensor of numbers; what counts is the first's."""
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if first.is_floating_point() else first
        for name, first in states[0].items()
    }


@torch.no_grad()
def measure_norms(run: Run, model: Network, mixture: Mixture, world: World) -> None:
    """Replaces every batch norm's statistics by the mean over batches of training pictures."""
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
    model.train()
    for first in range(0, EXAMPLES, AT_ONCE):
        image_B1HW, male_B, target = loop.place(run, mixture.batch(first, AT_ONCE), world)
        with distributed.autocast(world):
            systems.forward(run, model, image_B1HW, male_B, target)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _read(run: Run, source: Path, mixture: Mixture, world: World) -> dict[str, Tensor]:
    """One network's tensors; an exported one gets its batch norms back."""
    start = replace(run, start=str(source))
    if not systems.is_folded(start):
        model = systems.build(run, mixture)
        weights.load_state(model, weights.read_tensors(source), source)
        return model.state_dict()
    model = systems.build(start, mixture).to(world.device)
    unfold.measure_norms(model, loop.first_pictures(run, mixture, world))
    return {name: tensor.cpu() for name, tensor in model.state_dict().items()}
