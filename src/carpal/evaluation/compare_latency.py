"""How long each network takes for one radiograph on the CPU: all of them in one run, taking turns.

Taking turns, in an order that changes every round, spreads whatever else the machine does over all of them alike.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from carpal.errors import ConfigError
from carpal.inference.engine import open_engine
from carpal.inference.info import read_info

WARM_UP: Final = 2
ASPECT: Final = 0.78


def measure(weights: Mapping[str, Path], rounds: int, threads: int = 1) -> dict[str, Any]:
    """Median and quartiles, in milliseconds, of one forward pass of one prepared image, by name under "rows".

    Every network sees noise of its own long side and the usual aspect; `threads` CPU threads each. Raises
    WeightsError where a file is missing, ConfigError without any.
    """
    if not weights:
        raise ConfigError("There is no latency to measure - no report names its weights - evaluate again.")
    engines = {name: open_engine(path, read_info(path).backend, threads) for name, path in weights.items()}
    images = {name: noise(engine.long_side) for name, engine in engines.items()}
    generator = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(WARM_UP + rounds):
        for name in generator.permutation(list(engines)).tolist():
            start = time.perf_counter()
            engines[name].run(images[name], True)
            if turn >= WARM_UP:
                seconds[name].append(time.perf_counter() - start)
    rows = {name: _summary(values) for name, values in seconds.items()}
    sides = {name: engine.long_side for name, engine in engines.items()}
    backends = {name: path.suffix for name, path in weights.items()}
    return {"rows": rows, "rounds": rounds, "threads": threads, "machine": platform.machine(), "long_side": sides,
            "files": backends}  # fmt: skip


def noise(long_side: int) -> Any:
    """A prepared image of noise, uint8, sides multiples of 32."""
    width = max(32, round(ASPECT * long_side / 32) * 32)
    return np.random.default_rng(0).integers(0, 255, (long_side, width), np.uint8)


def _summary(seconds: list[float]) -> dict[str, float]:
    low, median, high = np.percentile(np.array(seconds) * 1000, [25, 50, 75])
    return {"median": float(median), "low": float(low), "high": float(high)}
