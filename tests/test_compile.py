"""`optim.compile`: the trunk goes through torch.compile; names, values and losses stay what they are.

The compiler itself, which takes minutes, is replaced by one that runs what it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from carpal.errors import ConfigError
from carpal.lab.baselines.protocol import SystemConfig
from carpal.lab.baselines.registry import build
from carpal.lab.model.alanet import ALANet, ModelConfig
from carpal.lab.training.config import Optim, Run, override
from carpal.lab.training.systems import compile_trunk

TINY = ModelConfig(width=8, long_side=96, box_size=16, roi_features=16)


def noise() -> tuple[torch.Tensor, torch.Tensor]:
    return 255 * torch.rand(2, 1, 96, 96, generator=torch.Generator().manual_seed(0)), torch.tensor([0.0, 1.0])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Mode and number of calls of what was compiled."""
    found: list[tuple[str, int]] = []

    def compiler(call: Callable[..., Any], mode: str) -> Callable[..., Any]:
        found.append((mode, 0))

        def run(*inputs: Any) -> Any:
            found[-1] = (mode, found[-1][1] + 1)
            return call(*inputs)

        return run

    monkeypatch.setattr(torch, "compile", compiler)
    return found


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_the_trunk_alone_is_compiled_and_answers_as_before(mode: str, asked: list[tuple[str, int]]) -> None:
    model = ALANet(TINY).eval()
    names, expected = list(model.state_dict()), model(*noise())
    compile_trunk(override(Run(model=TINY), [f"optim.compile={mode}"]), model)
    assert torch.equal(model(*noise()).logits_BK, expected.logits_BK)
    assert asked == [(mode, 1)]
    assert list(model.state_dict()) == names, "a checkpoint, compiled or not, fits the other"


def test_without_the_setting_nothing_is_compiled(asked: list[tuple[str, int]]) -> None:
    model = ALANet(TINY).eval()
    compile_trunk(Run(model=TINY), model)
    model(*noise())
    assert not asked


def test_a_system_without_a_resnet_is_refused() -> None:
    config = SystemConfig(system="convnext", long_side=96)
    run = Run(name="convnext", model=config, optim=Optim(compile="default"))
    with pytest.raises(ConfigError, match=r"optim.compile is default; convnext has no ResNet-50"):
        compile_trunk(run, build(config))


def test_another_word_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"optim.compile is fast; it must be one of \('', 'default', 'reduce-over"):
        Run(optim=Optim(compile="fast"))
