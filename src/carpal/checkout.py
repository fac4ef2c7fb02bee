"""What an experiment says of itself: the commit it ran from, and paths that name no machine."""

from __future__ import annotations

import subprocess
from pathlib import Path


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
