"""Checkpoints: written to the side and renamed, so that a kill at any moment leaves the last whole one.

A checkpoint holds the network, the optimiser, the step and the run's configuration. Random state needs no saving: every
draw is a function of the seed and the step (see `lab/data/dataset.py`).
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from carpal.errors import ConfigError, WeightsError
from carpal.lab.model import weights
from carpal.lab.training.config import Run, as_dict

NAME = "checkpoint.pt"


def save(folder: Path, step: int, model: torch.nn.Module, optimiser: torch.optim.Optimizer, run: Run) -> None:
    """Replaces the folder's checkpoint by the state after `step` steps."""
    state = {"step": step, "model": model.state_dict(), "optimiser": optimiser.state_dict(), "run": as_dict(run)}
    partial = folder / f"{NAME}.partial"
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / NAME)


def resume(folder: Path, model: torch.nn.Module, optimiser: torch.optim.Optimizer, run: Run) -> int:
    """Restores the folder's checkpoint, if there is one, and returns the number of steps already taken.

    Raises ConfigError where the run's configuration differs from the checkpoint's, or that has a setting that was
    removed, WeightsError for a damaged file.
    """
    if not (folder / NAME).exists():
        return 0
    state = read(folder)
    if state["run"] != _plain(as_dict(run)):
        raise ConfigError(
            f"{folder} holds a run with other settings: {', '.join(_differences(state['run'], _plain(as_dict(run))))}. "
            "Give the same settings to resume it, or another --out."
        )
    try:
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise WeightsError(
            f"{folder / NAME} belongs to another network, of another version of carpal: {error}. "
            "Resume it with the version that wrote it, or start again in a new folder."
        ) from error
    return int(state["step"])


def read(folder: Path) -> dict[str, Any]:
    """The folder's checkpoint as tensors and plain values; nothing in it is executed."""
    try:
        state: dict[str, Any] = torch.load(folder / NAME, map_location="cpu", weights_only=True)
        state["run"] = weights.without_removed(_plain(state["run"]))
    except ConfigError as error:
        raise ConfigError(f"{folder / NAME} cannot be resumed: {error}") from error
    except (
        OSError,
        RuntimeError,
        EOFError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        pickle.UnpicklingError,
    ) as error:
        raise WeightsError(f"{folder / NAME} cannot be read: {error}. Start the run again in a new folder.") from error
    return state


def _plain(value: Any) -> Any:
    """Tuples as lists, so that a configuration equals its stored form."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += _differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key} was {before!r}, now {after!r}")
    return found
