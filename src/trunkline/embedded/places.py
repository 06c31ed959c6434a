"""Where everything of one data folder lies.

    HOME/id           what makes the token; a copied or re-made folder gets another token
    HOME/*.lock       gate (state changes), server (held by every server process), watchdog (held by the one on duty)
    HOME/owners/      one locked file for each owner
    HOME/server.log   what PostgreSQL prints
    HOME/version      version of the server that was started last
    BASE/pg/          the cluster: PostgreSQL's own data folder
    BASE/socket/      its Unix socket; in the temporary folder instead when this path would be too long for a socket

Always true: BASE is HOME, except for root when the server's account cannot enter HOME (it lies under /root, say). Then
BASE is a folder of the shelter, HOME/relocated is a symlink to it, and a warning says so; deleting HOME then leaves the
data behind (`erase` deletes both), but never brings it back into a folder made anew.
`prepare` is called with the gate held.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from trunkline.embedded import shelter
from trunkline.embedded.account import Account, choose
from trunkline.embedded.locks import belongs_to_folder
from trunkline.errors import EmbeddedFailed

PORT = 5432  # only the name of the socket file: nothing listens on the network
MAX_SOCKET_BYTES = 100  # the kernel takes 107 on Linux and 103 on macOS

_log = logging.getLogger("trunkline.embedded")


@dataclass(frozen=True)
class Places:
    """The paths of one data folder, its token and the account its server runs as."""

    home: Path
    base: Path
    token: str
    """16 hex digits: in the command line of each of the server's processes, and of no other server's."""
    account: Account
    socket_dir: Path

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own data folder."""
        return self.base / "pg"

    @property
    def making(self) -> Path:
        """Where initdb works until it is done."""
        return self.base / f"making-{self.token}"

    @property
    def server_lock(self) -> Path:
        """Held while any process of the server runs."""
        return self.home / "server.lock"

    @property
    def watchdog_lock(self) -> Path:
        """Held by the watchdog on duty."""
        return self.home / "watchdog.lock"

    @property
    def owners(self) -> Path:
        """The folder of owner files."""
        return self.home / "owners"

    @property
    def log(self) -> Path:
        """What PostgreSQL prints."""
        return self.home / "server.log"

    @property
    def version(self) -> Path:
        """Version of the server that was started last."""
        return self.home / "version"


def gate_of(home: Path) -> Path:
    """The lock that whoever changes the server's state holds."""
    return home / "gate.lock"


def make_home(data_dir: str | Path) -> Path:
    """The data folder, made if needed, as an absolute path."""
    home = Path(data_dir).expanduser().resolve()
    if (home / "PG_VERSION").exists():
        raise EmbeddedFailed(f"{home} is a PostgreSQL data folder of its own. Name another folder: Trunkline makes one inside it.")
    home.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        home.mkdir()
        home.chmod(0o711 if os.geteuid() == 0 else 0o700)  # as root: the server's account must get through
    return home


def prepare(home: Path) -> Places:
    """Decide where things lie, and make the folders. The caller holds the gate."""
    is_ours = (home / "id").exists() or {path.name for path in home.iterdir()} <= {"gate.lock"}
    token = _token(home)
    _make_owners(home)
    link = home / "relocated"
    base = _followed(link) if link.is_symlink() else home
    account = choose(home, base / "pg")
    if base == home and account.is_other:
        if is_ours and home.stat().st_uid == 0:
            home.chmod(home.stat().st_mode | 0o011)
        if not account.can_enter(home):
            base = _relocate(home, link, token, account)
    base.mkdir(exist_ok=True)
    return Places(home, base, token, account, _socket_dir(base, token, account))


def open_own(path: Path, flags: int) -> int:
    """Open a file of the data folder for its owner's eyes only, following no symlink an owner could have planted."""
    return belongs_to_folder(os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), path)


def _token(home: Path) -> str:
    fd = open_own(home / "id", os.O_RDWR)
    with os.fdopen(fd, "r+") as file:
        if not (identity := file.read()):
            identity = secrets.token_hex(16)
            file.write(identity)
    return hashlib.sha256(f"{home}\0{identity}".encode()).hexdigest()[:16]


def _make_owners(home: Path) -> None:
    folder = home / "owners"
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        owner = home.stat()
        os.chown(folder, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _followed(link: Path) -> Path:
    target = link.readlink()
    if target.parent not in shelter.SHELTERS:
        raise EmbeddedFailed(f"{link} points to {target}, which is not in {' or '.join(map(str, shelter.SHELTERS))}. Remove the link.")
    return target


def _relocate(home: Path, link: Path, token: str, account: Account) -> Path:
    if (home / "pg").exists():
        raise EmbeddedFailed(
            f"{account.name}, the account that the server of {home} runs as, can no longer enter that folder. "
            "Move it back where it was, or let every account pass its parents (chmod o+x)."
        )
    base = shelter.find_shelter(account) / f"{home.name.lstrip('.') or 'data'}-{token}"
    base.mkdir(exist_ok=True)
    base.chmod(0o711)
    (base / "belongs-to").write_text(f"{home}\n")
    link.symlink_to(base)
    _log.warning("%s cannot be entered by %s, so the database is kept in %s", home, account.name, base)
    return base


def _socket_dir(base: Path, token: str, account: Account) -> Path:
    """A folder of the server's account alone, short enough for a socket path, with nothing URLs and lists split at."""
    short = [Path(folder) / f"trunkline-{token}" for folder in dict.fromkeys((tempfile.gettempdir(), "/tmp"))]  # noqa: S108
    for folder in (base / "socket", *short):
        is_plain = "," not in str(folder) and str(folder).isprintable()
        fits = len(os.fsencode(folder / f".s.PGSQL.{PORT}")) <= MAX_SOCKET_BYTES
        if is_plain and fits and folder.parent.is_dir() and account.can_enter(folder.parent):
            return folder
    raise EmbeddedFailed(
        f"No folder is short enough for a Unix socket: tried {base / 'socket'} and {short[0]}. Set TMPDIR to a short path."
    )


def make_socket_dir(places: Places) -> None:
    """Make the socket folder for this start, without a dead server's socket. The caller holds the server lock."""
    folder, account = places.socket_dir, places.account
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (account.uid, os.geteuid()):
        raise EmbeddedFailed(f"{folder} belongs to somebody else, and the server's socket has to be there. Remove it, or set TMPDIR.")
    folder.chmod(0o700)
    account.own(folder)
    for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
        (folder / name).unlink(missing_ok=True)
