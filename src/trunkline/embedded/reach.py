"""Makes sure that the server's account can run the binaries, with a copy of them where it cannot.

Always true: the original is never changed. A copy is complete before it has its final name, is found again by where
its original lies and what it is, and is kept: one for each PostgreSQL that was ever needed (about 40 MB).
The usual reason is a virtual environment under /root, which only root can enter.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from trunkline.embedded.account import Account
from trunkline.embedded.binaries import Binaries
from trunkline.embedded.locks import held
from trunkline.embedded.shelter import find_shelter
from trunkline.errors import EmbeddedFailed

MAX_COPY_BYTES = 600 * 2**20  # a PostgreSQL is 40..250 MB; more means that `bin` lies in something else, like /usr
_NEVER_NEEDED = shutil.ignore_patterns("include", "doc", "man", "pkgconfig", "pgxs", "*.a", "__pycache__")


def within_reach(binaries: Binaries, account: Account) -> Binaries:
    """`binaries`, or a copy of them, that `account` can run."""
    if not account.is_other or _refusal(binaries.bin_dir, account) is None:
        return binaries
    copied = Binaries(_copy(binaries, find_shelter(account)), binaries.version, f"{binaries.source}, copied")
    if refusal := _refusal(copied.bin_dir, account):
        raise EmbeddedFailed(
            f"{account.name}, the account that PostgreSQL has to run as, cannot run {binaries.bin_dir}/postgres, "
            f"and a copy in {copied.bin_dir} does not run either: {refusal}. "
            "Set TRUNKLINE_PG_BIN_DIR to a PostgreSQL that every account can run, or start as an ordinary user."
        )
    return copied


def _refusal(bin_dir: Path, account: Account) -> str | None:
    """Why `account` cannot run the programs; None when it can."""
    for program in ("postgres", "initdb"):
        try:
            answer = account.run([bin_dir / program, "--version"], timeout_s=10)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        if answer.returncode:
            return answer.stdout.strip() or f"{program} ended with {answer.returncode}"
    return None


def _copy(binaries: Binaries, shelter: Path) -> Path:
    """Copy the installation around `bin_dir`; returns the copy's bin folder."""
    prefix = binaries.bin_dir.parent
    program = (binaries.bin_dir / "postgres").stat()
    key = hashlib.sha256(f"{prefix}\0{program.st_size}\0{program.st_mtime_ns}".encode()).hexdigest()[:12]
    shelf = shelter / "binaries"
    shelf.mkdir(exist_ok=True)
    shelf.chmod(0o755)
    whole = shelf / f"{binaries.version}-{key}"
    bin_dir = whole / prefix.parent.name / prefix.name / binaries.bin_dir.name
    with held(shelf / ".lock", within_s=120):
        if not whole.exists():
            half = shelf / ".half"
            shutil.rmtree(half, ignore_errors=True)  # of one that was killed: the lock was free
            for source in _parts(prefix):
                _refuse_if_huge(source)
                shutil.copytree(source, half / source.relative_to(prefix.parent.parent), symlinks=True, ignore=_NEVER_NEEDED)
            _open_to_all(half)
            half.rename(whole)
    return bin_dir


def _parts(prefix: Path) -> list[Path]:
    """The installation, and beside a wheel's package the libraries that its programs look for at a relative path."""
    package = prefix.parent
    return [prefix, *(path for path in (package.parent / f"{package.name}.libs", package / ".dylibs") if path.is_dir())]


def _refuse_if_huge(source: Path) -> None:
    size = 0
    for folder, _, files in os.walk(source):
        size += sum(Path(folder, name).lstat().st_size for name in files)
        if size > MAX_COPY_BYTES:
            raise EmbeddedFailed(
                f"PostgreSQL in {source} can be read by root only, and the folder is too large to copy (over "
                f"{MAX_COPY_BYTES >> 20} MiB). Set TRUNKLINE_PG_BIN_DIR to a PostgreSQL that every account can read."
            )


def _open_to_all(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
