"""Which account the server runs as. PostgreSQL refuses to run as root, so root runs it as somebody else.

Always true: an ordinary user's server runs as that user. For root it runs as whoever owns the cluster or the data
folder, else as the account `trunkline` if the system has one, else as `nobody`; no account is ever made.
An account needs a name in the system's list: initdb refuses a bare number.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from trunkline.errors import EmbeddedFailed

CANDIDATES = ("trunkline", "nobody")


@dataclass(frozen=True)
class Account:
    """Who the server's processes are."""

    uid: int
    gid: int
    is_other: bool
    """Whether that is not us: we are root and drop to it."""

    @property
    def name(self) -> str:
        """The account's name, or its number when it has none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return f"uid {self.uid}"

    def run(
        self,
        command: Sequence[str | Path],
        *,
        timeout_s: float,
        output: IO[bytes] | int | None = None,
        keep: Sequence[int] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this account: from `/`, in its own session, without the caller's PG* variables.

        Args:
            output: Where both output streams go; None collects them in `stdout`.
            keep: Descriptors the program inherits.
        """
        return subprocess.run(
            command,
            timeout=timeout_s,
            cwd="/",
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if output is None else output,
            stderr=subprocess.STDOUT,
            pass_fds=keep,
            start_new_session=True,  # Ctrl-C in our terminal is not for it
            umask=0o077,
            encoding="utf-8",
            errors="replace",
            user=self.uid if self.is_other else None,
            group=self.gid if self.is_other else None,
            extra_groups=[] if self.is_other else None,
        )

    def can_enter(self, folder: Path) -> bool:
        """Whether this account gets into `folder`, asked of the kernel as that account."""
        if not self.is_other:
            return True
        try:
            return self.run(["/bin/sh", "-c", 'cd -- "$1"', "sh", folder], timeout_s=10).returncode == 0
        except PermissionError:
            raise EmbeddedFailed(
                f"This process is root but may not become {self.name}, and PostgreSQL does not run as root. "
                "Start it as an ordinary user, or allow it to change its uid (CAP_SETUID, CAP_SETGID)."
            ) from None

    def own(self, path: Path) -> None:
        """Make `path` and everything in it this account's."""
        if self.is_other:
            for entry in (path, *path.rglob("*")):  # rglob does not enter symlinks
                os.chown(entry, self.uid, self.gid, follow_symlinks=False)


def choose(home: Path, cluster: Path) -> Account:
    """The account for a data folder; `cluster` may not exist yet."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), is_other=False)
    for folder in (cluster, home):
        if folder.exists() and (owner := folder.stat()).st_uid != 0:
            return Account(owner.st_uid, owner.st_gid, is_other=True)
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, is_other=True)
    raise EmbeddedFailed(
        f"This process is root, PostgreSQL does not run as root, and there is no account named "
        f"{' or '.join(CANDIDATES)}. Make one (`useradd --system trunkline`), or start as an ordinary user."
    )


def _environment() -> dict[str, str]:
    """PG* would change what the programs do, the systemd ones would report them as our service; messages in English."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PG") and k not in ("NOTIFY_SOCKET", "LISTEN_FDS")}
    return {**kept, "LC_ALL": "C"}
