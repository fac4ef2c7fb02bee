"""One process or two: the same step, the same loss. Two talk over the loopback with gloo."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from serving import free_port

from carpal.lab.data.sources import prepare_from
from carpal.lab.data.synthetic import write_dataset
from carpal.lab.model.alanet import ModelConfig
from carpal.lab.training import distributed, log, loop
from carpal.lab.training.config import Augment, Data, Optim, Run, Schedule, as_dict
from carpal.lab.training.distributed import World

pytestmark = pytest.mark.slow

WORKER = """
import contextlib, json, sys
from pathlib import Path
import torch
from carpal.lab.training import config, distributed, log, loop

distributed.autocast = lambda world: contextlib.nullcontext()
log._tensorboard = lambda folder, resume_step: None
torch.cuda.is_available = lambda: False
torch.set_num_threads(1)
run = config.from_dict(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
print("weights:", loop.train(run, Path(sys.argv[2])))
"""


def test_without_torchrun_a_process_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    world = distributed.join()
    assert (world.rank, world.size, world.main) == (0, 1, True)
    assert world.sum(torch.tensor([2.0, 3.0])).tolist() == [2.0, 3.0]
    world.barrier()
    distributed.leave(world)


def test_only_the_first_process_writes() -> None:
    assert [World(rank, 3, torch.device("cpu")).main for rank in range(3)] == [True, False, False]


def test_gradients_are_summed_and_absent_ones_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.ModuleList([torch.nn.Linear(3, 2), torch.nn.Linear(2, 2), torch.nn.Conv2d(1, 2, 3)])
    for number, parameter in enumerate(p for i in (0, 2) for p in model[i].parameters()):
        parameter.grad = torch.full_like(parameter, number + 1.0)
    kept = model[2].weight.grad
    sent: list[int] = []

    def twice(tensor: torch.Tensor) -> None:  # a peer with the same gradients
        sent.append(tensor.numel())
        tensor.mul_(2)

    monkeypatch.setattr(distributed.dist, "all_reduce", twice)
    distributed.sum_gradients(model, World(0, 2, torch.device("cpu")))
    assert [float(p.grad.mean()) for i in (0, 2) for p in model[i].parameters()] == [2.0, 4.0, 6.0, 8.0]
    assert model[2].weight.grad is kept
    assert model[1].weight.grad is None
    assert sent == [6 + 2 + 18 + 2], "one call for all"
    distributed.sum_gradients(model, World(0, 1, torch.device("cpu")))
    assert float(model[0].weight.grad.mean()) == 2.0, "alone there is nothing to add"


def metrics(out: Path) -> list[dict[str, float]]:
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def start_two(folder: Path, run: Run) -> Path:
    """torchrun with two processes on the loopback; returns the folder of their run."""
    (folder / "worker.py").write_text(WORKER, encoding="utf-8")
    (folder / "run.json").write_text(json.dumps(as_dict(run)), encoding="utf-8")
    where = ["--master-addr=127.0.0.1", f"--master-port={free_port()}"]
    launch = ["-m", "torch.distributed.run", "--nproc-per-node=2", *where]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if sys.platform == "linux":
        environment |= {"GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [sys.executable, *launch, str(folder / "worker.py"), str(folder / "run.json"), str(folder / "two")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("weights:") == 2
    return folder / "two"


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "autocast", lambda world: contextlib.nullcontext())
    monkeypatch.setattr(log, "_tensorboard", lambda folder, resume_step: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    write_dataset(tmp_path / "drawn", 5, seed=3, height=96)
    points, labels = tmp_path / "drawn" / "regions.csv", tmp_path / "drawn" / "labels.csv"
    prepare_from(tmp_path / "drawn", tmp_path / "marked", 96, regions=points, labels=labels)
    prepare_from(tmp_path / "drawn", tmp_path / "plain", 96, labels=labels)
    run = Run(
        name="tiny",
        model=ModelConfig(width=8, long_side=96, box_size=16, roi_features=16),
        data=Data(stores=(str(tmp_path / "marked"), str(tmp_path / "plain"))),
        augment=Augment(flip=0.5, scale=0.1),
        optim=Optim(lr=1e-3, batch=8, freeze_norm=True, clip=1.0),
        schedule=Schedule(steps=4, drops=(), save_every=2, log_every=1),
    )
    loop.train(run, tmp_path / "one")
    two = start_two(tmp_path, replace(run, optim=replace(run.optim, micro_batch=3)))
    records, expected = metrics(two), metrics(tmp_path / "one")
    assert [record["step"] for record in records] == [1, 2, 3, 4], "one of the two writes"
    for record, wanted in zip(records, expected, strict=True):
        assert record == pytest.approx(wanted, rel=1e-5)
    tensors, wanted_tensors = load_file(two / "tiny.safetensors"), load_file(tmp_path / "one" / "tiny.safetensors")
    for name, tensor in wanted_tensors.items():
        torch.testing.assert_close(tensors[name], tensor, atol=1e-3, rtol=1e-2, msg=lambda text, name=name: name + text)
