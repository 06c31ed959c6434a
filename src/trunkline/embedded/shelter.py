"""A folder of root's that every account can enter, for what the server's account cannot reach where it lies.

Always true: it is used only when we are root and drop to another account; it belongs to root and only root writes in
it, so nobody can put anything there for us; nothing in it is ever deleted except by `erase`.
"""

from __future__ import annotations

import contextlib
import stat
from pathlib import Path

from trunkline.embedded.account import Account
from trunkline.errors import EmbeddedFailed

# Both survive a reboot; the first may be missing or read-only in a small container.
SHELTERS = (Path("/var/lib/trunkline"), Path("/var/tmp/trunkline"))  # noqa: S108  checked in `_is_roots`


def find_shelter(account: Account) -> Path:
    """The first shelter that can be made and that `account` can enter."""
    for folder in SHELTERS:
        with contextlib.suppress(OSError):
            folder.mkdir(exist_ok=True)
            if _is_roots(folder):
                folder.chmod(0o755)
                if account.can_enter(folder):
                    return folder
    raise EmbeddedFailed(
        f"The account {account.name}, which PostgreSQL has to run as, cannot reach the files where they are, and "
        f"neither {' nor '.join(map(str, SHELTERS))} can be used in their place. "
        f"Put the data folder and PostgreSQL where {account.name} can enter, or start as an ordinary user."
    )


def _is_roots(folder: Path) -> bool:
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == 0 and not status.st_mode & 0o022
