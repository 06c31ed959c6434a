"""Brings the server of a data folder from whatever state it is in to "it answers".

Always true: a server is started only while we hold its server lock, which it then inherits; so two servers never run
on one cluster, and a dead one's leftovers are touched only when nothing of it runs. The caller holds the gate.
Settings go on the command line: the cluster's own files stay as initdb made them, ours win over ALTER SYSTEM.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trunkline.embedded import cluster, processes
from trunkline.embedded.binaries import Binaries, find_binaries
from trunkline.embedded.locks import POLL_S, is_held, open_lock, try_exclusive
from trunkline.embedded.places import PORT, Places, make_socket_dir, open_own
from trunkline.embedded.reach import within_reach
from trunkline.errors import EmbeddedFailed, InvalidSetting

SETTINGS: dict[str, str] = {
    "max_connections": "200",
    "shared_buffers": "256MB",
    "wal_level": "minimal",  # nothing reads this WAL but crash recovery
    "max_wal_senders": "0",
    "shared_preload_libraries": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] ",
}
NOT_DURABLE: dict[str, str] = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
RESERVED = frozenset({"listen_addresses", "port", "unix_socket_directories", "cluster_name", "data_directory", "hba_file", "config_file"})
MAX_LOG_BYTES = 16 * 2**20  # then it becomes server.log.1 at the next start
_TAIL_LINES = 20


@dataclass(frozen=True)
class Wish:
    """How the server is to be started, if it has to be."""

    bin_dir: str | Path | None
    extra_settings: Mapping[str, str | int | float | bool]
    durable: bool
    start_timeout_s: float

    def __post_init__(self) -> None:
        for name in self.extra_settings:
            if name in RESERVED or not re.fullmatch(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?", name):
                raise InvalidSetting(f"extra_settings has {name!r}: no PostgreSQL setting, or one the server itself needs. Remove it.")

    def options(self, places: Places) -> list[str]:
        """The settings as arguments of `postgres`."""
        quoted_dir = '"' + str(places.socket_dir).replace('"', '""') + '"'  # the setting is a list
        settings = {
            **SETTINGS,
            **({} if self.durable else NOT_DURABLE),
            **{name: _text(value) for name, value in self.extra_settings.items()},
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": quoted_dir,
            "cluster_name": f"trunkline-{places.token}",  # PostgreSQL puts it into every process title
        }
        return [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]


def ensure_running(places: Places, wish: Wish) -> None:
    """Join the running server, or start it, making its cluster first if there is none.

    Raises:
        EmbeddedFailed: With the last lines of the server's log where it has any to do with it.
    """
    lock_fd = open_lock(places.server_lock)
    try:
        if not _settle(places, wish, lock_fd):
            return
        log_begin = _start(places, wish, lock_fd)
    finally:
        os.close(lock_fd)  # never LOCK_UN here: the server shares this lock
    _wait_until_it_answers(places, wish, log_begin)


def socket_of(places: Places) -> Path | None:
    """The socket folder of a server that answers; None when none does."""
    lines = cluster.pid_lines(places.cluster / "postmaster.pid")
    if len(lines) < 8 or lines[7].strip() != "ready":
        return None
    folder = Path(lines[4])
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5)
        try:
            probe.connect(str(folder / f".s.PGSQL.{lines[3]}"))
        except OSError:
            return None
    return folder


def _settle(places: Places, wish: Wish, lock_fd: int) -> bool:
    """Wait until the server either answers (False) or is certainly gone (True, and we hold the server lock)."""
    deadline = time.monotonic() + wish.start_timeout_s
    leaderless = 0
    while not try_exclusive(lock_fd):
        if socket_of(places) is not None:
            return False
        found = processes.find(places.token, places.account.uid)
        leaderless = 0 if any(found.values()) else leaderless + 1
        if found and leaderless > 5:  # a killed postmaster's children; most end by themselves in no time
            processes.halt(lock_fd, places.token, places.account.uid, fast_s=0, immediate_s=0)
        if time.monotonic() >= deadline:
            seen = f"pid {', '.join(map(str, found))}" if found else "a process that is not visible from here (another container?)"
            raise EmbeddedFailed(
                f"{places.cluster} is in use by {seen}, and no server answered or ended in {wish.start_timeout_s:g} s. "
                f"End it, or pass a longer start_timeout_s.{_tail(places.log, 0)}"
            )
        time.sleep(POLL_S)
    return True


def _start(places: Places, wish: Wish, lock_fd: int) -> int:
    """Make what is missing and launch the server; returns where its own lines begin in the log."""
    made_by = cluster.major_of(places.cluster)
    binaries = within_reach(_binaries_for(places, wish, made_by), places.account)
    if made_by is None:
        cluster.make(places, binaries, lock_fd, durable=wish.durable, within_s=wish.start_timeout_s)
    cluster.check(places, made_by or binaries.major, binaries)
    make_socket_dir(places)
    with os.fdopen(open_own(places.version, os.O_WRONLY | os.O_TRUNC), "w") as file:
        file.write(binaries.version)
    if places.log.exists() and places.log.stat().st_size > MAX_LOG_BYTES:
        places.log.replace(places.log.with_name("server.log.1"))
    log_fd = open_own(places.log, os.O_WRONLY | os.O_APPEND)
    try:
        log_begin = os.fstat(log_fd).st_size
        # The shell ends at once, so the server is nobody's child: no zombie of it stays, whoever dies first.
        places.account.run(
            [
                "/bin/sh",
                "-c",
                '"$@" </dev/null &',
                "sh",
                binaries.bin_dir / "postgres",
                "-D",
                places.cluster,
                *wish.options(places),
            ],
            timeout_s=10,
            output=log_fd,
            keep=(lock_fd,),
        )
    finally:
        os.close(log_fd)
    return log_begin


def _binaries_for(places: Places, wish: Wish, made_by: int | None) -> Binaries:
    """An existing cluster's own major version if it can be found; else any, and `cluster.check` explains."""
    if wish.bin_dir is None and made_by is not None:
        try:
            return find_binaries(major=made_by)
        except EmbeddedFailed:
            pass
    return find_binaries(wish.bin_dir)


def _wait_until_it_answers(places: Places, wish: Wish, log_begin: int) -> None:
    deadline = time.monotonic() + wish.start_timeout_s
    while socket_of(places) is None:
        if (gone := not is_held(places.server_lock)) or time.monotonic() >= deadline:
            late = f"did not answer within {wish.start_timeout_s:g} s; if its log shows a recovery, pass a longer start_timeout_s"
            happened = "ended while starting" if gone else late
            raise EmbeddedFailed(f"PostgreSQL in {places.cluster} {happened}.{_tail(places.log, log_begin)}")
        time.sleep(POLL_S)


def _tail(log: Path, begin: int) -> str:
    try:
        with log.open(encoding="utf-8", errors="replace") as file:
            file.seek(begin)
            lines = file.read()[-64_000:].splitlines()[-_TAIL_LINES:]
    except OSError:
        lines = []
    return f" The last lines of {log}:\n" + "\n".join(lines) if lines else f" {log} says nothing."


def _text(value: str | int | float | bool) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
