"""What Ray costs on one machine: `carpal assess DIR --ray local` against the same without, workers alike, in one run.

    python bench/on_ray.py [--images 40 160] [--workers 2] [--precision int8] [--out DIR]

Each command reads two folders of links to one radiograph, the smaller and the larger, the two ways by turns. Images a
second are those of the difference; what is left of the smaller one's seconds is the start (Ray's own, the actors', the
networks'). At the end the Ray run is called again, with nothing left to do. Writes on_ray.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[1] / "examples" / "6456.jpg"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs=2, default=[40, 160])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name), arguments.images, arguments.workers, arguments.precision)
    arguments.out.mkdir(exist_ok=True)
    (arguments.out / "on_ray.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


def measure(folder: Path, images: list[int], workers: int, precision: str) -> dict[str, Any]:
    """Seconds of each command, images a second and the start, and the ratio of the two ways."""
    words = ["--sex", "female", "--workers", str(workers), "--precision", precision]
    ways = {"threads": words, "ray": [*words, "--ray", "local"]}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in images:
        hands = folder / str(number)
        hands.mkdir()
        for link in range(number):
            (hands / f"{link:05}.jpg").symlink_to(EXAMPLE)
        for way, more in ways.items():
            seconds[way].append(assess(hands, folder / f"{way}{number}.jsonl", more))
    found: dict[str, Any] = {"images": images, "workers": workers, "precision": precision, "seconds": seconds}
    for way, (few, many) in seconds.items():
        if many <= few:
            raise SystemExit(f"{seconds}: the larger folder took no longer - the machine is too busy, try again")
        rate = (images[1] - images[0]) / (many - few)
        found[way] = {"images_a_second": round(rate, 2), "start_s": round(few - images[0] / rate, 1)}
    found["ray_over_threads"] = round(found["ray"]["images_a_second"] / found["threads"]["images_a_second"], 2)
    found["nothing_left_s"] = assess(folder / str(images[1]), folder / f"ray{images[1]}.jsonl", ways["ray"])
    found["same_lines"] = sorted(lines(folder / f"ray{images[1]}.jsonl")) == lines(folder / f"threads{images[1]}.jsonl")
    return found | {"date": time.strftime("%Y-%m-%d"), "load": round(os.getloadavg()[0], 1)}


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def assess(hands: Path, out: Path, words: list[str]) -> float:
    """Seconds of the command."""
    command = [sys.executable, "-m", "carpal", "assess", str(hands), "--out", str(out), *words]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return round(time.perf_counter() - start, 2)


if __name__ == "__main__":
    main()
