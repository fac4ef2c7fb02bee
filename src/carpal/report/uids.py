"""UIDs that are derived, never drawn: the same radiograph and software give the same object, so a resend is no copy.

The hash covers what the object's content depends on: the radiograph's SOP instance UID, the weights (and the runtime,
where it is not the reference), the sex, the hospital's calibration if there is one, another growth reference than the
default, which hand of two, what a reader put right (`Source.revision`), the version of carpal, and the kind of object.
Without a root of one's own the UID is "2.25." and a UUID (PS3.5 B.2).
"""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import TYPE_CHECKING, Final

import carpal
from carpal.errors import ConfigError

if TYPE_CHECKING:
    from carpal.report.findings import Findings
    from carpal.report.source import Source

UUID_ROOT: Final = "2.25"
LONGEST, LONGEST_ROOT = 64, 40
"""A UID has at most 64 characters (PS3.5 9.1): after the longest root and a dot, 23 digits of the hash are left."""
_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")


def is_uid(text: str) -> bool:
    """True for digits and dots as PS3.5 9.1 wants them: no leading zeros, at most 64 characters."""
    return len(text) <= LONGEST and _UID.fullmatch(text) is not None


def check_uid_root(root: str | None) -> str:
    """The root to use: the one given or 2.25. Raises ConfigError for one that is no UID, or too long."""
    if root is None:
        return UUID_ROOT
    if not is_uid(root) or len(root) > LONGEST_ROOT:
        raise ConfigError(
            f"A UID root is digits and dots, at most {LONGEST_ROOT} characters - got {root!r} - "
            f"give your organisation's, or none for {UUID_ROOT}"
        )
    return root


def derive(kind: str, found: Findings, source: Source, uid_root: str | None = None) -> str:
    """The UID of one kind of thing ("sr", "sr series", "MCP1"...) made of one radiograph. Raises ConfigError."""
    sex = "none" if found.sex is None else str(found.sex)
    several = f"{len(found.readings)} readings" if found.readings else None
    more = [found.site, found.apart, found.part, several, source.revision]
    given = (text for text in more if text is not None)
    return from_parts((source.sop_instance_uid, found.model.identity, sex, *given, carpal.__version__, kind), uid_root)


def from_parts(parts: tuple[str, ...], uid_root: str | None = None) -> str:
    """A UID that depends on these strings only. Raises ConfigError for a wrong root."""
    digest = hashlib.sha256("\n".join(parts).encode()).digest()
    root, number = check_uid_root(uid_root), uuid.UUID(bytes=digest[:16], version=5).int
    return f"{root}.{number % 10 ** (LONGEST - len(root) - 1)}"
