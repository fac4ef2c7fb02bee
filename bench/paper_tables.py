"""Trains and evaluates every system of the paper's tables at one stated budget, then compares them.

    python bench/paper_tables.py --data STORE... --images DIR --labels CSV --regions CSV --start IMAGENET --out DIR

Each system is one command, which this script runs and prints: `carpal train`, `carpal export`, `carpal evaluate`. What
is done already is skipped; a run that was killed goes on where it stopped. `--only NAME` does a part, so that one
system can be one job; `--jobs N` runs N side by side. See docs/baselines.md for what a reduced budget means.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SYSTEMS = ("larson", "ren", "iglovikov", "prsnet", "arcnn", "bonet", "deeplasia", "convnext")
ABLATIONS = ("alanet", "resnet50", "local", "patch")
DETECTOR = "vanilla_rpn"
WITH_DETECTOR = ("iglovikov", "bonet")
WITH_RESNET = ("larson", "prsnet", "arcnn", *ABLATIONS, DETECTOR)
ALL = ("alanet", *SYSTEMS, "resnet50", "local", "patch", DETECTOR)
BUDGET = {
    "optim.lr": "1e-3",
    "optim.batch": "32",
    "optim.weight_decay": "0.01",
    "optim.clip": "5",
    "schedule.cosine": "true",
    "schedule.save_every": "50",
    "augment.flip": "0.5",
    "augment.scale": "0.15",
    "augment.rotate": "30",
    "augment.shift": "0.04",
    "augment.intensity": "0.2",
    "augment.noise": "4",
}
"""The same for every system: examples, batch, optimiser, augmentation, schedule."""


def main() -> int:
    """Trains what is missing, then evaluates it; stops at the first command that fails."""
    options = parse()
    runs = [(name, seed) for name in options.only or ALL for seed in seeds_of(name, options.seeds)]
    first = [run for run in runs if run[0] == "alanet"]  # others take its detector
    if options.jobs > 1:  # each command gets its share of the cores; alone, it chooses for itself
        os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // options.jobs))
    with ThreadPoolExecutor(options.jobs) as pool:
        for stage, part in ((train, first), (train, [run for run in runs if run not in first]), (judge, runs)):
            list(pool.map(lambda run, stage=stage: stage(options, *run), part))
    if options.no_compare:
        return 0
    evaluated = sorted(path.parent for path in (options.out / "eval").glob("*/report.json"))
    words = ["compare", *map(str, evaluated), "--out", str(options.out / "tables")]
    carpal(words + (["--latency", str(options.latency)] if options.latency else []))
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", nargs="+", required=True, help="stores of --long-side, as `carpal prepare` wrote them"
    )
    parser.add_argument("--repeats", default="", help="passes over each store an epoch, as 1,3")
    parser.add_argument("--images", required=True, help="radiographs of the held-out folds")
    parser.add_argument("--labels", required=True, help="id,boneage,male of the held-out folds")
    parser.add_argument("--regions", required=True, help="points of annotated regions")
    parser.add_argument(
        "--start", default="", help="ImageNet's ResNet-50 for the systems that have one (default: none)"
    )
    parser.add_argument("--holdout", default="0,1", help="folds that nothing is trained on (default: 0,1)")
    parser.add_argument("--long-side", type=int, default=96)
    parser.add_argument(
        "--width", type=int, default=64, help="channels, 64 is the published network; 8 to try the chain"
    )
    parser.add_argument("--steps", type=int, default=600, help="of 32 examples, for every system (default: 600)")
    parser.add_argument("--seeds", type=int, default=2, help="runs of ALA-Net and its ablations (default: 2)")
    parser.add_argument("--jobs", type=int, default=1, help="commands at once, each on its share of the cores")
    parser.add_argument("--only", nargs="+", choices=ALL, help="these systems alone")
    parser.add_argument("--set", action="append", default=[], help="a further setting of every run")
    parser.add_argument("--latency", type=int, default=0, help="rounds of the latency measurement")
    parser.add_argument("--no-compare", action="store_true", help="train and evaluate only")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def seeds_of(name: str, seeds: int) -> range:
    """ALA-Net and its ablations are run with several seeds, the others with one."""
    return range(seeds if name in ABLATIONS else 1)


def places(options: argparse.Namespace, name: str, seed: int) -> tuple[Path, Path]:
    """The run's folder and its weights."""
    run = options.out / "runs" / f"{name}-{seed}"
    return run, run / f"{name}.safetensors"


def train(options: argparse.Namespace, name: str, seed: int) -> None:
    """Trains a system, or goes on with it."""
    run, weights = places(options, name, seed)
    if not weights.is_file():
        carpal(training(options, name, seed, run))


def judge(options: argparse.Namespace, name: str, seed: int) -> None:
    """Exports and evaluates a trained system, as far as that is not done."""
    run, weights = places(options, name, seed)
    out, exported = options.out / "eval" / run.name, options.out / "onnx" / f"{run.name}.onnx"
    if name == DETECTOR:  # it has no age; only PyTorch sees boxes without names
        evaluate(options, out, weights, "torch")
        return
    if not exported.is_file():
        exported.parent.mkdir(parents=True, exist_ok=True)
        carpal(["export", str(run), "--out", str(exported), "--name", name])
    evaluate(options, out, exported, "onnx")
    if name in WITH_DETECTOR:
        evaluate(options, out.with_name(f"{run.name}-given"), weights, "torch", "--given-regions")


def training(options: argparse.Namespace, name: str, seed: int, run: Path) -> list[str]:
    """The words of `carpal train` for one system."""
    side = options.long_side
    settings = BUDGET | {
        "model.long_side": str(side),
        "model.box_size": str(side // 8),
        "model.width": str(options.width),
        "schedule.steps": str(options.steps),
        "schedule.warmup": str(max(1, options.steps // 20)),
        "data.holdout": options.holdout,
        "seed": str(seed),
    }
    if options.repeats:
        settings["data.repeats"] = options.repeats
    if name == "bonet":
        settings["model.head_side"] = str(max(2, side // 32))
    if name in WITH_RESNET and options.start:
        settings |= {"start": options.start, "optim.trunk_lr": "0.6"}
    if name in WITH_DETECTOR:
        detector = options.out / "runs" / "alanet-0" / "alanet.safetensors"
        if not detector.is_file():
            sys.exit(f"{name} needs the region detector of ALA-Net at {detector}: run --only alanet first.")
        settings |= {"start": str(detector), "model.detector_width": str(options.width)}
    words = [f"--set={key}={value}" for key, value in settings.items()] + [f"--set={item}" for item in options.set]
    return ["train", name, "--data", *options.data, "--out", str(run), "--resume", *words]


def evaluate(options: argparse.Namespace, out: Path, weights: Path, backend: str, *more: str) -> None:
    """`carpal evaluate`, unless its report is there."""
    if (out / "report.json").is_file():
        return
    words = ["evaluate", "--images", options.images, "--labels", options.labels, "--regions", options.regions]
    words += ["--no-refusal", "--no-align", "--weights", str(weights), "--backend", backend, *more]
    carpal([*words, "--out", str(out)])


def carpal(words: list[str]) -> None:
    """One command, printed with the time it took. Ends the script where it fails."""
    print(f"$ carpal {shlex.join(words)}", flush=True)
    start = time.monotonic()
    code = subprocess.run([sys.executable, "-m", "carpal", *words], check=False).returncode
    print(f"  {words[0]} {words[-1]}: {time.monotonic() - start:.0f} s, exit code {code}", flush=True)
    if code:
        sys.exit(code)


if __name__ == "__main__":
    sys.exit(main())
