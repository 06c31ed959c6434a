"""flock, the kernel's own answer to "is it still there?".

Always true: a lock belongs to an open file description, so it ends when the last process that has it ends, however it
ends; a descriptor made here does not survive exec unless it is handed on by name (`pass_fds`).
Locks are taken exclusively and looked at shared, so two lookers never take each other for a holder.
Standard library only: the watchdog loads this.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_S = 0.02


def open_lock(path: Path) -> int:
    """Open a lock file, making it if needed; it belongs to its folder's owner and is never a followed symlink."""
    flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return belongs_to_folder(os.open(path, flags, 0o600), path)


def belongs_to_folder(fd: int, path: Path) -> int:
    """When root made the file in somebody's folder, give it to them: they must be able to open it without root."""
    if os.geteuid() == 0:
        folder = path.parent.stat()
        os.fchown(fd, folder.st_uid, folder.st_gid)
    return fd


def try_exclusive(fd: int) -> bool:
    """Take the lock if nobody has it."""
    return _try(fd, fcntl.LOCK_EX)


def is_held(path: Path) -> bool:
    """Whether somebody has the lock exclusively; no file means nobody."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        return not _try(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def wait_until_free(path: Path) -> None:
    """Block until nobody has the lock exclusively; costs nothing while waiting."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


@contextmanager
def held(path: Path, *, within_s: float) -> Iterator[None]:
    """Hold the lock at `path` for the block.

    Raises:
        TimeoutError: Somebody else had it for all of `within_s` seconds.
        FileNotFoundError: There is no folder for it, or that was deleted while we waited.
    """
    deadline = time.monotonic() + within_s
    is_at_path = False
    while not is_at_path:  # the file we waited for may have been deleted, and made anew, by whoever had it
        fd = open_lock(path)
        try:
            _wait_exclusive(fd, path, deadline, within_s)
            is_at_path = path.exists() and os.path.samestat(os.fstat(fd), path.stat())
            if is_at_path:
                yield
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)  # not only close: a child forked meanwhile has the same description
            os.close(fd)


def _wait_exclusive(fd: int, path: Path, deadline: float, within_s: float) -> None:
    while not try_exclusive(fd):
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{path} was locked by another process for {within_s:g} s")
        time.sleep(POLL_S)


def _try(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
