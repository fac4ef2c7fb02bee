"""Packages that only some of us need: `need` imports one, or says which extra of `carpal` brings it."""

from __future__ import annotations

import importlib
from types import ModuleType

from carpal.errors import BackendError


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
