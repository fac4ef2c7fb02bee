"""Every error that a user can cause, as one tree; and `need`, which imports what may not be installed.

A message says what was wrong, what we got, and what to do.

    CarpalError
    ├─ InputError              the image, or what came with it
    │   ├─ UnreadableImage     not an image, truncated, no codec
    │   ├─ UnsuitableImage     an image, but not one to read an age from: too small, too large, several frames
    │   ├─ BadIdentity         a UID that no object can carry: a result would lie in another study
    │   └─ MissingSex          neither given nor in the file; it is never guessed
    ├─ ConfigError             a setting outside its range, an unknown recipe
    ├─ WeightsError            wrong hash, another architecture, missing or unexpected names
    ├─ BackendError            a runtime that is not installed or cannot open the file
    ├─ DataError               a data folder that is broken, half copied or mislabelled
    ├─ GrowthError             an age that a growth table does not hold
    ├─ CalibrationRefused      a hospital's readings are too few, or calibrating shows no gain
    ├─ Diverged                training whose loss is no number any more
    └─ NodeError               what runs for days: a port in use, a peer that does not answer, a queue that is locked
        ├─ OutOfResources      disk full, or as many jobs waiting as the queue holds
        └─ ReaderDied          the process that decodes was killed by what it read, or by the clock

`code` is for machines, `exit_code` is what the command returns: 2 usage, 3 input, 4 environment. An optional package
that is missing is such an error, too: `need` names the extra of `carpal` that brings it.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import ClassVar


class CarpalError(Exception):
    """The base of all of ours; catch this to catch every mistake that a user can mend. `str(error)` is the sentence."""

    code: ClassVar[str] = "carpal-error"
    """For machines, as "missing-sex": in JSON, REST and logs."""
    exit_code: ClassVar[int] = 4
    """What the command returns: 2 usage, 3 input, 4 environment."""


class InputError(CarpalError):
    """The image, or what came with it, cannot be used."""

    code = "bad-input"
    exit_code = 3


class UnreadableImage(InputError):
    """The bytes are not an image that we can decode."""

    code = "unreadable-image"


class UnsuitableImage(InputError):
    """The image decodes, but nothing could be read from it."""

    code = "unsuitable-image"


class BadIdentity(InputError):
    """The file names itself or its study in a way that no result can repeat: it would lie in another study."""

    code = "bad-identity"


class MissingSex(InputError):
    """Sex is needed to read a bone age and is never guessed."""

    code = "missing-sex"


class ConfigError(CarpalError):
    """A setting is unknown or outside its range."""

    code = "bad-config"
    exit_code = 2


class WeightsError(CarpalError):
    """A weights file is damaged or belongs to another network."""

    code = "bad-weights"


class BackendError(CarpalError):
    """A runtime is missing or cannot open the file."""

    code = "no-backend"


class DataError(CarpalError):
    """A data folder or table is broken, half copied or mislabelled."""

    code = "bad-data"
    exit_code = 3


class GrowthError(CarpalError):
    """A growth table does not hold this age, or two examinations give no velocity."""

    code = "outside-table"
    exit_code = 3


class CalibrationRefused(CarpalError):
    """Readings are too few for a site calibration, or it shows no gain on those left out."""

    code = "calibration-refused"
    exit_code = 3


class Diverged(CarpalError):
    """The loss or the gradient of a training run is not a number any more."""

    code = "diverged"


class NodeError(CarpalError):
    """The node or the service cannot do its work, or a peer did not do its part."""

    code = "node-error"


class OutOfResources(NodeError):
    """Nothing more is taken now: the disk or the queue is full, or the object is too large. It recovers by itself."""

    code = "out-of-resources"


class ReaderDied(NodeError):
    """The process that decodes was killed by what it read, or took too long; another one takes its place."""

    code = "reader-died"


def need(module: str, feature: str, extra: str) -> ModuleType:
    """Imports `module`; where it is missing or broken, a BackendError names the feature and the extra to install.

    `feature` begins the sentence: need("onnxruntime", feature="The onnx backend", extra="onnx").
    """
    package = module.partition(".")[0]
    mend = f"Run: pip install 'carpal[{extra}]'"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or package).partition(".")[0]
        raise BackendError(f"{feature} needs the package {missing}, which is not installed. {mend}") from error
    except (ImportError, OSError, RuntimeError) as error:  # installed, but its libraries do not load
        message = f"{feature} needs the package {package}, which is installed but does not load ({error}). {mend}"
        raise BackendError(message) from error
