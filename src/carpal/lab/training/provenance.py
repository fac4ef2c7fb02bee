"""Where weights come from: written into their sidecar, and from there into the exported file's and the model card."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import torch

from carpal.checkout import commit
from carpal.errors import WeightsError
from carpal.lab.data.dataset import Mixture
from carpal.lab.model import weights
from carpal.lab.training.config import Run, as_dict, resolve
from carpal.lab.training.distributed import World


def describe(run: Run, mixture: Mixture, world: World, out: Path) -> dict[str, Any]:
    """The run with names instead of paths, what it was trained on and with, for how long, and what it started from."""
    settings = as_dict(run)
    settings["data"] = data(run)
    settings["start"] = resolve(run.start).name if run.start else "random"
    return settings | {
        "examples_an_epoch": len(mixture),
        "epochs": round(run.schedule.steps * run.optim.batch / len(mixture), 2),
        "hours": round(hours(out / "metrics.jsonl"), 2),
        "hardware": f"{world.size} x {device_name(world.device)}",
        "torch": torch.__version__,
        "commit": commit(),
        "started_from": ancestor(run),
    }


def data(run: Run) -> dict[str, Any]:
    """What a run reads, with the stores' names instead of their paths."""
    settings: dict[str, Any] = as_dict(run)["data"]
    return settings | {"stores": [resolve(path).name for path in run.data.stores]}


def ancestor(run: Run) -> dict[str, Any]:
    """How the weights that the run started from were trained; their hash alone where they say nothing of it."""
    if not run.start:
        return {}
    path = resolve(run.start)
    try:
        sidecar = weights.read_sidecar(path)
    except WeightsError:
        return {"sha256": weights.sha256(path)}
    return {"sha256": sidecar["sha256"], "training": sidecar.get("training", {})}


def hours(metrics: Path) -> float:
    """Hours of training, over all the sessions of a run that was resumed."""
    total = before = 0.0
    for line in metrics.read_text(encoding="utf-8").splitlines():
        seconds = json.loads(line)["seconds"]
        total += seconds - before if seconds >= before else seconds  # the clock restarts when a run is resumed
        before = seconds
    return total / 3600


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's and its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
