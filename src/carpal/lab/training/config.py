"""What a training run is: frozen dataclasses, checked where they are built, written beside every checkpoint."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from carpal.errors import ConfigError
from carpal.lab.baselines.protocol import SystemConfig
from carpal.lab.model import weights
from carpal.lab.model.alanet import ModelConfig


@dataclass(frozen=True)
class Data:
    """Which prepared stores a run reads, and how often each."""

    stores: tuple[str, ...] = ()
    """Folders that `carpal prepare` wrote."""
    repeats: tuple[float, ...] = ()
    """Passes over each store an epoch, fractions allowed; empty means once each."""
    holdout: tuple[int, ...] = ()
    """The folds (0-4) whose hands, radiographs and thumbnails alike, are never trained on."""
    regions_only: bool = False
    """Keep only hands with annotated regions (for the detector's own ablation)."""
    ages: bool = True
    """Whether ages are trained; without them the region proposal network learns alone (Table 2, row 1)."""


@dataclass(frozen=True)
class Augment:
    """Random changes of each training example. The paper's are the flip and the scale."""

    flip: float = 0.5
    """Chance of a horizontal mirror."""
    scale: float = 0.2
    """The picture is scaled by a factor between 1 - scale and 1 + scale."""
    zoom: float = 1.0
    """The picture is scaled by this factor besides, about its middle: what leaves the canvas is lost."""
    rotate: float = 0.0
    """Largest in-plane rotation in degrees, either way."""
    shift: float = 0.0
    """Largest shift as a share of the canvas, either way, in x and in y."""
    intensity: float = 0.0
    """Largest change of gamma (as log2), of contrast and of brightness, as shares."""
    coarse: float = 0.0
    """Chance that a picture is sampled down, to no less than a third, and up again: as coarse as a thumbnail."""
    blur: float = 0.0
    """Largest standard deviation of a Gaussian blur, in pixels."""
    jpeg: float = 0.0
    """Chance that a picture is compressed as JPEG does, at a quality between 15 and 95."""
    noise: float = 0.0
    """Largest standard deviation of Gaussian noise, in grey levels."""


COMPILE: Final = ("", "default", "reduce-overhead")
"""What `optim.compile` may be."""


@dataclass(frozen=True)
class Optim:
    """The optimiser: Adam, as in the paper; `weight_decay` above 0 makes it AdamW."""

    lr: float = 1e-3
    trunk_lr: float = 1.0
    """Factor on `lr` for the ResNet trunk."""
    weight_decay: float = 0.0
    batch: int = 32
    """Examples a step, over all processes and micro-batches."""
    micro_batch: int = 0
    """Examples that pass at once; 0 means all of a process's share."""
    clip: float = 0.0
    """Largest norm of the gradient; 0 means no clipping."""
    freeze_norm: bool = False
    """Use the batch norms' running statistics in training, too."""
    freeze_stages: int = 0
    """Leave the first stages of the trunk as they started: 1 is conv1 and layer1, 2 also layer2, … 4 all of it."""
    compile: str = ""
    """torch.compile for the trunk: "default", or "reduce-overhead", which replays it as CUDA graphs; "" is eager."""


@dataclass(frozen=True)
class Schedule:
    """How long, and how the learning rate moves."""

    steps: int = 50_000
    warmup: int = 0
    """Steps over which the rate rises from zero."""
    drops: tuple[int, ...] = (30_000, 40_000)
    """Steps at which the rate is divided by ten (the paper); ignored with `cosine`."""
    cosine: bool = False
    """Let the rate fall to zero along half a cosine instead."""
    save_every: int = 500
    log_every: int = 20


@dataclass(frozen=True)
class Run:
    """Everything that a training run depends on, besides the data itself."""

    name: str = "alanet"
    seed: int = 0
    model: ModelConfig | SystemConfig = field(default_factory=ModelConfig)
    data: Data = field(default_factory=Data)
    augment: Augment = field(default_factory=Augment)
    optim: Optim = field(default_factory=Optim)
    schedule: Schedule = field(default_factory=Schedule)
    start: str = ""
    """Weights to start from: ImageNet's trunk, or a network of ours, whose matching parts are taken.

    A network of ours is a run's .safetensors or an exported .onnx, such as the released weights (`carpal info alanet`).

    Systems that need key points take their region detector from here, and need it.
    """

    def __post_init__(self) -> None:
        for name, (fine, allowed) in _checks(self).items():
            if not fine:
                raise ConfigError(f"{name} is {_value(self, name)}; it must be {allowed}.")


AT_LEAST_1: Final = ("optim.batch", "schedule.steps", "schedule.save_every", "schedule.log_every")
NOT_NEGATIVE: Final = (
    *("optim.micro_batch", "optim.trunk_lr", "optim.weight_decay", "optim.clip", "schedule.warmup"),
    *("augment.noise", "augment.blur"),
)
SHARES: Final = ("augment.flip", "augment.coarse", "augment.jpeg")


def _checks(run: Run) -> dict[str, tuple[bool, str]]:
    """By a setting's name: whether it is fine, and what it must be."""
    plain = (
        {name: (_value(run, name) >= 1, "at least 1") for name in AT_LEAST_1}
        | {name: (_value(run, name) >= 0, "0 or more") for name in NOT_NEGATIVE}
        | {name: (0 <= _value(run, name) <= 1, "from 0 to 1") for name in SHARES}
    )
    return plain | {
        "optim.lr": (run.optim.lr > 0, "above 0"),
        "optim.freeze_stages": (0 <= run.optim.freeze_stages <= 4, "from 0 to 4"),
        "optim.compile": (run.optim.compile in COMPILE, f"one of {COMPILE}"),
        "data.holdout": (set(run.data.holdout) < set(range(5)), "some folds from 0 to 4"),
        "data.repeats": (all(r >= 0 for r in run.data.repeats), "0 or more each"),
        "augment.scale": (0 <= run.augment.scale < 1, "from 0 to below 1"),
        "augment.zoom": (0 < run.augment.zoom <= 2, "above 0 and at most 2"),
        "model.long_side": (run.model.long_side % 32 == 0, "a multiple of 32"),
    }


def _value(run: Run, name: str) -> Any:
    """A setting by its name, as "optim.lr" or "seed"."""
    section, _, last = name.rpartition(".")
    return getattr(getattr(run, section) if section else run, last)


def as_dict(run: Run) -> dict[str, Any]:
    """The run as plain values, for JSON."""
    return dataclasses.asdict(run)


def from_dict(values: dict[str, Any]) -> Run:
    """The inverse of `as_dict` (lists become tuples). Raises ConfigError, also for a setting that was removed."""
    try:
        values = weights.without_removed(values)
        model = SystemConfig if "system" in values.get("model", {}) else ModelConfig
        parts: dict[str, Any] = {"model": model, "data": Data, "augment": Augment, "optim": Optim, "schedule": Schedule}
        built: dict[str, Any] = {
            name: parts[name](**{k: tuple(v) if isinstance(v, list) else v for k, v in value.items()})
            if name in parts
            else (tuple(value) if isinstance(value, list) else value)
            for name, value in values.items()
        }
        return Run(**built)
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"this is not the configuration of a run: {error}.") from error


def override(run: Run, settings: list[str]) -> Run:
    """Applies "section.field=value" texts, as `carpal train --set` takes them, in any order. Raises ConfigError."""
    parts: dict[str, Any] = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        section, _, name = path.rpartition(".")
        target = parts.get(section, getattr(run, section, None)) if section else run
        known = _settings(target)
        if path in weights.REMOVED:
            raise ConfigError(f"--set {setting}: {path} was removed after {weights.REMOVED_AFTER}. Leave it out.")
        if not equals or name not in known:
            options = ", ".join(sorted(f"{section}.{n}" if section else n for n in known)) or "model, data, optim, …"
            raise ConfigError(f"--set {setting}: no such setting. Write section.field=value; here: {options}.")
        value = _parse(text, typing.get_type_hints(type(target))[name], setting)
        try:
            parts |= {section: dataclasses.replace(target, **{name: value})} if section else {name: value}  # type: ignore[type-var]
        except ValueError as error:
            raise ConfigError(f"--set {setting}: {error}.") from error
    return dataclasses.replace(run, **parts)  # once: some settings need each other


def _settings(target: Any) -> set[str]:
    """The names that can be set in a part of a run; a whole section is not a setting."""
    if not dataclasses.is_dataclass(target):
        return set()
    return {f.name for f in dataclasses.fields(target) if not dataclasses.is_dataclass(getattr(target, f.name))}


def _parse(text: str, kind: Any, setting: str) -> Any:
    """A setting's text as the type of its field."""
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if typing.get_origin(kind) is tuple:
            item = typing.get_args(kind)[0]
            return tuple(item(part) for part in text.split(",") if part)
        return kind(text)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"--set {setting}: {text!r} is not {_described(kind)}.") from error


def _described(kind: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number"}
    return names.get(kind, "a list of numbers, separated by commas")


def resolve(path: str) -> Path:
    """A path of a configuration, with ~ expanded."""
    return Path(path).expanduser()
