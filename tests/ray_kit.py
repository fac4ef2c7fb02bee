"""An engine for the actors of Ray: one image kills its process, one raises, and one process waits to be killed.

Actors import this file by its name, so it is no test file. What an image is, its prepared width tells.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from carpal.inference.engine import Reading
from carpal.types import ModelId

KILLS, RAISES = 32, 64
"""Prepared widths, of a height of 128."""
BEFORE = 7
"""Images that a process reads before the first one to get there waits for its end."""


class Engine:
    """Leaves a file for each process in `folder`, with a line for each run; `victim` has the id of the waiting one."""

    model, long_side, calibration, refusal = ModelId("fake", "1", "0" * 64), 128, None, None
    view_scale, flip = 1.0, True

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs = folder, 0

    def run(self, image_HW: Any, male: bool, boxes_R4: Any = None) -> Reading:
        width = image_HW.shape[1]
        with (self.folder / f"{os.getpid()}.runs").open("a") as file:
            file.write(f"{width}\n")
        if width == KILLS:
            os.kill(os.getpid(), signal.SIGKILL)
        if width == RAISES:
            raise ValueError("no such hand")
        self.runs += 1
        if self.runs > 2 * BEFORE:
            self._wait_to_be_killed()
        boxes_R4 = np.array([[4 * i, 3 * i, 4 * i + 16, 3 * i + 16] for i in range(17)], np.float32)
        scores_R, months_R = np.full(17, 0.9, np.float32), np.full(17, 120, np.float32)
        return Reading(120.0, np.full(228, 120 / 228, np.float32), boxes_R4, scores_R, months_R)

    def _wait_to_be_killed(self) -> None:
        """Once in the whole run."""
        path = self.folder / "victim"
        try:
            handle = os.open(path.with_suffix(".new"), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return
        os.write(handle, str(os.getpid()).encode())
        os.close(handle)
        path.with_suffix(".new").rename(path)
        path.with_suffix(".new").touch()
        time.sleep(600)


def open_engine(weights: str, *rest: Any) -> Engine:
    """In place of `carpal.inference.engine.open_engine`; `weights` is the folder."""
    return Engine(Path(weights))
