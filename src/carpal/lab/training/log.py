"""What a run says of itself: `metrics.jsonl` always, a progress line for people, TensorBoard where it is installed."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


class Log:
    """Writes one JSON object a record; `resume_step` drops records that a killed run wrote past its checkpoint."""

    def __init__(self, folder: Path, total_steps: int, resume_step: int, quiet: bool) -> None:
        self.path, self.total, self.quiet = folder / "metrics.jsonl", total_steps, quiet
        self.started, self.first_step = time.monotonic(), resume_step
        if quiet:
            return
        kept = []
        if self.path.exists():
            records = map(_parsed, self.path.read_text(encoding="utf-8").splitlines())
            kept = [record for record in records if record is not None and record["step"] <= resume_step]
        self.path.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        self.board = _tensorboard(folder, resume_step)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Appends a record and redraws the progress line."""
        if self.quiet:
            return
        seconds = time.monotonic() - self.started
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "seconds": round(seconds, 2), **values}) + "\n")
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(name, value, step)
            if step >= self.total:
                self.board.close()
        left = seconds / max(step - self.first_step, 1) * (self.total - step)
        terms = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        end = "\r" if sys.stderr.isatty() and step < self.total else "\n"
        bar = "█" * (20 * step // self.total)
        print(
            f"{bar:░<20} {step}/{self.total}  {left / 60:.0f} min left  {terms}", end=end, file=sys.stderr, flush=True
        )


def _parsed(line: str) -> dict[str, Any] | None:
    """A record, or None for the half line that a kill leaves behind."""
    try:
        record: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return record


def _tensorboard(folder: Path, resume_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=resume_step + 1)
