"""The cluster: made once, checked at each start.

Always true: `pg` appears by one rename of a finished folder, so an initdb killed at any moment leaves only a
`making-…` folder, which the next start removes; a cluster is never started with another major version than made it.
The caller holds the gate and the server lock, which initdb inherits: while an orphaned one runs, nobody gets here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from trunkline.embedded.binaries import Binaries
from trunkline.embedded.places import Places
from trunkline.embedded.processes import serves
from trunkline.errors import EmbeddedFailed

USER = "trunkline"
_BUILTIN_LOCALE_MAJOR = 17  # from here on C.UTF-8 needs nothing from the operating system


def major_of(cluster: Path) -> int | None:
    """The major version that made the cluster; None when there is none yet.

    Raises:
        EmbeddedFailed: The folder exists and is no cluster.
    """
    try:
        return int((cluster / "PG_VERSION").read_text())
    except FileNotFoundError:
        if not cluster.exists() or not any(cluster.iterdir()):
            return None
    except ValueError:
        pass
    raise EmbeddedFailed(f"{cluster} is not a PostgreSQL data folder, or is damaged: no valid PG_VERSION in it. Restore it, or move it.")


def make(places: Places, binaries: Binaries, lock_fd: int, *, durable: bool, within_s: float) -> None:
    """Run initdb: UTF-8, sorted by code point, superuser `trunkline`, trusted on the Unix socket, refused elsewhere."""
    for locale in _locales(binaries.major):
        _clear(places)
        places.making.mkdir(mode=0o700)
        places.account.own(places.making)
        command = [
            *(binaries.bin_dir / "initdb", "-D", places.making, "-U", USER, "--encoding=UTF8", *locale),
            *("--auth-local=trust", "--auth-host=reject", "--no-instructions", *(() if durable else ("--no-sync",))),
        ]
        try:
            done = places.account.run(command, timeout_s=within_s, keep=(lock_fd,))
        except subprocess.TimeoutExpired:
            raise EmbeddedFailed(f"initdb was not done with {places.making} in {within_s:g} s. Pass a longer start_timeout_s.") from None
        if done.returncode == 0:
            if places.cluster.exists():
                places.cluster.rmdir()  # `major_of` said that it is empty
            places.making.rename(places.cluster)
            return
        if "locale" not in done.stdout:
            break
    raise EmbeddedFailed(f"initdb could not make {places.cluster} as {places.account.name}. It said:\n{done.stdout.strip()}")


def check(places: Places, made_by: int, binaries: Binaries) -> None:
    """Refuse a cluster of another version or account, and a postmaster that somebody started by hand.

    Raises:
        EmbeddedFailed: Says which, and how to go on.
    """
    if made_by != binaries.major:
        raise EmbeddedFailed(
            f"{places.cluster} was made by PostgreSQL {made_by}, and {binaries.bin_dir} is {binaries.version}. "
            f"To keep the data, set TRUNKLINE_PG_BIN_DIR to the bin folder of a PostgreSQL {made_by} "
            f"(its pg_dumpall carries the data on); to begin empty, move {places.home} away."
        )
    owner, account = places.cluster.stat().st_uid, places.account
    if owner != account.uid:
        if not account.is_other:
            raise EmbeddedFailed(
                f"{places.cluster} belongs to uid {owner}, and this is uid {account.uid}. Run as its owner, or choose another folder."
            )
        account.own(places.cluster)  # root's own copy of it: `choose` follows any other owner
    _forget_recycled_pid(places)


def _forget_recycled_pid(places: Places) -> None:
    """PostgreSQL refuses to start when the pid in a dead server's file now is any live process of the same account."""
    pid_file = places.cluster / "postmaster.pid"
    pid = pid_in(pid_file)
    if pid is None or not _is_alive(pid):
        return
    if serves(pid, places.cluster):
        raise EmbeddedFailed(
            f"{places.cluster} is served by pid {pid}, which somebody started by hand. Stop it: pg_ctl -D {places.cluster} stop."
        )
    pid_file.unlink(missing_ok=True)


def pid_in(pid_file: Path) -> int | None:
    """The postmaster's pid as its file says; it may be long dead."""
    lines = pid_lines(pid_file)
    return int(lines[0]) if lines and lines[0].isdigit() else None


def pid_lines(pid_file: Path) -> list[str]:
    """The lines of postmaster.pid: 0 pid, 3 port, 4 socket folder, 7 status. Empty without a file."""
    try:
        fd = os.open(pid_file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return []
    with os.fdopen(fd, encoding="utf-8", errors="replace") as file:
        return file.read(4096).splitlines()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _clear(places: Places) -> None:
    """Remove what an interrupted initdb left, under this token or an earlier one."""
    for leftover in places.base.glob("making-*"):
        shutil.rmtree(leftover)


def _locales(major: int) -> list[tuple[str, ...]]:
    builtin = [("--locale-provider=builtin", "--locale=C.UTF-8")] if major >= _BUILTIN_LOCALE_MAJOR else []
    return [*builtin, ("--locale=C.UTF-8",), ("--locale=C",)]
