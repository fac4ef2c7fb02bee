"""What `carpal serve` can be told: one frozen record, checked where it is built."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from carpal.errors import ConfigError
from carpal.growth.reference import DEFAULT

MIB = 2**20
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]", "::1")


@dataclass(frozen=True)
class Settings:
    """Every setting of the service; `data` is the folder that holds uploads, readings, tokens and the queue."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 8000
    names: tuple[str, ...] = ()
    """Further names in the Host header that are answered, such as that of a reverse proxy."""
    language: str | None = None
    """The page's language; None takes the browser's."""
    blind: bool = False
    """Whether new studies start blind-first where the form does not say."""
    https: bool = False
    """Whether a proxy in front speaks HTTPS: cookies are then marked Secure."""
    max_upload: int = 64 * MIB
    """Bytes of one request's body."""
    max_files: int = 100
    """Radiographs in one request."""
    rate: int = 600
    """Requests a minute and client, static files left out."""
    body_timeout: float = 30.0
    """Seconds within which the next part of a request's body must come."""
    body_deadline: float = 300.0
    """Seconds within which a request's whole body must come: 64 MiB at 2 Mbit/s."""
    assess_timeout: float = 60.0
    """Seconds within which POST /api/v1/assess answers."""
    reference: str = DEFAULT
    """The children to compare with: the name of a reference, or a table FILE.csv."""
    quiet: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        for name, low, high in (("port", 0, 65535), ("max_files", 1, 1000), ("rate", 1, 10**6)):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name} is {getattr(self, name)} - it lies in {low} to {high} - choose another")
        for name in ("max_upload", "body_timeout", "body_deadline", "assess_timeout"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)} - it must be larger than 0 - choose another")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.host)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Host names that are answered; others are refused, which stops DNS rebinding. Empty: every name."""
        if self.loopback:
            return (*LOOPBACK_NAMES, *self.names)
        return self.names


def is_loopback(host: str) -> bool:
    """Whether an address or name means this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
