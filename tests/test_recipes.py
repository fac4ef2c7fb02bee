"""The recipes against the paper (section 4.1 for the numbers, Tables 1 and 2 for the switches)."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from carpal.errors import ConfigError
from carpal.lab.model.alanet import ALANet, ModelConfig
from carpal.lab.training import recipes
from carpal.lab.training.config import Data, Run

PAPER = {
    "resnet50": ("none", False, False),
    "local": ("named", True, False),
    "patch": ("none", False, True),
    "alanet": ("named", True, True),
    "anonymous": ("anonymous", True, True),
    "vanilla_rpn": ("anonymous", False, False),
}
"""(regions, local extraction, patch training) of each row; ours names the regions where the paper picks the top 17."""


def test_the_numbers_are_the_papers() -> None:
    run = recipes.alanet()
    assert (run.model.long_side, run.model.box_size, run.model.width) == (512, 64, 64)
    assert (run.optim.lr, run.optim.trunk_lr, run.optim.batch, run.optim.weight_decay) == (0.001, 1.0, 32, 0.0)
    assert (run.schedule.steps, run.schedule.drops, run.schedule.cosine) == (50_000, (30_000, 40_000), False)
    assert run.schedule.warmup == run.optim.freeze_stages == run.optim.clip == 0
    assert run.augment.flip == 0.5
    assert run.augment.scale > 0
    assert (run.augment.rotate, run.augment.shift, run.augment.intensity) == (0, 0, 0), "flip and scale, no more"
    assert run.data.holdout == ()


@pytest.mark.parametrize("name", PAPER)
def test_an_ablation_differs_from_alanet_in_its_switches_only(name: str) -> None:
    run = recipes.get(name)
    assert (run.model.regions, run.model.local, run.model.patch) == PAPER[name]
    assert run.name == name
    same = replace(run, name="alanet", model=ModelConfig(), data=Data())
    assert same == recipes.alanet()
    alone = name == "vanilla_rpn"
    assert run.data == Data(regions_only=alone, ages=not alone)


@pytest.mark.parametrize("name", PAPER)
def test_the_switches_build_the_parts_of_their_row(name: str) -> None:
    config = replace(recipes.get(name).model, width=8, long_side=96, box_size=16, roi_features=16)
    model = ALANet(config).eval()
    regions, local, patch = PAPER[name]
    parts = {part for part, _ in model.named_children()}
    assert ("rpn" in parts) == (regions != "none")
    assert ("roi_head" in parts) == (local or patch)
    assert ("patch_mlp" in parts) == patch
    with torch.no_grad():
        output = model(torch.rand(1, 1, 96, 96) * 255, torch.ones(1))
    assert output.logits_BK.shape == (1, 228)
    assert (output.boxes_BR4 is not None) == (regions != "none")
    assert (output.patch_logits_BRK is not None) == (patch and regions != "none")


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_docstring_says_the_command_or_the_row(name: str) -> None:
    text = " ".join((recipes.RECIPES[name].__doc__ or "").split())
    row = re.search(r"Table \d, row \d|to the letter|Not a result", text)
    assert row or f"carpal train {name} " in text, text


@pytest.mark.parametrize(("name", "number"), [("resnet50", 4.92), ("local", 4.53), ("patch", 4.49), ("alanet", 3.91)])
def test_the_docstring_quotes_table_1(name: str, number: float) -> None:
    assert str(number) in (recipes.RECIPES[name].__doc__ or "")


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_recipe_is_a_whole_run_under_its_own_name(name: str) -> None:
    run = recipes.get(name)
    assert isinstance(run, Run)
    assert run.name == name
    assert run == recipes.get(name), "the same every time"
    assert run.data.stores == (), "the data are the user's to name"


def test_smoke_is_small() -> None:
    run = recipes.smoke()
    assert run.model.width == 8
    assert run.schedule.steps * run.optim.batch <= 1000


def test_an_unknown_recipe_lists_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"no recipe 'alexnet'. Recipes: alanet, .*smoke"):
        recipes.get("alexnet")
