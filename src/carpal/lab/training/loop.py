"""The training loop. Read `train` from top to bottom; everything else is one screen below it."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import torch

import carpal
from carpal.errors import ConfigError, Diverged
from carpal.imaging.preprocess import view_size
from carpal.lab.data.dataset import Batch, Mixture
from carpal.lab.data.store import open_store
from carpal.lab.model import losses, unfold, weights
from carpal.lab.training import augment, checkpoint, distributed, provenance, systems
from carpal.lab.training.config import Run, as_dict, resolve
from carpal.lab.training.distributed import World
from carpal.lab.training.log import Log
from carpal.lab.training.systems import Network, build, build_optimiser, forward, set_mode

MEASURED: Final = 256
"""Examples that tell the batch norms of an exported network what passes through them."""
MEASURED_AT_ONCE: Final = 16
AHEAD: Final = 2
"""Steps for which examples are read while one is trained."""


def train(run: Run, out: Path) -> Path:
    """Trains `run` into the folder `out`, resuming where a checkpoint lies there; returns the weights' path."""
    world = distributed.join()
    torch.manual_seed(run.seed)
    mixture = open_mixture(run)
    model = build(run, mixture).to(world.device)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = build_optimiser(run, model)
    systems.compile_trunk(run, model)
    out.mkdir(parents=True, exist_ok=True)
    done = checkpoint.resume(out, model, optimiser, run)
    if not done and systems.is_folded(run):
        unfold.measure_norms(model, first_pictures(run, mixture, world))
    log = Log(out, run.schedule.steps, done, quiet=not world.main)
    if world.main:
        (out / "run.json").write_text(json.dumps(as_dict(run), indent=2) + "\n", encoding="utf-8")
    steps = range(done, run.schedule.steps)
    for step, batches in zip(steps, ahead(partial(micro_batches, run, mixture, world), steps), strict=True):
        terms = train_step(run, step, model, optimiser, batches, world)
        if (step + 1) % run.schedule.log_every == 0 or step + 1 == run.schedule.steps:
            log.write(step + 1, terms | {"lr": learning_rate(run, step)})
        if (step + 1) % run.schedule.save_every == 0 or step + 1 == run.schedule.steps:
            if world.main:
                checkpoint.save(out, step + 1, model, optimiser, run)
            world.barrier()
    if world.main:
        meta = {
            "name": run.name,
            "version": carpal.__version__,
            "training": provenance.describe(run, mixture, world, out),
        }
        weights.save(out / f"{run.name}.safetensors", model, meta)
    distributed.leave(world)
    return out / f"{run.name}.safetensors"


def train_step(
    run: Run, step: int, model: Network, optimiser: torch.optim.Optimizer, batches: list[Batch], world: World
) -> dict[str, float]:
    """One step of the optimiser over this process's share of its examples; returns each term of the loss by its name.

    `batches` come from `micro_batches`.
    """
    set_mode(run, model)
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(run, step) * group["factor"]
    optimiser.zero_grad(set_to_none=True)
    prepared = [place(run, batch, world) for batch in batches]
    counts_3 = world.sum(torch.stack([losses.counts(target) for _, _, target in prepared]).sum(0))
    sums: dict[str, torch.Tensor] = {}
    for image_B1HW, male_B, target in prepared:
        with distributed.autocast(world):
            output = forward(run, model, image_B1HW, male_B, target)
        terms = systems.total(run, model, output, target, counts_3)
        terms["total"].backward()  # type: ignore[no-untyped-call]
        for name, value in terms.items():
            sums[name] = sums.get(name, 0) + value.detach()
    distributed.sum_gradients(model, world)
    total = {name: float(world.sum(value.clone())) for name, value in sums.items()}
    if not math.isfinite(total["total"]):
        raise Diverged(f"The loss is {total['total']} at step {step}: lower optim.lr, or set optim.clip to 1.")
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), run.optim.clip or math.inf)
    if not math.isfinite(norm):
        raise Diverged(f"The gradient's norm is {norm} at step {step}: lower optim.lr, or set optim.clip to 1.")
    optimiser.step()
    return total


def micro_batches(run: Run, mixture: Mixture, world: World, step: int) -> list[Batch]:
    """This process's share of the step's examples, in pieces that fit into memory."""
    share, rest = divmod(run.optim.batch, world.size)
    if rest:
        raise ConfigError(f"optim.batch is {run.optim.batch}; it must be a multiple of the {world.size} processes.")
    size = run.optim.micro_batch or share
    first = step * run.optim.batch + world.rank * share
    batches = [mixture.batch(first + i, min(size, share - i)) for i in range(0, share, size)]
    return [batch.pinned() for batch in batches] if world.device.type == "cuda" else batches


def ahead(make: Callable[[int], list[Batch]], steps: Iterable[int]) -> Iterator[list[Batch]]:
    """What `make` gives for each step, made in a thread of its own while the step before is trained."""
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        waiting: deque[Future[list[Batch]]] = deque()
        for step in steps:
            waiting.append(thread.submit(make, step))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def place(run: Run, batch: Batch, world: World) -> tuple[torch.Tensor, torch.Tensor, losses.Targets]:
    """Moves a batch to the device and augments it there: image, sex, targets."""
    parts = (batch.pixels_B1HW, batch.male_B, batch.months_B, batch.points_BR2, batch.known_BR)
    pixels_B1HW, male_B, months_B, points_BR2, known_BR = (t.to(world.device, non_blocking=True) for t in parts)
    source = augment.Picture(pixels_B1HW, batch.size_B2, points_BR2, known_BR)
    canvas = view_size(run.model.long_side)
    image_B1HW, points_BR2, known_BR = augment.apply(source, batch.seeds, run.augment, canvas)
    if not run.data.ages:
        months_B = torch.full_like(months_B, math.nan)
    seeds_B = torch.tensor(batch.seeds).to(world.device, non_blocking=True)
    target = losses.Targets(months_B, points_BR2, known_BR, seeds_B)
    return image_B1HW.contiguous(memory_format=torch.channels_last), male_B, target


def first_pictures(run: Run, mixture: Mixture, world: World) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Images and sexes of the first `MEASURED` examples, the same in every process."""
    for first in range(0, MEASURED, MEASURED_AT_ONCE):
        image_B1HW, male_B, _ = place(run, mixture.batch(first, MEASURED_AT_ONCE), world)
        yield image_B1HW, male_B


def learning_rate(run: Run, step: int) -> float:
    """The rate of a step: warm-up, then a cosine to zero or the paper's drops by ten."""
    schedule = run.schedule
    rate = run.optim.lr * min(1.0, (step + 1) / max(schedule.warmup, 1))
    if schedule.cosine:
        progress = max(0, step - schedule.warmup) / max(1, schedule.steps - schedule.warmup)
        return rate * 0.5 * (1 + math.cos(math.pi * progress))
    return float(rate * 0.1 ** sum(step >= drop for drop in schedule.drops))


def open_mixture(run: Run) -> Mixture:
    """The run's stores as one sequence of examples. Raises ConfigError without any."""
    if not run.data.stores:
        raise ConfigError("A run needs data: give --data one or more folders that `carpal prepare` wrote.")
    if run.data.repeats and len(run.data.repeats) != len(run.data.stores):
        raise ConfigError(f"data.repeats has {len(run.data.repeats)} numbers for {len(run.data.stores)} stores.")
    stores = tuple(open_store(resolve(path)) for path in run.data.stores)
    repeats = run.data.repeats or (1.0,) * len(stores)
    return Mixture(stores, repeats, run.seed, run.data.holdout, run.data.regions_only)
