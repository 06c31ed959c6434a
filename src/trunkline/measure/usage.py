"""Memory and CPU time of processes, from /proc where there is one.

Called by: roles, working, sustaining, per_job, command.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")


def rss_mb() -> float:
    """This process's resident memory; elsewhere than on Linux the most it ever was."""
    try:
        pages = int((PROC / "self/statm").read_text("ascii").split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def server_cpu_s(pids: Iterable[int]) -> float | None:
    """CPU seconds these PostgreSQL backends have used; None where they do not run on this host, or there is no /proc."""
    total = 0.0
    for pid in pids:
        try:
            if not _is_postgres(pid):
                return None  # a remote server: its pids are somebody else here
            total += _ran_s(pid)
        except OSError:
            return None
    return total


def postmaster_of(backend_pid: int) -> int | None:
    """The server that a backend belongs to; None where it does not run on this host."""
    try:
        return _stat(backend_pid).parent if _is_postgres(backend_pid) else None
    except OSError:
        return None


class Others:
    """Watches how much of this host's CPU went to anybody but the bench and its server: the reason of most odd figures."""

    def __init__(self, postmaster: int | None) -> None:
        self._postmaster = postmaster
        self._began = time.monotonic()
        self._before = self._foreign_s()

    def share(self) -> float | None:
        """Of all cores since the start, 0..1, what a hypervisor took included; None where it cannot be seen."""
        if (now := self._foreign_s()) is None or self._before is None:
            return None
        return max(now - self._before, 0.0) / ((time.monotonic() - self._began) * (os.cpu_count() or 1))

    def _foreign_s(self) -> float | None:
        if self._postmaster is None:
            return None
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, (PROC / "stat").read_text("ascii").split()[1:9])
        busy_s = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return busy_s - sum(os.times()[:4]) - _family_s(self._postmaster)


class _Stat(NamedTuple):
    """From /proc/PID/stat: the parent, and CPU seconds with those of children that ended."""

    parent: int
    cpu_s: float


def _stat(pid: int) -> _Stat:
    fields = (PROC / str(pid) / "stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()
    return _Stat(int(fields[1]), sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK"))


def _ran_s(pid: int) -> float:
    try:
        return int((PROC / str(pid) / "schedstat").read_text("ascii").split()[0]) / 1e9  # nanoseconds
    except FileNotFoundError:  # a kernel without it: ticks of 10 ms
        return _stat(pid).cpu_s


def _family_s(pid: int) -> float:
    """CPU seconds of a process and its children."""
    total = 0.0
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            try:
                stat = _stat(int(entry.name))
            except OSError:
                continue  # it ended meanwhile
            if int(entry.name) == pid or stat.parent == pid:
                total += stat.cpu_s
    return total


def _is_postgres(pid: int) -> bool:
    return (PROC / str(pid) / "comm").read_text("utf-8").strip() == "postgres"
