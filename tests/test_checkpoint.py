"""Checkpoints: whole or not there, for the same run or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from carpal.errors import ConfigError, WeightsError
from carpal.lab.training import checkpoint
from carpal.lab.training.config import Data, Run, Schedule, override

RUN = Run(data=Data(stores=("a", "b"), repeats=(1.0, 0.5)), schedule=Schedule(steps=10, drops=(3, 4)))


def pair(seed: int = 0) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    return model, torch.optim.AdamW([{"params": model.parameters(), "factor": 0.3}], lr=0.1)


def walk(model: torch.nn.Module, optimiser: torch.optim.Optimizer, steps: int) -> torch.Tensor:
    for step in range(steps):
        optimiser.zero_grad()
        model(torch.randn(4, 3, generator=torch.Generator().manual_seed(step))).square().sum().backward()
        optimiser.step()
    return torch.cat([tensor.flatten().float() for tensor in model.state_dict().values()])


def test_a_checkpoint_brings_back_weights_statistics_moments_and_step(tmp_path: Path) -> None:
    model, optimiser = pair()
    walk(model, optimiser, 3)
    checkpoint.save(tmp_path, 3, model, optimiser, RUN)
    other, other_optimiser = pair(seed=1)
    assert checkpoint.resume(tmp_path, other, other_optimiser, RUN) == 3
    assert other_optimiser.param_groups[0]["factor"] == 0.3
    assert torch.equal(walk(other, other_optimiser, 2), walk(model, optimiser, 2))


def test_an_empty_folder_starts_at_zero(tmp_path: Path) -> None:
    model, optimiser = pair()
    before = walk(model, optimiser, 0)
    assert checkpoint.resume(tmp_path, model, optimiser, RUN) == 0
    assert torch.equal(walk(model, optimiser, 0), before)


def test_other_settings_are_named_and_refused(tmp_path: Path) -> None:
    model, optimiser = pair()
    checkpoint.save(tmp_path, 3, model, optimiser, RUN)
    before = walk(model, optimiser, 0)
    changed = override(RUN, ["optim.lr=0.5", "data.stores=a,c", "seed=4"])
    with pytest.raises(ConfigError) as caught:
        checkpoint.resume(tmp_path, model, optimiser, changed)
    text = str(caught.value)
    assert "optim.lr was 0.001, now 0.5" in text
    assert "data.stores was ['a', 'b'], now ['a', 'c']" in text
    assert "seed was 0, now 4" in text
    assert "batch" not in text, "what did not change is not mentioned"
    assert torch.equal(walk(model, optimiser, 0), before), "and nothing was loaded"


def test_a_setting_that_an_older_version_lacked_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimiser = pair()
    older = checkpoint.as_dict(RUN)
    del older["optim"]["clip"]
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "as_dict", lambda run: older)
        checkpoint.save(tmp_path, 3, model, optimiser, RUN)
    with pytest.raises(ConfigError, match=r"optim\.clip was None, now 0\.0"):
        checkpoint.resume(tmp_path, model, optimiser, RUN)


def test_removed_settings_of_an_older_run_are_read_where_they_were_off_and_refused_where_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, optimiser = pair()
    older = checkpoint.as_dict(RUN) | {"loss": {"spread": 0.0, "consistency": 0.0, "taught": 0.0}, "teachers": ()}
    older["optim"]["ema"] = 0.0
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "as_dict", lambda run: older)
        checkpoint.save(tmp_path, 3, model, optimiser, RUN)
    assert checkpoint.resume(tmp_path, model, optimiser, RUN) == 3
    older["optim"]["ema"] = 0.99
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "as_dict", lambda run: older)
        checkpoint.save(tmp_path, 3, model, optimiser, RUN)
    says = r"checkpoint\.pt cannot be resumed: optim\.ema is 0\.99 - that setting was removed, carpal 0\.5\.1"
    with pytest.raises(ConfigError, match=says):
        checkpoint.resume(tmp_path, model, optimiser, RUN)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", ["save", "fsync"])
def test_a_kill_while_saving_leaves_the_last_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    model, optimiser = pair()
    checkpoint.save(tmp_path, 3, model, optimiser, RUN)
    whole = (tmp_path / checkpoint.NAME).read_bytes()

    def die(*arguments: Any) -> None:
        if moment == "save":
            arguments[1].write(b"half a check")
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint.torch if moment == "save" else checkpoint.os, moment, die)
        with pytest.raises(Killed):
            checkpoint.save(tmp_path, 4, model, optimiser, RUN)
    assert (tmp_path / checkpoint.NAME).read_bytes() == whole
    assert checkpoint.resume(tmp_path, model, optimiser, RUN) == 3
    checkpoint.save(tmp_path, 4, model, optimiser, RUN)
    assert checkpoint.resume(tmp_path, model, optimiser, RUN) == 4
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.NAME], "no rest of the half one"


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    model, optimiser = pair()
    checkpoint.save(tmp_path, 3, model, optimiser, RUN)
    whole = (tmp_path / checkpoint.NAME).read_bytes()
    for damaged in (b"", whole[:100], whole[: len(whole) // 2], whole[:-30], b"not a checkpoint at all", b"\x80\x02}."):
        (tmp_path / checkpoint.NAME).write_bytes(damaged)
        with pytest.raises(WeightsError, match="cannot be read"):
            checkpoint.resume(tmp_path, model, optimiser, RUN)


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("/tmp/carpal-was-here"),)


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    torch.save({"step": 1, "run": Harmful()}, tmp_path / checkpoint.NAME)
    with pytest.raises(WeightsError, match="cannot be read"):
        checkpoint.read(tmp_path)
    assert not Path("/tmp/carpal-was-here").exists()


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    model, optimiser = pair()
    checkpoint.save(tmp_path, 3, model, optimiser, RUN)
    other = torch.nn.Linear(5, 5)
    with pytest.raises(WeightsError, match="another network"):
        checkpoint.resume(tmp_path, other, torch.optim.AdamW(other.parameters()), RUN)


def test_read_gives_lists_for_tuples_and_the_step(tmp_path: Path) -> None:
    model, optimiser = pair()
    checkpoint.save(tmp_path, 7, model, optimiser, replace(RUN, name="mine"))
    state = checkpoint.read(tmp_path)
    assert state["step"] == 7
    assert state["run"]["name"] == "mine"
    assert state["run"]["schedule"]["drops"] == [3, 4]
