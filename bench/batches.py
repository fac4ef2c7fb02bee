"""Does a batch of images gain on a CPU against one image after the other? Images a second, all sizes interleaved.

    python bench/batches.py [--weights alanet] [--sizes 1 4 8] [--threads 1] [--rounds 10] [--out DIR]

The images of a batch are all of one aspect, so that none is padded: the best that sorting by aspect could bring. Writes
batches.json and batches.md.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from carpal.imaging.preprocess import gaussian_blur, pad, preprocess
from carpal.imaging.read import read_radiograph
from carpal.inference.engine import open_engine
from carpal.inference.onnx import inputs_of

EXAMPLE = Path(__file__).parents[1] / "examples" / "6456.jpg"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="alanet")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    arguments = parser.parse_args()
    engines = {
        f"{name} {precision}": open_engine(arguments.weights, backend, arguments.threads, precision)
        for name, backend in (("ONNX Runtime", "onnx"), ("OpenVINO", "openvino"))
        for precision in ("fp32", "int8")
    }
    found = measure(engines, arguments.sizes, arguments.rounds)
    told = {"date": time.strftime("%Y-%m-%d"), "threads": arguments.threads, "load": round(os.getloadavg()[0], 1)}
    arguments.out.mkdir(exist_ok=True)
    (arguments.out / "batches.json").write_text(json.dumps(told | {"views_a_second": found}, indent=2) + "\n")
    (arguments.out / "batches.md").write_text(table(found))
    print(told, table(found), sep="\n")


def measure(engines: dict[str, Any], sizes: list[int], rounds: int) -> dict[str, dict[int, float]]:
    """Views a second (medians) of each engine at each size of batch; one call of each in turn."""
    pixels_HW = read_radiograph(EXAMPLE).pixels_HW
    runs: dict[tuple[str, int], Callable[[], Any]] = {}
    for name, engine in engines.items():
        image_HW = np.ascontiguousarray(pad(gaussian_blur(preprocess(pixels_HW, engine.long_side).grey_HW))[0])
        one = inputs_of(image_HW, False, None, engine.takes_regions)
        for size in sizes:
            feed = {key: np.repeat(value, size, axis=0) for key, value in one.items()}
            runs[name, size] = runner(engine, feed)
    times: dict[tuple[str, int], list[float]] = {key: [] for key in runs}
    for number in range(rounds + 1):
        for key, run in runs.items():
            start = time.perf_counter()
            run()
            if number:  # the first warms up
                times[key].append(time.perf_counter() - start)
    return {name: {size: size / float(np.median(times[name, size])) for size in sizes} for name in engines}


def runner(engine: Any, feed: dict[str, Any]) -> Callable[[], Any]:
    """One run of a whole batch, past the engine, which takes one image."""
    if engine.model.backend == "openvino":
        request = engine._compiled.create_infer_request()
        return lambda: request.infer(feed)
    return lambda: engine._session.run(engine._outputs, feed)


def table(found: dict[str, dict[int, float]]) -> str:
    """Views a second, and in brackets how many times those of the smallest batch."""
    sizes = list(next(iter(found.values())))
    lines = ["| views a second, batch of | " + " | ".join(map(str, sizes)) + " |", "|---|" + "---:|" * len(sizes)]
    for name, rates in found.items():
        cells = (f"{rate:.1f} ({rate / rates[sizes[0]]:.2f})" for rate in rates.values())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
