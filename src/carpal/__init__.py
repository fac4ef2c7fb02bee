"""Bone age and 17 named regions from a radiograph of the hand, after ALA-Net.

    import carpal

    engine = carpal.load()
    assessment = carpal.read("hand.png", sex="female", weights=engine)
    print(assessment.months, [region.name for region in assessment.regions])

Not a medical device. Importing this is light: each name below arrives with its module on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from carpal.errors import CarpalError
    from carpal.inference.assess import read
    from carpal.inference.engine import open_engine as load
    from carpal.types import Assessment

__version__ = "0.6.0"
__all__ = ["Assessment", "CarpalError", "__version__", "load", "read"]

_HOMES = {
    "Assessment": ("carpal.types", "Assessment"),
    "CarpalError": ("carpal.errors", "CarpalError"),
    "load": ("carpal.inference.engine", "open_engine"),
    "read": ("carpal.inference.assess", "read"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'carpal' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
