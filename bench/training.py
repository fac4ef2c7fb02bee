"""Where the time of a training step goes, and how much of the machine's arithmetic it uses. Runs on a GPU or on CPUs.

    python bench/training.py alanet --data STORE … [--set section.field=value …] [--steps 20] [--out DIR]

Times each part of a step alone, with the device idle before and after it, and then whole steps as `carpal train` takes
them (examples read ahead, nothing waited for). Writes training.json and training.md. The peak is that of a large matrix
product in the precision that training uses, measured in the same run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from carpal.lab.training import config, distributed, loop, recipes, systems
from carpal.lab.training.distributed import World

PAPER_STEPS, PAPER_BATCH = 50_000, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    arguments = parser.parse_args()
    run = recipes.get(arguments.recipe)
    run = config.override(replace(run, data=replace(run.data, stores=tuple(arguments.data))), arguments.settings)
    result = measure(run, arguments.steps)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "training.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (arguments.out / "training.md").write_text(table(result), encoding="utf-8")
    print(table(result))


def measure(run: config.Run, steps: int) -> dict[str, Any]:
    """Milliseconds of the parts and of whole steps, images and FLOP a second, the peak, the hours of the paper."""
    world = distributed.join()
    torch.manual_seed(run.seed)
    mixture = loop.open_mixture(run)
    model: Any = systems.build(run, mixture).to(world.device).to(memory_format=torch.channels_last)
    optimiser = systems.build_optimiser(run, model)
    systems.compile_trunk(run, model)
    read = partial(loop.micro_batches, run, mixture, world)
    started = time.perf_counter()
    for step in range(5):
        loop.train_step(run, step, model, optimiser, read(step), world)
    first = time.perf_counter() - started
    parts: dict[str, float] = {}
    for step in range(steps):
        _step_in_parts(run, model, optimiser, partial(read, step), world, parts)
    started, cpu = time.perf_counter(), time.process_time()
    for step, batches in zip(range(steps), loop.ahead(read, range(steps)), strict=True):
        loop.train_step(run, step, model, optimiser, batches, world)
    _wait(world)
    whole, cpu = (time.perf_counter() - started) / steps, (time.process_time() - cpu) / steps
    flop, peak = _flop(run, model, read(0), world), _peak(world)
    rate = run.optim.batch / whole
    return {
        "recipe": run.name, "long_side": run.model.long_side, "batch": run.optim.batch, "compile": run.optim.compile,
        "device": loop.provenance.device_name(world.device), "torch": torch.__version__, "steps": steps,
        "first_steps_s": first, "parts_ms": {name: 1000 * seconds / steps for name, seconds in parts.items()},
        "step_ms": 1000 * whole, "step_cpu_ms": 1000 * cpu, "images_per_s": rate,
        "gflop_per_image": flop / run.optim.batch / 1e9,
        "tflops": flop / whole / 1e12, "peak_tflops": peak / 1e12, "utilisation": flop / whole / peak,
        "paper_hours": PAPER_STEPS * PAPER_BATCH / rate / 3600,
    }  # fmt: skip


def _step_in_parts(
    run: config.Run, model: Any, optimiser: Any, read: Callable[[], Any], world: World, parts: dict[str, float]
) -> None:
    """One step, each part waited for: what the parts add up to is more than a step, which overlaps them."""

    @contextlib.contextmanager
    def part(name: str) -> Iterator[None]:
        _wait(world)
        started = time.perf_counter()
        yield
        _wait(world)
        parts[name] = parts.get(name, 0.0) + time.perf_counter() - started

    with part("read"):
        batches = read()
    optimiser.zero_grad(set_to_none=True)
    for batch in batches:
        with part("copy and augment"):
            image_B1HW, male_B, target = loop.place(run, batch, world)
        with part("forward"), distributed.autocast(world):
            output = systems.forward(run, model, image_B1HW, male_B, target)
        with part("loss"):
            terms = systems.total(run, model, output, target, loop.losses.counts(target) * len(batches))
        with part("backward"):
            terms["total"].backward()  # type: ignore[no-untyped-call]
    with part("clip and optimiser"):
        torch.nn.utils.clip_grad_norm_(model.parameters(), run.optim.clip or 1e9)
        optimiser.step()


def _flop(run: config.Run, model: Any, batches: Any, world: World) -> float:
    """Multiplications and additions of one step's forward and backward."""
    counter = FlopCounterMode(display=False)
    with counter:
        for batch in batches:
            image_B1HW, male_B, target = loop.place(run, batch, world)
            with distributed.autocast(world):
                output = systems.forward(run, model, image_B1HW, male_B, target)
            terms = systems.total(run, model, output, target, loop.losses.counts(target))
            terms["total"].backward()  # type: ignore[no-untyped-call]
    return float(counter.get_total_flops())


def _peak(world: World) -> float:
    """FLOP a second of the largest of five products of random matrices."""
    side = 8192 if world.device.type == "cuda" else 2048
    with distributed.autocast(world):
        left, right = (torch.randn(side, side, device=world.device) for _ in range(2))
        kind = (left[:8, :8] @ right[:8, :8]).dtype
    left, right = left.to(kind), right.to(kind)
    best = float("inf")
    for _ in range(8):
        _wait(world)
        started = time.perf_counter()
        left @ right
        _wait(world)
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


def _wait(world: World) -> None:
    if world.device.type == "cuda":
        torch.cuda.synchronize()


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    how = f"trunk compiled, {result['compile']}" if result["compile"] else "eager"
    lines = [
        f"{result['device']}, torch {result['torch']}, {result['recipe']} at {result['long_side']} pixels, batch "
        f"{result['batch']}, {how}, {result['steps']} steps:",
        "",
        "| part, each waited for | ms a step |",
        "|---|---:|",
        *(f"| {name} | {ms:.1f} |" for name, ms in result["parts_ms"].items()),
        f"| **a whole step, nothing waited for** | **{result['step_ms']:.1f}** |",
        f"| the same in seconds of the processor | {result['step_cpu_ms']:.1f} |",
        "",
        f"{result['images_per_s']:.0f} images a second, {result['gflop_per_image']:.1f} GFLOP an image, "
        f"{result['tflops']:.1f} of {result['peak_tflops']:.1f} TFLOP/s ({100 * result['utilisation']:.0f} %); "
        f"the paper's {PAPER_STEPS:,} steps of {PAPER_BATCH} would take {result['paper_hours']:.2f} hours. "
        f"The first five steps took {result['first_steps_s']:.1f} s.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
