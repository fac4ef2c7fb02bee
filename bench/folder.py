"""Is the memory of `carpal assess DIR --out` constant, and how long does it take to go on? A generated folder of links.

    python bench/folder.py --links 100000 [--reading told|instant|int8] [--stop 50000] [--workers 2]

Listing, decoding, writing and going on are those of the command in any case. What a reading is:

    told     the same assessment at once: nothing is prepared, no network runs; the links show a picture of 64 pixels.
             100,000 links take minutes. What it shows is that the folder's own work keeps nothing.
    instant  preparing and checking are real, only the network's answer is told
    int8     the released int8 network reads every link

`--stop N` ends the run after N images in the middle of a line, as a power cut would, and goes on with a new list of
results. Prints resident memory at 1 %, at each tenth, and images a second.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

import carpal
from carpal.imaging.read import read_radiograph
from carpal.inference.assess import assess
from carpal.inference.engine import Engine, Reading, open_engine
from carpal.inference.pipeline import Job, find_images, read_many
from carpal.node.monitoring import resident
from carpal.report import results as as_json
from carpal.report.lines import ResultLines
from carpal.types import Assessment, ModelId, Radiograph, Sex

EXAMPLE = Path(__file__).parents[1] / "examples" / "6456.jpg"
READINGS = ("told", "instant", "int8")
TOLD_SIDE = 64


class Instant:
    """An engine that answers the same at once."""

    model, long_side, calibration, refusal = ModelId("instant", "0", "0" * 64), 256, None, None
    view_scale, flip = 1.2, True
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
    parser.add_argument("--reading", choices=READINGS, default="told")
    parser.add_argument("--stop", type=int, help="images after which the run is cut off, once")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(
            json.dumps(measure(folder, arguments.links, arguments.workers, arguments.reading, arguments.stop), indent=2)
        )


def measure(
    folder: Path, links: int, workers: int, reading: str = "instant", stop: int | None = None
) -> dict[str, Any]:
    """Makes the links, reads them all, and notes the memory on the way."""
    small, hands, out = folder / "hand.jpg", folder / "hands", folder / "results.jsonl"
    hands.mkdir()
    picture = Image.open(EXAMPLE)
    picture.reduce(picture.height // TOLD_SIDE if reading == "told" else 2).save(small)
    for number in range(links):
        (hands / f"{number:07}.jpg").symlink_to(small)
    engine: Engine = open_engine("alanet", "onnx", 1, "int8") if reading == "int8" else Instant()
    memory: dict[int, float] = {}
    found: dict[str, Any] = {"reading": reading, "links": links, "workers": workers, "memory_mb": memory}
    start = time.monotonic()
    with readings(reading, engine):
        if stop is not None:
            read(hands, out, engine, workers, memory, links, stop)
            with out.open("a") as file:
                file.write('{"image": "torn')
            found["stopped_after"] = stop
        found |= read(hands, out, engine, workers, memory, links)
    found["images_a_second"] = round(links / (time.monotonic() - start), 1)
    with out.open() as file:
        names = [json.loads(line)["image"] for line in file]
    assert len(set(names)) == len(names) == links, f"{len(names)} lines of {len(set(names))} images, {links} links"
    return found | {"bytes_a_line": out.stat().st_size // links}


def read(
    hands: Path, out: Path, engine: Engine, workers: int, memory: dict[int, float], links: int, stop: int | None = None
) -> dict[str, float]:
    """Reads what has no result yet, or `stop` images; says how long it took to take stock, and to the first result."""
    start = time.monotonic()
    took: dict[str, float] = {}
    with ResultLines(out, {"model": asdict(engine.model), "carpal": carpal.__version__}) as lines:
        took["seconds_to_take_stock"] = round(time.monotonic() - start, 2)
        jobs = (Job(image, Sex.FEMALE) for image in find_images(str(hands)) if image not in lines)
        with contextlib.closing(read_many(jobs, engine, workers)) as outcomes:
            for done in outcomes:
                if done.error is not None:
                    raise done.error
                lines.append(done.image, [as_json.entry(result) for result in done.results])
                took.setdefault("seconds_to_the_first_result", round(time.monotonic() - start, 2))
                if len(lines) % max(links // 10, 1) == 0 or len(lines) == links // 100:
                    memory[len(lines)] = round(resident() / 2**20, 1)
                    print(f"{len(lines)} images, {memory[len(lines)]} MB", file=sys.stderr, flush=True)
                if len(lines) == stop:
                    break
    return took


@contextlib.contextmanager
def readings(kind: str, engine: Engine) -> Iterator[None]:
    """Within, a radiograph is read as `kind` says."""
    if kind != "told":
        yield
        return
    answer = assess(read_radiograph(EXAMPLE), Sex.FEMALE, engine, may_refuse=False)

    def told(radiograph: Radiograph, *_: object) -> list[Assessment]:
        return [replace(answer, image=radiograph.source)]

    with patch("carpal.inference.pipeline.read_hands", told):
        yield


if __name__ == "__main__":
    main()
