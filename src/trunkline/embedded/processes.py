"""What still runs for a server, and how it is made to end.

Always true: a process is ours only if it runs as the server's account, is a PostgreSQL program, and carries the
folder's token in its command line or title; a pid read from a file is never signalled.
The signals are those of `pg_ctl stop`: SIGINT is its fast mode, SIGQUIT its immediate mode.
Called by: launch, server, watchdog. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from trunkline.embedded.locks import POLL_S, try_exclusive

_LEADERS = frozenset({"postgres", "initdb"})


def find(token: str, uid: int) -> dict[int, bool]:
    """The server's processes: pid -> whether it leads (postmaster or initdb) rather than being a postmaster's child."""
    found: dict[int, bool] = {}
    for pid, owner, program, command in _running():
        if owner == uid and token in command:
            if program in _LEADERS:
                found[pid] = True
            elif command.startswith("postgres: "):
                found[pid] = False
    return found


def serves(pid: int, cluster: Path) -> bool:
    """Whether `pid` is a postmaster of this very cluster folder, whoever started it."""
    commands = (command for number, _, program, command in _running() if number == pid and program in _LEADERS)
    return any(f" {cluster} " in f"{command} " for command in commands)


def halt(lock_fd: int, token: str, uid: int, *, fast_s: float, immediate_s: float, kill_s: float = 5.0) -> bool:
    """End the server: fast, then immediate, then SIGKILL, each with its patience in seconds.

    Returns:
        True: nothing runs any more and `lock_fd` now holds the server lock. False: something unkillable or
        invisible (another container) still holds it.
    """
    return (
        _told(lock_fd, token, uid, signal.SIGINT, fast_s)
        or _told(lock_fd, token, uid, signal.SIGQUIT, immediate_s)
        or _told(lock_fd, token, uid, signal.SIGKILL, kill_s)
    )


def _told(lock_fd: int, token: str, uid: int, number: signal.Signals, patience_s: float) -> bool:
    """Signal each process once, wait for the lock. Children hear only SIGKILL: the postmaster tells them the rest."""
    deadline = time.monotonic() + patience_s
    told: set[int] = set()
    leaderless = 0
    while not try_exclusive(lock_fd):
        if time.monotonic() >= deadline:
            return False
        found = find(token, uid)
        leaderless = 0 if any(found.values()) else leaderless + 1
        if leaderless > 1 and number != signal.SIGKILL:
            return False  # the postmaster was killed and left children: nobody is there to pass a polite signal on
        for pid, leads in found.items():
            if pid not in told and (leads or number == signal.SIGKILL):
                told.add(pid)
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
        time.sleep(POLL_S)
    return True


def _running() -> Iterator[tuple[int, int, str, str]]:
    """Every visible process: pid, uid, program name, command line with single spaces between arguments."""
    return _from_proc() if Path("/proc/self").exists() else _from_ps()


def _from_proc() -> Iterator[tuple[int, int, str, str]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):  # it ended while we looked
                arguments = os.fsdecode((folder / "cmdline").read_bytes()).split("\0")
                yield int(folder.name), folder.stat().st_uid, arguments[0].rpartition("/")[2], " ".join(arguments)


def _from_ps() -> Iterator[tuple[int, int, str, str]]:
    import subprocess  # only where there is no /proc: it would double the watchdog's start

    listing = subprocess.run(["ps", "-axww", "-o", "pid=,uid=,command="], capture_output=True, text=True, check=False)
    for line in listing.stdout.splitlines():
        pid, uid, command = (*line.split(None, 2), "")[:3]
        program = re.match(r"(?:/.*?/)?(postgres|initdb)(?: |$)", command)
        yield int(pid), int(uid), program[1] if program else "", command
