"""Is the memory of `carpal assess DIR --out` constant? A folder of links, read by an engine that answers at once.

    python bench/folder.py --links 100000 [--workers 2]

The radiograph is a real example; decoding, preparing, checking and writing are those of the command; only the network
is replaced, because it keeps nothing between images. Prints resident memory at each tenth, and images a second.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import carpal
from carpal.inference.engine import Reading
from carpal.inference.pipeline import Job, find_images, read_many
from carpal.report import as_json
from carpal.report.lines import ResultLines
from carpal.service.counters import resident
from carpal.types import ModelId, Sex

EXAMPLE = Path(__file__).parents[1] / "examples" / "6456.jpg"


class Instant:
    """An engine that answers the same at once."""

    model, long_side, calibration, refusal = ModelId("instant", "0", "0" * 64), 256, None, None
    answer = Reading(
        120.0,
        np.full(228, 0.5, np.float32),
        np.array([[10 * i, 10 * i, 10 * i + 16, 10 * i + 16] for i in range(17)], np.float32),
        np.full(17, 0.9, np.float32),
        np.full(17, 120, np.float32),
    )

    def run(self, image_HW: Any, male: bool, boxes_R4: Any = None) -> Reading:
        return self.answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--links", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(measure(Path(name), arguments.links, arguments.workers), indent=2))


def measure(folder: Path, links: int, workers: int) -> dict[str, Any]:
    """Makes the links, reads them all, and notes the memory on the way."""
    small, hands = folder / "hand.jpg", folder / "hands"
    hands.mkdir()
    Image.open(EXAMPLE).reduce(2).save(small)  # decoding is not what is measured
    for number in range(links):
        (hands / f"{number:07}.jpg").symlink_to(small)
    engine, memory, step = Instant(), [], max(links // 10, 1)
    out = folder / "results.jsonl"
    start = time.monotonic()
    with ResultLines(out, {"model": asdict(engine.model), "carpal": carpal.__version__}) as lines:
        jobs = (Job(image, Sex.FEMALE) for image in find_images(str(hands)))
        for number, done in enumerate(read_many(jobs, engine, workers), 1):
            if done.error is not None:
                raise done.error
            lines.append(done.image, [as_json.entry(result) for result in done.results])
            if number % step == 0:
                memory.append(round(resident() / 2**20, 1))
                print(f"{number} images, {memory[-1]} MB", file=sys.stderr, flush=True)
    seconds = time.monotonic() - start
    return {
        "links": links,
        "memory_mb": memory,
        "images_a_second": round(links / seconds, 1),
        "bytes_a_line": out.stat().st_size // links,
    }


if __name__ == "__main__":
    main()
