"""Latency, throughput, cold start, memory and distance to the machine's peak, all runtimes interleaved in one run.

    python bench/speed.py --weights alanet --torch alanet.safetensors [--rounds 30] [--threads 2] [--out DIR]

Writes speed.json, speed.md (the table of docs/speed.md) and speed.png (its plot). What is not installed, or for which
no weights are given, is left out and said so. Close everything else first: every ratio is of one run, but a busy
machine widens the 99th percentiles. On a machine that cannot be made quiet, `--clock cpu --threads 1` counts this
process's seconds on a core instead of those on the wall.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from carpal.errors import CarpalError
from carpal.imaging.preprocess import gaussian_blur, pad, preprocess
from carpal.imaging.read import read_radiograph
from carpal.inference.assess import assess
from carpal.inference.engine import open_engine
from carpal.inference.pipeline import Job, read_many
from carpal.types import Sex

EXAMPLE = Path(__file__).parents[1] / "examples" / "6456.jpg"
ENLARGED = 4
"""The example (492 x 640, 8 bits, JPEG) so many times larger, 16 bits, uncompressed: a radiograph of 5 megapixels."""
REFERENCE = "ONNX Runtime fp32"
EAGER = "PyTorch eager fp32"
RUNS = 3
"""Of the network for one radiograph of a left hand: to find it, of its view, and of the view's mirror image."""
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
now = CLOCKS["wall"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--weights", default="alanet", help="a released name or an .onnx file; int8 as its sidecar says"
    )
    parser.add_argument("--torch", type=Path, help="the .safetensors file that it was exported from")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--images", type=int, default=24, help="of each turn of the throughput measurement")
    parser.add_argument("--turns", type=int, default=7, help="of the bare network and whole readings; medians count")
    parser.add_argument("--starts", type=int, default=5, help="of each command, for the cold start")
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    arguments = parser.parse_args()
    arguments.out.mkdir(exist_ok=True)
    global now
    now = CLOCKS[arguments.clock]
    report = measure(arguments)
    (arguments.out / "speed.md").write_text(table(report))
    plot(report, arguments.out / "speed.png")
    print(table(report))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    threads = arguments.threads
    engines, left_out = open_all(arguments.weights, arguments.torch, threads)
    radiograph = read_radiograph(EXAMPLE)
    side = engines[REFERENCE].long_side
    image_HW = np.ascontiguousarray(pad(gaussian_blur(preprocess(radiograph.pixels_HW, side).grey_HW))[0])
    runs: dict[str, Callable[[], Any]] = {
        name: lambda engine=engine: engine.run(image_HW, False) for name, engine in engines.items()
    }
    runs |= plain_networks(image_HW, left_out)
    report: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "machine": f"{threads} threads of {platform.processor() or platform.machine()}, load {os.getloadavg()[0]:.1f}",
        "clock": arguments.clock,
        "date": time.strftime("%Y-%m-%d"),
        "image": list(image_HW.shape),
        "left_out": left_out,
    }
    parts: dict[str, Callable[[], Any]] = {
        "latency_ms": lambda: interleaved(runs, arguments.rounds),
        "peak": lambda: peaks(threads),
        "cold": lambda: cold(arguments.weights, engines, arguments.starts, arguments.clock),
        "throughput": lambda: throughput(arguments.weights, engines, arguments),
        "share": lambda: {name: network_share(engine, radiograph) for name, engine in engines.items() if name != EAGER},
        "gflop": lambda: gflop(arguments.torch, image_HW),
    }
    for part, work in parts.items():
        report[part] = work()
        report["load_after"] = os.getloadavg()[0]
        (arguments.out / "speed.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def open_all(weights: str, torch_weights: Path | None, threads: int) -> tuple[dict[str, Any], list[str]]:
    wanted = {
        REFERENCE: (weights, "onnx", "fp32"),
        "ONNX Runtime int8": (weights, "onnx", "int8"),
        "OpenVINO fp32": (weights, "openvino", "fp32"),
        "OpenVINO int8": (weights, "openvino", "int8"),
    }
    if torch_weights is not None:
        wanted[EAGER] = (str(torch_weights), "torch", "fp32")
    engines, left_out = {}, []
    for name, (path, backend, precision) in wanted.items():
        try:
            engines[name] = open_engine(path, backend, threads, precision)
        except CarpalError as error:
            left_out.append(f"{name}: {error}")
    return engines, left_out


def plain_networks(image_HW: Any, left_out: list[str]) -> dict[str, Callable[[], Any]]:
    """A bare ResNet-50, and torchvision's Faster R-CNN where it can be imported, with random weights."""
    try:
        import torch

        from carpal.lab.model.resnet import ResNet50
    except ImportError as error:
        left_out.append(f"PyTorch: {error}")
        return {}
    image_B1HW = torch.from_numpy(image_HW)[None, None]
    trunk = ResNet50().eval()

    def resnet() -> Any:
        with torch.inference_mode():
            return trunk(image_B1HW)

    runs = {"plain ResNet-50, PyTorch eager": resnet}
    try:
        from torchvision.models.detection import fasterrcnn_resnet50_fpn

        network = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, min_size=image_HW.shape[0]).eval()
    except (ImportError, RuntimeError) as error:
        left_out.append(f"torchvision's Faster R-CNN: {type(error).__name__}: {error}")
        return runs

    def detector() -> Any:
        with torch.inference_mode():
            return network([image_B1HW[0].expand(3, -1, -1)])

    return runs | {"torchvision Faster R-CNN R50, eager": detector}


def interleaved(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, dict[str, float]]:
    """One call of each in turn, so that a slow moment of the machine meets all of them."""
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = now()
            run()
            times[name].append(1000 * (now() - start))
    return {
        name: {"p50": float(np.percentile(t, 50)), "p99": float(np.percentile(t, 99)), "min": min(t)}
        for name, t in times.items()
    }


def peaks(threads: int) -> dict[str, float]:
    """Best of ten square matrix products of 2048: GFLOP/s in fp32, GOP/s in uint8 x int8."""
    import onnxruntime
    from onnx import TensorProto, helper

    side, found = 2048, {}
    rng = np.random.default_rng(0)
    for kind, node, types in (
        ("fp32", "MatMul", (TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.FLOAT)),
        ("int8", "MatMulInteger", (TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32)),
    ):
        a, b, c = (helper.make_tensor_value_info(n, t, [side, side]) for n, t in zip("abc", types, strict=True))
        graph = helper.make_graph([helper.make_node(node, ["a", "b"], ["c"])], "g", [a, b], [c])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        dtypes = (np.float32, np.float32) if kind == "fp32" else (np.uint8, np.int8)
        feed = {n: rng.integers(0, 100, (side, side)).astype(t) for n, t in zip("ab", dtypes, strict=True)}
        best = min(_timed(lambda s=session, f=feed: s.run(None, f)) for _ in range(10))
        found[kind] = 2 * side**3 / best / 1e9
    return found


def gflop(torch_weights: Path | None, image_HW: Any) -> float | None:
    """Multiplications and additions of the convolutions and linear layers for one image, in 1e9."""
    if torch_weights is None:
        return None
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from carpal.lab.export.torch_runtime import Deployed
    from carpal.lab.model.weights import load

    network = Deployed(load(torch_weights)[0])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.from_numpy(image_HW)[None, None], torch.zeros(1))
    return float(counter.get_total_flops()) / 1e9


def network_share(engine: Any, radiograph: Any) -> dict[str, float]:
    """Where the time of one image goes: decoding, the network's views, and all the rest (ms, medians of five)."""
    spent: list[float] = []
    run = engine.run

    def timed(*args: Any, **more: Any) -> Any:
        start = now()
        answer = run(*args, **more)
        spent.append(1000 * (now() - start))
        return answer

    rows = []
    engine.run = timed
    try:
        for _ in range(5):
            spent.clear()
            decode = 1000 * _timed(lambda: read_radiograph(EXAMPLE))
            whole = 1000 * _timed(lambda: assess(radiograph, Sex.FEMALE, engine))
            rows.append((decode, sum(spent), whole - sum(spent)))
    finally:
        engine.run = run
    decode, network, rest = (float(np.median(column)) for column in zip(*rows, strict=True))
    return {"decode": decode, "network": network, "rest": rest, "share": network / (decode + network + rest)}


def throughput(weights: str, engines: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """Images a second: the network's runs alone, and whole assessments from files, by turns; a worker a thread."""
    with tempfile.TemporaryDirectory() as name:
        files = {"whole": EXAMPLE, "whole_large": enlarged(Path(name))}
        return _throughput(weights, engines, arguments, files)


def enlarged(folder: Path) -> Path:
    """The example as a detector of full size would send it; its low bits are noise."""
    with Image.open(EXAMPLE) as small:
        large_HW = np.asarray(small.resize([ENLARGED * side for side in small.size])).astype(np.uint16)
    large_HW = 16 * large_HW + np.random.default_rng(0).integers(0, 16, large_HW.shape, np.uint16)
    Image.fromarray(large_HW).save(folder / "large.tif")
    return folder / "large.tif"


def _throughput(
    weights: str, engines: dict[str, Any], arguments: argparse.Namespace, files: dict[str, Path]
) -> dict[str, Any]:
    found, workers = {}, arguments.threads
    radiograph = read_radiograph(EXAMPLE)
    for name in engines:
        if name == EAGER:
            continue
        backend, precision = ("onnx" if "ONNX" in name else "openvino"), name.split()[-1]
        engine = open_engine(weights, backend, 1, precision)
        image_HW = np.ascontiguousarray(
            pad(gaussian_blur(preprocess(radiograph.pixels_HW, engine.long_side).grey_HW))[0]
        )
        works: dict[str, Callable[[], Any]] = {
            "network": partial(_run_all, arguments.images, engine, image_HW, workers),
            **{
                kind: partial(_read_all, [Job(str(path), Sex.FEMALE)] * arguments.images, engine, workers)
                for kind, path in files.items()
            },
        }
        _run_all(workers, engine, image_HW, workers)
        turns = [{kind: _timed(work) for kind, work in works.items()} for _ in range(arguments.turns)]
        found[name] = {kind: arguments.images / float(np.median([turn[kind] for turn in turns])) for kind in works}
        for kind in files:
            shares = [turn["network"] / turn[kind] for turn in turns]
            found[name] |= {kind.replace("whole", "share"): float(np.median(shares)), f"{kind}_shares": shares}
    return found


def _run_all(images: int, engine: Any, image_HW: Any, workers: int) -> None:
    """The network's runs for so many radiographs and nothing else, each thread one image at a time."""

    def runs(_: int) -> None:
        for _ in range(RUNS):
            engine.run(image_HW, False)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(runs, range(images)))


def _read_all(jobs: list[Job], engine: Any, workers: int) -> None:
    for done in read_many(jobs, engine, workers):
        if done.error is not None:
            raise done.error


def cold(weights: str, engines: dict[str, Any], starts: int, clock: str) -> dict[str, Any]:
    """Seconds and peak memory (MB) of fresh processes, medians, interleaved."""
    read = ["from carpal.cli import main; main(sys.argv[1:])", "assess", str(EXAMPLE), "--sex", "female"]
    read += ["--weights", weights]
    commands = {"import carpal": ["import carpal"]}
    for name in engines:
        if name != EAGER:
            backend = "onnx" if "ONNX" in name else "openvino"
            commands[name] = [*read, "--backend", backend, "--precision", name.split()[-1]]
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(starts):
        for name, words in commands.items():
            seen[name].append(_process(words, clock))
    return {
        name: dict(zip(("seconds", "mb"), (float(v) for v in np.median(runs, axis=0)), strict=True))
        for name, runs in seen.items()
    }


def _process(words: list[str], clock: str) -> tuple[float, float]:
    """Seconds and peak memory of a program and its arguments. The child says its own peak: wait4 would say ours."""
    program, *arguments = words
    peak = "next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))"
    code = f"import sys\n{program}\nimport time\nprint(time.process_time(), {peak}, file=sys.stderr)"
    start = time.perf_counter()
    child = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    wall = time.perf_counter() - start
    cpu, _, size, _ = child.stderr.split()[-4:]
    return float(cpu) if clock == "cpu" else wall, int(size) / 1024


def _timed(work: Callable[[], Any]) -> float:
    start = now()
    work()
    return now() - start


def table(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    latency = report["latency_ms"]
    height, width = report["image"]
    eager, reference = latency.get(EAGER, {}).get("p50"), latency[REFERENCE]["p50"]
    lines = [
        f"{report['date']}, {report['machine']}, seconds of the {report['clock']} clock, one view of {height}x{width}:",
        "",
        "| runtime | p50, ms | p99, ms | times eager | times ONNX Runtime fp32 | share of peak |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in sorted(latency.items(), key=lambda item: -item[1]["p50"]):
        faster = "" if eager is None else f"{eager / row['p50']:.2f}"
        peak = ""
        if report["gflop"] and name != "torchvision Faster R-CNN R50, eager" and not name.startswith("plain"):
            kind = "int8" if name.endswith("int8") else "fp32"
            peak = f"{100 * report['gflop'] / (row['p50'] / 1000) / report['peak'][kind]:.0f} % of {kind}"
        lines.append(
            f"| {name} | {row['p50']:.1f} | {row['p99']:.1f} | {faster} | {reference / row['p50']:.2f} | {peak} |"
        )
    lines += [
        "",
        "| | images/s, network | whole | share | of 5 megapixels | share | network's share of one | cold, s | MB |",
    ]
    lines.append("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for name, row in report["throughput"].items():
        started, share = report["cold"][name], report["share"][name]["share"]
        lines.append(
            f"| {name} | {row['network']:.2f} | {row['whole']:.2f} | {100 * row['share']:.0f} % "
            f"| {row['whole_large']:.2f} | {100 * row['share_large']:.0f} % "
            f"| {100 * share:.0f} % | {started['seconds']:.2f} | {started['mb']:.0f} |"
        )
    peak, cost = report["peak"], "" if report["gflop"] is None else f"; one view costs {report['gflop']:.1f} GFLOP"
    started = report["cold"]["import carpal"]["seconds"]
    lines += [
        "",
        f"Peak, by matrix products: {peak['fp32']:.0f} GFLOP/s in fp32, {peak['int8']:.0f} GOP/s in int8{cost}.",
    ]
    lines += [f"`import carpal` in a fresh process: {started:.2f} s, Python's own start included."]
    lines += [f"Left out: {reason}" for reason in report["left_out"]]
    return "\n".join(lines) + "\n"


def plot(report: dict[str, Any], path: Path) -> None:
    """Median latencies as bars, to the 99th percentile as lines."""
    with contextlib.suppress(ImportError):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        rows = sorted(report["latency_ms"].items(), key=lambda item: item[1]["p50"])
        figure = Figure(figsize=(7, 0.45 * len(rows) + 1), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        middle = [row["p50"] for _, row in rows]
        axes.barh([name for name, _ in rows], middle, color="#4477aa")
        axes.hlines(range(len(rows)), middle, [row["p99"] for _, row in rows], color="#222222")
        axes.set_xlabel("ms a view: median, line to the 99th percentile")
        figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
