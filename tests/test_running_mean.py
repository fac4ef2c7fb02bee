"""`optim.ema`: a run writes the running mean of its weights, also after a kill. `data.pairs` needs even batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from carpal.data.prepare import prepare
from carpal.errors import ConfigError
from carpal.training import checkpoint, log, loop
from loop_kit import ALONE, SIDE, killed_at, sample, tiny_run


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(log, "_tensorboard", lambda folder, resume_step: None)
    prepare([sample(number, True, True) for number in range(1, 5)], tmp_path / "store", SIDE)
    return str(tmp_path / "store")


def test_the_mean_is_that_of_the_definition(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """m_1 = w_1, m_n = 0.75 m_(n-1) + 0.25 w_n, of the weights and of the norms' statistics."""
    run = tiny_run(store, steps=4, batch=4, ema=0.75)
    seen: list[dict[str, torch.Tensor]] = []
    true_step = loop.train_step

    def note(run: Any, step: int, model: torch.nn.Module, *rest: Any) -> dict[str, float]:
        terms = true_step(run, step, model, *rest)  # type: ignore[arg-type]
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return terms

    monkeypatch.setattr(loop, "train_step", note)
    written = load_file(loop.train(run, tmp_path / "out"))
    for name in ("mlp.2.weight", "trunk.layer3.0.bn1.running_var", "rpn.objectness.weight"):
        mean = seen[0][name]
        for state in seen[1:]:
            mean = 0.75 * mean + 0.25 * state[name]
        torch.testing.assert_close(written[name], mean)
        assert not torch.equal(written[name], seen[-1][name]), "the last weights are not the mean"
    assert torch.equal(checkpoint.read(tmp_path / "out")["model"]["mlp.2.weight"], seen[-1]["mlp.2.weight"])


def test_a_killed_run_comes_to_the_same_mean(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny_run(store, steps=6, batch=4, ema=0.5)
    whole = load_file(loop.train(run, tmp_path / "whole"))
    with killed_at(5, monkeypatch):
        loop.train(run, tmp_path / "killed")
    resumed = load_file(loop.train(run, tmp_path / "killed"))
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=1e-3, atol=1e-4)


def test_pairs_are_not_torn_apart(store: str) -> None:
    run = tiny_run(store, batch=6, micro_batch=3)
    run = replace(run, data=replace(run.data, pairs=True))
    with pytest.raises(ConfigError, match=r"data\.pairs needs even batches; a process has 6, in pieces of 3"):
        loop.micro_batches(run, loop.open_mixture(run), ALONE, 0)
