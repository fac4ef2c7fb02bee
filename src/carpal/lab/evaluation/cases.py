"""`carpal cases`: what weights see in the radiographs that they were trained on, as a table beside them."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carpal.errors import WeightsError
from carpal.imaging.preprocess import preprocess
from carpal.imaging.read import read_radiograph
from carpal.inference.align import read_aligned
from carpal.inference.engine import Engine, open_engine
from carpal.inference.explain import Cases, cases_path
from carpal.inference.weights import read_info
from carpal.lab.data import shared
from carpal.lab.data.prepare import Sample


def write(source: Path, weights: str = "alanet", limit: int | None = None) -> Path:
    """Reads the data folder's radiographs that the weights were trained on, and writes the table; returns its path.

    Raises DataError, WeightsError (weights without features, fewer than two radiographs), BackendError.
    """
    engine = open_engine(weights, threads=1)
    held_out = read_info(weights).held_out
    samples = [sample for sample in shared.images(source) if sample.fold not in held_out][:limit]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        features = []
        for done, one_F in enumerate(pool.map(lambda sample: see(sample, engine), samples), 1):
            features.append(one_F)
            if sys.stderr.isatty() or done % 100 == 0:
                print(f"\r{done}/{len(samples)} radiographs", end="", file=sys.stderr, flush=True)
    ages = [float(sample.boneage or 0) for sample in samples]
    cases = Cases.of(
        [sample.id for sample in samples],
        ages,
        [bool(s.male) for s in samples],
        np.array(features),
        engine.model.sha256,
    )
    path = cases_path(weights)
    cases.save(path)
    return path


def see(sample: Sample, engine: Engine) -> NDArray[np.float32]:
    """The features (F) of a radiograph, as `assess` reads it. Raises WeightsError for weights that show none."""
    radiograph = read_radiograph(sample.read(), sample.name)
    prepared = preprocess(radiograph.pixels_HW, engine.long_side)
    reading, _ = read_aligned(engine, prepared, bool(sample.male), source=radiograph.pixels_HW)
    if reading.features_F is None:
        raise WeightsError(
            f"{engine.model.name} {engine.model.version} shows no features - it was exported before they were an "
            "output - export it again with `carpal export`"
        )
    return reading.features_F
