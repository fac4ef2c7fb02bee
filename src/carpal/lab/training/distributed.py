"""torchrun's environment: which process this is, and sums over all of them. Works the same with one process."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """Where this process stands among its peers."""

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, on all of them."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def barrier(self) -> None:
        """Waits for the others."""
        if self.size > 1:
            dist.barrier()


def join() -> World:
    """Joins the process group that torchrun announces (NCCL on GPUs, gloo without), or stands alone."""
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    torch.backends.cudnn.benchmark = True  # a run's pictures are all of one size
    if size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return World(rank, size, device)


def leave(world: World) -> None:
    """Ends the process group."""
    if world.size > 1:
        dist.destroy_process_group()


def sum_gradients(model: torch.nn.Module, world: World) -> None:
    """Sums the gradients of all processes: the loss is already divided by the whole step's counts.

    One flat buffer, one call: on gloo that is as fast as DistributedDataParallel's buckets, and it keeps gradient
    accumulation and unused parts of the network trivial.
    """
    if world.size == 1:
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    world.sum(flat)
    parts = torch.split(flat, [g.numel() for g in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def autocast(world: World) -> contextlib.AbstractContextManager[None]:
    """bf16 where the machine computes in it: GPUs, and CPUs with AVX-512 or AMX bf16 instructions."""
    if world.device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16)
    if torch.cpu._is_avx512_bf16_supported():
        return torch.autocast("cpu", torch.bfloat16)
    return contextlib.nullcontext()
