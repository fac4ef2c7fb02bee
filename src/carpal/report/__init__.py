"""Assessment to something that a person or a machine reads: a line, JSON, a picture. No torch."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from carpal.errors import ConfigError


def write_atomically(path: Path, content: bytes, durable: bool = False) -> None:
    """Writes a file beside its place and renames it: nobody ever reads half of it. Raises ConfigError.

    `durable` waits until the bytes are on the disk: not even a power cut leaves half of it.
    """
    partial = ""
    try:
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(partial, 0o666 & ~umask)  # mkstemp's own 0600 would hide the file from colleagues
        os.replace(partial, path)
    except OSError as error:
        if partial:
            Path(partial).unlink(missing_ok=True)
        raise ConfigError(f"{path} cannot be written - {error.strerror} - choose another place") from error
