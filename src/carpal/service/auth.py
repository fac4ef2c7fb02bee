"""Who may ask: tokens with a role, kept as hashes; sessions and form tokens as signatures, so that nothing is stored.

Tokens are 256 random bits, so one SHA-256 is as good as a slow password hash: there is nothing to guess from. A
session cookie states a token's name, an expiry and an HMAC over both and over the token's hash: removing the token
ends its sessions.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from carpal.errors import ConfigError

SESSION_SECONDS = 12 * 3600
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Role(StrEnum):
    """`reader` reads and signs; `admin` also exports, deletes and sees the metrics."""

    READER = "reader"
    ADMIN = "admin"


@dataclass(frozen=True)
class User:
    """Who asks."""

    name: str
    role: Role


LOCAL = User("local", Role.ADMIN)
"""Everyone on a service that is bound to loopback and has no token."""


@dataclass(frozen=True)
class Entry:
    """A token as it is kept."""

    name: str
    role: str
    sha256: str


class Tokens:
    """The tokens of a data folder (`tokens.json`, mode 0600), and the secret that signs sessions (`secret`)."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "tokens.json"
        self._lock = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._entries: dict[str, Entry] = {}
        self._secret = _secret(folder / "secret")

    def add(self, name: str, role: Role) -> str:
        """Makes a token and returns it: this is the only time that it can be seen. Raises ConfigError."""
        if not NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no name for a token - letters, digits, dot, dash and underscore, up to 64")
        entries = self.entries()
        if name in entries:
            raise ConfigError(f"there is a token named {name} already - remove it first, or choose another name")
        token = secrets.token_urlsafe(32)
        self._write([*entries.values(), Entry(name, str(role), _hash(token))])
        return token

    def remove(self, name: str) -> None:
        """Takes a token and its sessions away. Raises ConfigError where there is none of that name."""
        entries = self.entries()
        if name not in entries:
            raise ConfigError(f"there is no token named {name} - known are: {', '.join(entries) or 'none'}")
        self._write([entry for entry in entries.values() if entry.name != name])

    def entries(self) -> Mapping[str, Entry]:
        """The tokens by name, read anew when the file has changed."""
        with self._lock:
            try:
                stat = self._path.stat()
            except FileNotFoundError:
                self._entries, self._seen = {}, None
                return self._entries
            if (stat.st_mtime_ns, stat.st_ino) != self._seen:
                try:
                    rows = json.loads(self._path.read_text(encoding="utf-8"))
                    self._entries = {row["name"]: Entry(**row) for row in rows}
                except (ValueError, TypeError, KeyError) as error:
                    raise ConfigError(f"{self._path} is not readable - {error} - restore it or delete it") from error
                self._seen = (stat.st_mtime_ns, stat.st_ino)
            return self._entries

    def user_of(self, token: str) -> User | None:
        """Whose token this is."""
        found = _hash(token)
        matching = [entry for entry in self.entries().values() if hmac.compare_digest(entry.sha256, found)]
        return User(matching[0].name, Role(matching[0].role)) if matching else None

    def session(self, user: User, now: float | None = None) -> str:
        """The cookie's value for a user who showed a token."""
        expiry = int((time.time() if now is None else now) + SESSION_SECONDS)
        return f"{user.name}:{expiry}:{self._sign(user.name, expiry)}"

    def user_of_session(self, cookie: str, now: float | None = None) -> User | None:
        """Whose session this is; None where it is forged, over, or its token was removed."""
        name, _, rest = cookie.partition(":")
        expiry, _, signature = rest.partition(":")
        entry = self.entries().get(name)
        if entry is None or not expiry.isascii() or not expiry.isdigit() or len(expiry) > 12:
            return None
        fresh = int(expiry) > (time.time() if now is None else now)
        right = hmac.compare_digest(signature.encode(), self._sign(name, int(expiry)).encode())
        return User(name, Role(entry.role)) if fresh and right else None

    def form_token(self, cookie: str) -> str:
        """What a form must send back beside this cookie: nobody else's page can know it."""
        return hmac.new(self._secret, b"form:" + cookie.encode(), "sha256").hexdigest()

    def form_token_is(self, sent: str, cookie: str) -> bool:
        """Whether a form's token belongs to the cookie."""
        return bool(cookie) and hmac.compare_digest(sent.encode(), self.form_token(cookie).encode())

    def _sign(self, name: str, expiry: int) -> str:
        entry = self.entries().get(name)
        message = f"session:{name}:{expiry}:{entry.sha256 if entry else ''}"
        return hmac.new(self._secret, message.encode(), "sha256").hexdigest()

    def _write(self, entries: list[Entry]) -> None:
        text = json.dumps([asdict(entry) for entry in entries], indent=2) + "\n"
        partial = self._path.with_suffix(".partial")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(partial, self._path)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _secret(path: Path) -> bytes:
    """The signing secret of the data folder, made at first use and readable by the owner only."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
    except FileExistsError:
        pass
    return path.read_bytes()
