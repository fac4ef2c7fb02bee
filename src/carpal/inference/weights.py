"""Weights files: which one a name means, and what its sidecar says. Needs no runtime, so `carpal info` always works.

Next to every weights file lies a sidecar of the same stem (`alanet.onnx`, `alanet.json`) with its name, version,
SHA-256, architecture and history. A file whose hash differs from its sidecar's is refused: nobody knows what it is.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from carpal.checkout import held_out
from carpal.errors import ConfigError, WeightsError
from carpal.quality.intervals import Calibration
from carpal.types import ModelId

RELEASED: Final = Path(__file__).parent.parent / "released"
"""The weights that come with the package, each as `<name>.onnx` and `<name>.json`."""
SUFFIXES: Final = {".onnx": "onnx", ".safetensors": "torch"}
"""Which backend reads which file, if none is named."""
BACKENDS: Final = ("onnx", "openvino", "torch")
PRECISIONS: Final = ("fp32", "int8")
LARGEST_VIEW_SCALE: Final = 1.5
"""The middle two thirds of an aligned image; less of it is no longer a hand."""
INT8: Final = ".int8"
"""Released int8 weights are `<name>.int8.onnx`, beside the `<name>.onnx` that they were quantised from."""


@dataclass(frozen=True)
class WeightsInfo:
    """A weights file whose hash was checked, and its sidecar."""

    path: Path
    name: str
    version: str
    sha256: str
    bytes: int
    long_side: int
    """Long side of the prepared image in pixels."""
    regions: bool
    """Whether the 17 named regions come with the age."""
    architecture: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    parity: Mapping[str, Any] = field(default_factory=dict)
    """How far the exported file is from PyTorch, as measured at export."""
    cost: Mapping[str, Any] = field(default_factory=dict)
    """Parameters, and FLOPs of one image of `flops_at` (height, width), counted at export."""
    licence: str = ""
    view_scale: float = 1.0
    """The view that is read is the middle of the aligned image, so many times as large (`align.warp_to_pose`).

    As these weights were trained; intervals and limits belong to it. Sidecars before 0.6 call it `closer`.
    """
    flip: bool = True
    """Whether the reading is the mean of the view and its mirror image (test-time augmentation)."""
    calibration: Calibration | None = None
    """What gives each age its interval; None where nobody fitted it."""
    refusal: Mapping[str, Any] = field(default_factory=dict)
    """The limits beyond which an image gets no age (`quality/thresholds.py`), and how they were fitted."""
    precision: str = "fp32"
    """The arithmetic of this file: "fp32" or "int8"."""
    default_precision: str = "fp32"
    """The arithmetic to use where nobody asks for another."""
    int8: str = ""
    """The file beside this one that holds the same network in int8, where there is one."""
    quantised: Mapping[str, Any] = field(default_factory=dict)
    """How an int8 file was made, from which file, and what its gate measured (`lab/export/quantize.py`)."""

    @property
    def model(self) -> ModelId:
        """What every assessment states about its weights."""
        return ModelId(self.name, self.version, self.sha256, self.backend, self.precision)

    @cached_property
    def held_out(self) -> tuple[int, ...]:
        """`held_out` of its training."""
        return held_out(self.training)

    @property
    def backend(self) -> str:
        """The backend that reads this file."""
        return SUFFIXES[self.path.suffix]

    def as_dict(self) -> dict[str, Any]:
        """The sidecar's content, with the file's path, its size in bytes and the backend that reads it by itself."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        calibration = {} if self.calibration is None else self.calibration.as_dict()
        return values | {"path": str(self.path), "calibration": calibration, "backend": self.backend}


def released_names() -> list[str]:
    """The names that `open_engine` knows without a path."""
    return sorted(path.stem for path in RELEASED.glob("*.onnx") if not path.stem.endswith(INT8))


def resolve(weights: str | Path) -> Path:
    """The file that a released name or a path means. Raises WeightsError where there is none."""
    named = RELEASED / f"{weights}.onnx"
    if Path(weights).name == str(weights) and named.is_file():
        return named
    path = Path(weights)
    if path.is_file() and path.suffix in SUFFIXES:
        return path
    known = ", ".join(released_names()) or "none in this installation"
    if path.is_file():
        raise WeightsError(
            f"{path} is no weights file - give a .onnx or .safetensors file, or a released name: {known}"
        )
    what = "is a folder" if path.is_dir() else "does not exist and is no released name"
    raise WeightsError(f"{path} {what} - give a .onnx or .safetensors file, or a released name: {known}")


def sidecar_of(path: Path) -> Path:
    """`alanet.onnx` -> `alanet.json`."""
    return path.with_suffix(".json")


def sha256_of(path: Path) -> str:
    """The hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_info(weights: str | Path, precision: str | None = "fp32") -> WeightsInfo:
    """Finds a weights file, reads its sidecar, checks its hash. Raises WeightsError.

    `precision` "int8" leads to the int8 file that the sidecar names, None to what the sidecar prefers. Intervals and
    limits are always those of the file that was named.
    """
    path = resolve(weights)
    values = _read_sidecar(path)
    own = values.get("precision", "fp32")
    wanted = precision or (own if own == "int8" else values.get("default_precision", "fp32"))
    if wanted == own or own == "int8":
        return _read_file(path, values)
    if not values.get("int8"):
        raise WeightsError(f"{path.name} has no int8 form - its sidecar names none - make it with `carpal quantize`")
    other = path.with_name(str(values["int8"]))
    if not other.is_file():
        raise WeightsError(f"{other} is missing - {sidecar_of(path).name} names it - copy it, or use --precision fp32")
    integers = _read_file(other, _read_sidecar(other))
    if integers.quantised.get("source") != values["sha256"]:
        raise WeightsError(f"{other} was made from another {path.name} - run `carpal quantize` again")
    own_calibration = Calibration.from_dict(values["calibration"]) if values.get("calibration") else None
    own_view: dict[str, Any] = {"view_scale": _view_scale(path, values), "flip": _flip(path, values)}
    return replace(integers, **own_view, calibration=own_calibration, refusal=values.get("refusal", {}))


def _view_scale(path: Path, values: Mapping[str, Any]) -> float:
    key = "view_scale" if "view_scale" in values else "closer"
    scale = values.get(key, 1.0)
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 1 <= scale <= LARGEST_VIEW_SCALE:
        raise WeightsError(
            f'{sidecar_of(path)} has "{key}": {scale!r} - it must be a number from 1 to {LARGEST_VIEW_SCALE:g} - '
            "correct it"
        )
    return float(scale)


def _flip(path: Path, values: Mapping[str, Any]) -> bool:
    flip = values.get("flip", True)
    if not isinstance(flip, bool):
        raise WeightsError(f'{sidecar_of(path)} has "flip": {flip!r} - it must be true or false - correct it')
    return flip


def _read_file(path: Path, values: Mapping[str, Any]) -> WeightsInfo:
    """What a sidecar with these values says of its file, after the hash was checked."""
    found = sha256_of(path)
    if found != values["sha256"]:
        raise WeightsError(
            f"{path} is not the file that {sidecar_of(path).name} describes - its SHA-256 is {found[:12]}…, the "
            f"sidecar says {str(values['sha256'])[:12]}… - copy both files again, or export"
            " them again"
        )
    architecture = values.get("architecture", {})
    try:
        return WeightsInfo(
            path=path,
            name=str(values["name"]),
            version=str(values["version"]),
            sha256=found,
            bytes=path.stat().st_size,
            long_side=int(values.get("long_side", architecture.get("long_side", 512))),
            regions=bool(values.get("regions", has_regions(architecture))),
            architecture=architecture,
            training=values.get("training", {}),
            parity=values.get("parity", {}),
            cost=values.get("cost", {}),
            licence=str(values.get("licence", "")),
            view_scale=_view_scale(path, values),
            flip=_flip(path, values),
            calibration=Calibration.from_dict(values["calibration"]) if values.get("calibration") else None,
            refusal=values.get("refusal", {}),
            precision=str(values.get("precision", "fp32")),
            default_precision=str(values.get("default_precision", "fp32")),
            int8=str(values.get("int8", "")),
            quantised=values.get("quantised", {}),
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{sidecar_of(path)} holds a value of the wrong kind - {error} - export again") from error


def write_calibration(weights: str | Path, calibration: Calibration) -> Path:
    """Writes the field `calibration` into the sidecar of a weights file, whole or not at all; returns its path.

    The weights file itself and every other field stay as they are. Raises WeightsError.
    """
    return update_sidecar(read_info(weights).path, {"calibration": calibration.as_dict()})


def update_sidecar(path: Path, fields: Mapping[str, Any]) -> Path:
    """Writes these fields into a weights file's sidecar and leaves the others; returns its path."""
    sidecar = sidecar_of(path)
    values = json.loads(sidecar.read_text(encoding="utf-8")) | fields
    partial = sidecar.with_name(f".{sidecar.name}.partial")
    try:
        partial.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(partial, sidecar)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise WeightsError(
            f"The sidecar {sidecar} cannot be written - {error.strerror} - copy weights and sidecar elsewhere"
        ) from error
    return sidecar


def put_in_place(out: Path, content: bytes, sidecar: Mapping[str, Any]) -> None:
    """Writes an ONNX file and its sidecar; both are whole before either is in its place. Raises ConfigError."""
    partial, partial_sidecar = out.with_suffix(".onnx.partial"), out.with_suffix(".json.partial")
    try:
        partial.write_bytes(content)
        text = json.dumps({**sidecar, "sha256": sha256_of(partial)}, indent=2, ensure_ascii=False) + "\n"
        partial_sidecar.write_text(text, encoding="utf-8")
        os.replace(partial, out)
        os.replace(partial_sidecar, sidecar_of(out))
    except OSError as error:
        raise ConfigError(f"{out} cannot be written - {error.strerror} - choose another place") from error
    finally:
        partial.unlink(missing_ok=True)
        partial_sidecar.unlink(missing_ok=True)


def has_regions(architecture: Mapping[str, Any]) -> bool:
    """Whether a network of this architecture names its 17 regions and reads an age from each."""
    return architecture.get("regions") == "named" and bool(architecture.get("patch"))


def _read_sidecar(path: Path) -> dict[str, Any]:
    sidecar = sidecar_of(path)
    if not sidecar.is_file():
        raise WeightsError(f"{path} has no sidecar - {sidecar.name} is missing beside it - copy both files")
    try:
        values = json.loads(sidecar.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise WeightsError(f"{sidecar} is not readable JSON - {error} - copy it again") from error
    missing = [key for key in ("name", "version", "sha256") if not (isinstance(values, dict) and key in values)]
    if missing:
        raise WeightsError(f"{sidecar} is no weights sidecar - it lacks {', '.join(missing)} - copy or export it again")
    return dict(values)
