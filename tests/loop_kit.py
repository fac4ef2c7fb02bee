"""A tiny run on a few drawn hands, and one that is killed, for the tests of the training loop."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from carpal.lab.data.annotations import Annotation
from carpal.lab.data.prepare import Sample
from carpal.lab.data.synthetic import draw_hand
from carpal.lab.model.alanet import ModelConfig
from carpal.lab.training import distributed, log, loop
from carpal.lab.training.config import Augment, Data, Optim, Run, Schedule
from carpal.lab.training.distributed import World
from carpal.types import Sex

ALONE = World(0, 1, torch.device("cpu"))
SIDE = 96
TINY = ModelConfig(width=8, long_side=SIDE, box_size=16, roi_features=16)


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Float32, one thread, no TensorBoard. A test file takes it under a name: `_exact = loop_kit.exact`."""
    monkeypatch.setattr(distributed, "autocast", lambda world: nullcontext())
    monkeypatch.setattr(log, "_tensorboard", lambda folder, resume_step: None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def sample(number: int, aged: bool, annotated: bool) -> Sample:
    hand = draw_hand(30 + 20 * number, Sex.MALE if number % 2 else Sex.FEMALE, seed=number, height=SIDE)
    file = io.BytesIO()
    Image.fromarray(hand.pixels_HW).save(file, "PNG")
    height, width = hand.pixels_HW.shape
    name, points_R3 = f"h{number}", np.column_stack([hand.points_R2, np.ones(17)])
    regions = Annotation(name, "drawn", width, height, points_R3) if annotated else None
    return Sample(name, name, file.getvalue, hand.months if aged else None, bool(number % 2), regions=regions)


def tiny_run(store: str, steps: int = 3, model: ModelConfig = TINY, **optim: Any) -> Run:
    return Run(
        name="tiny",
        model=model,
        data=Data(stores=(store,)),
        augment=Augment(flip=0.5, scale=0.1),
        optim=replace(Optim(lr=3e-3, batch=8), **optim),
        schedule=Schedule(steps=steps, drops=(), save_every=4, log_every=1),
    )


@contextmanager
def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What trains inside is interrupted at the beginning of this step, and must be."""
    true_step = loop.train_step

    def die(run: Run, at: int, *rest: Any) -> dict[str, float]:
        if at == step:
            raise KeyboardInterrupt
        return true_step(run, at, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "train_step", die)
        with pytest.raises(KeyboardInterrupt):
            yield
