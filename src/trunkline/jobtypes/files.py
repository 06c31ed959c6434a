"""Files that jobs read and write: `app.files`, and where they stand.

A tenant has a folder of its own under TRUNKLINE_FILES_DIR, named by the tenant's number: `results` holds what jobs made, `uploads`
what people brought for imports. Workers and whoever serves downloads need the same folder; on several hosts, a shared one.
Always true: no name that a person chose becomes a path; a file is under its final name only when it is whole; whoever asks for a
result must be able to see its job, and "not yours" reads as "not there".
Called by: app, job types.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol
from uuid import UUID

from trunkline.errors import InvalidInput, NotFound, QuotaExceeded
from trunkline.model import Fail, JobView
from trunkline.model.job import new_id
from trunkline.settings import Settings

Which = Literal["file", "rejects", "csv"]
MEDIA = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
    "sql": "application/sql",
    "html": "text/html; charset=utf-8",
    "json": "application/json",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
KEPT = 10  # uploads of a tenant: times the largest one that is taken
_NAME = re.compile(r"[0-9a-f-]{36}(-[a-z0-9]{1,20})?\.[a-z]{1,8}")  # ours: an id, perhaps a word, an ending


@dataclass(frozen=True, slots=True)
class Download:
    """A finished file. `name` is fit for a header; `sha256` is what the job said, None where it said nothing."""

    path: Path
    name: str
    bytes: int
    media_type: str
    sha256: str | None


class Holder(Protocol):
    """The application as this service sees it."""

    settings: Settings

    async def get(self, job_id: UUID | str, *, tenant: str | None = None) -> JobView:
        """One job; NotFound."""
        ...

    async def known_tenant_id(self, name: str | None) -> int:
        """The id of a tenant that is there."""
        ...

    async def tenant_id(self, name: str | None) -> int:
        """The id of a tenant, made on first use."""
        ...


class Files:
    """Take in uploads, hand out results."""

    def __init__(self, app: Holder) -> None:
        self._app = app

    async def open(self, job_id: UUID | str, which: Which = "file", *, tenant: str | None = None, user_id: str | None = None) -> Download:
        """The file that a completed job names in its result.

        Args:
            which: "file", an import's "rejects", or a report's "csv".
            user_id: whose jobs may be looked at; None: every job of the tenant (for administrators).
        Raises:
            NotFound: no such job of theirs, or it has no such file (any more).
        """
        job = await self._app.get(job_id, tenant=tenant)
        result: Any = job.result
        name = result.get(which) if isinstance(result, dict) and job.state == "completed" else None
        if (user_id is not None and job.user_id != user_id) or not isinstance(name, str) or not name.startswith(str(job.id)):
            raise NotFound(f"job {job_id} has no file here: it is not there, not yours, or has not completed with one.")
        path = results(self._app.settings, job.tenant_id) / checked_file(name)
        with suppress(OSError):
            sha256 = result.get("sha256" if which == "file" else f"{which}Sha256")
            return Download(path, name, path.stat().st_size, MEDIA.get(name.rpartition(".")[2], "application/octet-stream"), sha256)
        raise NotFound(f"job {job_id}: its file is gone: files are kept as long as jobs, in TRUNKLINE_FILES_DIR of the worker's host.")

    async def save(self, content: AsyncIterator[bytes], ending: str, *, tenant: str | None = None) -> str:
        """Keep an upload for an import; the name to put into its payload.

        Args:
            ending: csv, jsonl or xlsx.
        Raises:
            InvalidInput: another ending, or more than TRUNKLINE_IMPORT_MAX_BYTES; nothing is kept.
            QuotaExceeded: this tenant's uploads hold KEPT times as much already.
        """
        if ending not in ("csv", "jsonl", "xlsx"):
            raise InvalidInput(f"ending is {ending[:20]!r}: need csv, jsonl or xlsx.")
        most, size = self._app.settings.import_max_bytes, 0
        name, tenant_id = f"{new_id()}.{ending}", await self._app.tenant_id(tenant)
        path = uploads(self._app.settings, tenant_id) / name
        await asyncio.to_thread(_check_room, self._app.settings, tenant_id)
        with unfinished(path) as file:
            async for part in content:
                if (size := size + len(part)) > most:
                    raise InvalidInput(f"the file has more than {most:,} bytes: TRUNKLINE_IMPORT_MAX_BYTES is the most there may be.")
                await asyncio.to_thread(file.write, part)
        return name

    async def drop(self, name: str, *, tenant: str | None = None) -> None:
        """Delete an upload that no job was told of."""
        (uploads(self._app.settings, await self._app.tenant_id(tenant)) / checked_file(name)).unlink(missing_ok=True)


def results(settings: Settings, tenant_id: int) -> Path:
    """The folder of what a tenant's jobs made."""
    return _folder(settings, tenant_id, "results")


def uploads(settings: Settings, tenant_id: int) -> Path:
    """The folder of what a tenant brought for imports."""
    return _folder(settings, tenant_id, "uploads")


def uploaded(settings: Settings, tenant_id: int, name: str) -> Path:
    """An upload by its name.

    Raises:
        Fail: this tenant has none of that name, or it is larger than imports may be.
    """
    try:
        path = uploads(settings, tenant_id) / checked_file(name)
        size = path.stat().st_size
    except (NotFound, OSError):
        raise Fail(f"file {name[:80]!r}: this tenant brought none of that name, or it is on another host.") from None
    if size > settings.import_max_bytes:
        raise Fail(f"file {name!r} has {size:,} bytes: TRUNKLINE_IMPORT_MAX_BYTES allows {settings.import_max_bytes:,}.")
    return path


def checked_file(name: str) -> str:
    """A name that we gave; NotFound for any other, so that no path is built from it."""
    if not _NAME.fullmatch(name):
        raise NotFound(f"file {name[:80]!r}: there is none of that name.")
    return name


@contextmanager
def unfinished(path: Path) -> Iterator[BinaryIO]:
    """A file to write; under its own name when the block ends, and gone when it raises."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            part.chmod(0o600)
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _check_room(settings: Settings, tenant_id: int) -> None:
    sweep(settings, tenant_id)
    with os.scandir(uploads(settings, tenant_id)) as entries:
        held = sum(_size(entry) for entry in entries)
    if held >= KEPT * settings.import_max_bytes:
        raise QuotaExceeded(
            f"this tenant's uploads hold {held:,} bytes already. They are deleted when they are older than TRUNKLINE_RETENTION."
        )


def _size(entry: os.DirEntry[str]) -> int:
    with suppress(OSError):
        return entry.stat(follow_symlinks=False).st_size
    return 0


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sweep(settings: Settings, tenant_id: int) -> int:
    """Delete a tenant's files that are older than TRUNKLINE_RETENTION; how many. Called at the end of each job that makes one."""
    oldest, gone = time.time() - settings.retention_s, 0
    for folder in (results(settings, tenant_id), uploads(settings, tenant_id)):
        for entry in os.scandir(folder):
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime < oldest:
                    Path(entry.path).unlink()
                    gone += 1
    return gone


def _folder(settings: Settings, tenant_id: int, what: str) -> Path:
    folder = Path(settings.files_dir).expanduser().resolve() / str(tenant_id) / what
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
