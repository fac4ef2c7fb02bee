"""Who may ask: tokens with a role, kept as hashes; sessions and form tokens as signatures, so that nothing is stored.

Tokens are 256 random bits, so one SHA-256 is as good as a slow password hash: there is nothing to guess from.
itsdangerous signs what a browser keeps, by HMAC-SHA-256 and with the time: a session by a key derived from its token's
hash, so that removing the token ends it; a form by one derived from the session that its page was made for.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from itsdangerous import BadSignature, TimestampSigner

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

    def session(self, user: User) -> str:
        """The cookie's value for a user who showed a token. Two sessions of one user differ."""
        return (
            self._signer("session", self.entries()[user.name].sha256)
            .sign(f"{user.name}:{secrets.token_urlsafe(16)}")
            .decode()
        )

    def user_of_session(self, cookie: str) -> User | None:
        """Whose session this is; None where it is forged, older than SESSION_SECONDS, or its token was removed."""
        entry = self.entries().get(cookie.partition(":")[0])
        if entry is None or not _signed(self._signer("session", entry.sha256), cookie):
            return None
        return User(entry.name, Role(entry.role))

    def form_token(self, cookie: str, session: str) -> str:
        """What a form must send back: of this browser (`cookie`, random) and of this `session`, "" where there is none.

        Nobody else's page can know it, and it is worth nothing after signing in or out.
        """
        return self._signer("form", cookie, session).sign("form").decode()

    def form_token_is(self, sent: str, cookie: str, session: str) -> bool:
        """Whether a form's token belongs to the cookie and the session, and is not older than SESSION_SECONDS."""
        return bool(cookie) and _signed(self._signer("form", cookie, session), sent)

    def _signer(self, *purpose: str) -> TimestampSigner:
        """Signs for one purpose: a signature is worth nothing for another. JSON, so that no two purposes read alike."""
        return TimestampSigner(
            self._secret, salt=json.dumps(purpose), key_derivation="hmac", digest_method=hashlib.sha256
        )

    def _write(self, entries: list[Entry]) -> None:
        text = json.dumps([asdict(entry) for entry in entries], indent=2) + "\n"
        partial = self._path.with_suffix(".partial")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(partial, self._path)


def _signed(signer: TimestampSigner, value: str) -> bool:
    try:
        signer.unsign(value, max_age=SESSION_SECONDS)
    except BadSignature:  # SignatureExpired is one
        return False
    return True


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
