"""A run's configuration: refused where it is wrong, changed by text, written and read without loss."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from carpal.errors import ConfigError
from carpal.lab.model.alanet import ModelConfig
from carpal.lab.training.config import Augment, Data, Optim, Run, Schedule, as_dict, from_dict, override, resolve
from carpal.lab.training.recipes import RECIPES

WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"optim": Optim(batch=0)}, "optim.batch is 0", "at least 1"),
    ({"optim": Optim(lr=0.0)}, "optim.lr is 0.0", "above 0"),
    ({"optim": Optim(lr=float("nan"))}, "optim.lr is nan", "above 0"),
    ({"optim": Optim(micro_batch=-1)}, "optim.micro_batch is -1", "0 or more"),
    ({"optim": Optim(trunk_lr=-0.1)}, "optim.trunk_lr is -0.1", "0 or more"),
    ({"optim": Optim(weight_decay=-1.0)}, "optim.weight_decay is -1.0", "0 or more"),
    ({"optim": Optim(clip=-1.0)}, "optim.clip is -1.0", "0 or more"),
    ({"optim": Optim(freeze_stages=5)}, "optim.freeze_stages is 5", "from 0 to 4"),
    ({"schedule": Schedule(steps=0)}, "schedule.steps is 0", "at least 1"),
    ({"schedule": Schedule(warmup=-1)}, "schedule.warmup is -1", "0 or more"),
    ({"schedule": Schedule(save_every=0)}, "schedule.save_every is 0", "at least 1"),
    ({"schedule": Schedule(log_every=0)}, "schedule.log_every is 0", "at least 1"),
    ({"augment": Augment(scale=1.0)}, "augment.scale is 1.0", "from 0 to below 1"),
    ({"augment": Augment(zoom=0.0)}, "augment.zoom is 0.0", "above 0 and at most 2"),
    ({"augment": Augment(flip=1.5)}, "augment.flip is 1.5", "from 0 to 1"),
    ({"model": ModelConfig(long_side=500)}, "model.long_side is 500", "a multiple of 32"),
    ({"data": Data(holdout=(5,))}, r"data.holdout is \(5,\)", "some folds from 0 to 4"),
    ({"data": Data(("a",), (-1.0,))}, r"data.repeats is \(-1.0,\)", "0 or more"),
]


@pytest.mark.parametrize(("parts", "what", "allowed"), WRONG)
def test_a_wrong_value_is_refused_with_its_name_and_its_range(parts: dict[str, Any], what: str, allowed: str) -> None:
    with pytest.raises(ConfigError, match=f"{what}; it must be {allowed}"):
        Run(**parts)


@pytest.mark.parametrize(
    ("setting", "section", "field", "value"),
    [
        ("optim.lr=3e-4", "optim", "lr", 3e-4),
        ("optim.batch=8", "optim", "batch", 8),
        ("optim.freeze_norm=true", "optim", "freeze_norm", True),
        ("optim.freeze_norm=1", "optim", "freeze_norm", True),
        ("data.regions_only=False", "data", "regions_only", False),
        ("data.holdout=3", "data", "holdout", (3,)),
        ("data.holdout=0,1", "data", "holdout", (0, 1)),
        ("data.stores=a,b/c", "data", "stores", ("a", "b/c")),
        ("data.stores=", "data", "stores", ()),
        ("schedule.drops=10,20,30", "schedule", "drops", (10, 20, 30)),
        ("model.regions=anonymous", "model", "regions", "anonymous"),
    ],
)
def test_override_reads_each_type(setting: str, section: str, field: str, value: object) -> None:
    run = replace(Run(), data=Data(holdout=(1,), regions_only=True))
    changed = override(run, [setting])
    got = getattr(getattr(changed, section), field)
    assert got == value
    assert type(got) is type(value)
    assert replace(changed, **{section: getattr(run, section)}) == run, "nothing else moved"


def test_override_reaches_the_top_and_applies_in_order() -> None:
    run = override(Run(), ["name=mine", "seed=7", "start=w=1.safetensors", "seed=8"])
    assert (run.name, run.seed, run.start) == ("mine", 8, "w=1.safetensors")
    run = override(Run(), ["data.stores=a,b", "data.repeats=1,0.25"])
    assert run.data.repeats == (1.0, 0.25)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("optim.speed=3", "no such setting. Write section.field=value; here: .*optim.batch.*optim.lr"),
        ("optim.lr", "no such setting"),
        ("speed=3", "no such setting.*here: name, seed, start"),
        ("nowhere.lr=1", "no such setting.*model, data, optim"),
        ("name.upper=1", "no such setting"),
        ("optim=5", "no such setting"),
        ("optim.lr=fast", "'fast' is not a number"),
        ("optim.batch=8.5", "'8.5' is not a whole number"),
        ("optim.freeze_norm=maybe", "'maybe' is not true or false"),
        ("data.holdout=first", "'first' is not a list of numbers"),
        ("schedule.drops=1,two", "'1,two' is not a list of numbers"),
        ("optim.batch=0", "optim.batch is 0; it must be at least 1"),
        ("model.regions=some", '"named", "anonymous" or "none", got \'some\''),
        ("model.regions=none", "local extraction needs proposals"),
    ],
)
def test_a_wrong_override_teaches(setting: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        override(Run(), [setting])


OFF: dict[str, dict[str, Any]] = {
    "model": {"trunk": "resnet50"},
    "data": {"pairs": False, "even": 0.0},
    "augment": {"marks": 0.0, "invert": 0.0},
    "optim": {"ema": 0.0},
    "loss": {"spread": 0.0, "consistency": 0.0, "taught": 0.0},
}
"""What 0.5.1 wrote of the settings that are gone, in a run that used none of them."""


def test_a_run_that_had_removed_settings_off_is_still_read() -> None:
    values = as_dict(RECIPES["aligned"]()) | {"teachers": []}
    for section, off in OFF.items():
        values[section] = values.get(section, {}) | off
    stored = json.loads(json.dumps(values))
    assert from_dict(stored) == RECIPES["aligned"]()
    assert stored == json.loads(json.dumps(values)), "the caller's values are not changed"


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("model", "trunk", "densenet169"),
        ("data", "pairs", True),
        ("data", "even", 0.5),
        ("augment", "marks", 0.3),
        ("augment", "invert", 0.1),
        ("optim", "ema", 0.99),
        ("loss", "spread", 6.0),
        ("loss", "consistency", 1.0),
        ("loss", "taught", 0.5),
        ("", "teachers", ["a.safetensors"]),
    ],
)
def test_a_removed_setting_that_was_on_is_refused_with_the_last_version(section: str, name: str, value: object) -> None:
    setting = f"{section}.{name}" if section else name
    values = as_dict(Run())
    (values.setdefault(section, {}) if section else values)[name] = value
    says = rf"{setting} is {re.escape(repr(value))} - that setting was removed, carpal 0\.5\.1 \(commit c1dd475\)"
    with pytest.raises(ConfigError, match=says):
        from_dict(values)
    with pytest.raises(ConfigError, match=rf"--set {setting}=.*: {setting} was removed after carpal 0\.5\.1"):
        override(Run(), [f"{setting}={value}"])


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_its_json(name: str) -> None:
    run = override(RECIPES[name](), ["data.stores=a,b", "data.repeats=1,0.5"])
    assert from_dict(json.loads(json.dumps(as_dict(run)))) == run
    assert from_dict(as_dict(run)) == run


@pytest.mark.parametrize(
    "values",
    [{"speed": 1}, {"optim": {"speed": 1}}, {"optim": 3}, {"model": {"regions": "some"}}, {"schedule": ["steps"]}],
)
def test_what_is_no_configuration_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="not the configuration of a run"):
        from_dict(values)


def test_the_values_of_a_stored_configuration_are_checked_too() -> None:
    values = as_dict(Run())
    values["optim"]["batch"] = 0
    with pytest.raises(ConfigError, match=r"optim\.batch is 0"):
        from_dict(values)


def test_a_run_cannot_be_changed_after_it_was_checked() -> None:
    with pytest.raises(AttributeError, match="cannot assign"):
        Run().optim.batch = 0  # type: ignore[misc]


def test_resolve_knows_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert resolve("~/store") == Path("/somewhere/store")
    assert resolve("a/b") == Path("a/b")
