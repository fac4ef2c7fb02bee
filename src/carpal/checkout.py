"""What an experiment says of itself: the commit it ran from, paths that name no machine, the folds it held out."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def commit() -> str | None:
    """The commit that this package is a checkout of, "+" where it was changed since; None outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        name = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "."], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return name.stdout.strip() + ("+" if changed.stdout else "")


def without_machine(path: str | Path) -> str:
    """A path for a command that others read: as it was typed where it is relative, else its last part."""
    path = Path(path)
    return path.name if path.is_absolute() else str(path)


def held_out(training: Mapping[str, Any]) -> tuple[int, ...]:
    """The folds of the project's radiographs that neither this training nor any that it started from read."""
    left = [set(holdout) for holdout in _holdouts(training)]
    return tuple(sorted(set.intersection(*left))) if left else ()


def _holdouts(training: Any) -> Iterator[Sequence[int]]:
    """What each training left out, of all that a sidecar's `training` tells of; one that says nothing left out none."""
    if isinstance(training, Mapping):
        if isinstance(data := training.get("data"), Mapping):
            yield data.get("holdout", ())
        training = list(training.values())
    if isinstance(training, list):
        for part in training:
            yield from _holdouts(part)
