"""Who still wants the server: one locked file for each owner.

Always true: a file in the owners folder is locked from before it can be seen there until its owner lets go or dies
(kill -9 included). A process forked from an owner counts as the owner until it ends too.
Called by: server (registers), watchdog (waits). Standard library only.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path

from trunkline.embedded.locks import is_held, open_lock, try_exclusive

_SUFFIX = ".owner"


class Owner:
    """One claim on the server, from `register` to `release`."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd
        self._pid = os.getpid()

    @classmethod
    def register(cls, folder: Path) -> Owner:
        """Add this process to the owners; the same process may be in it several times."""
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        hidden, path = folder / f".{name}", folder / f"{name}{_SUFFIX}"
        fd = open_lock(hidden)
        try_exclusive(fd)  # nobody can know the name yet
        hidden.rename(path)
        return cls(path, fd)

    @property
    def is_here(self) -> bool:
        """False in a process forked from the owner, which must not let go for it."""
        return self._pid == os.getpid()

    def release(self) -> None:
        """Let go, for children forked meanwhile too."""
        self._path.unlink(missing_ok=True)
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)


def living(folder: Path) -> Path | None:
    """The path of one owner that is alive, or None."""
    return next((path for path in _paths(folder) if is_held(path)), None)


def sweep(folder: Path) -> None:
    """Remove the files of dead owners. The caller holds the gate."""
    for path in _paths(folder):
        if not is_held(path):
            path.unlink(missing_ok=True)


def _paths(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.name.endswith(_SUFFIX)]
    except FileNotFoundError:  # the whole data folder was deleted: then nobody owns it
        return []
