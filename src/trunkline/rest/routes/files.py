"""Files: what people bring for imports, and what their jobs made. For users and administrators, as the job types that use them are.

Always true: an upload comes at its pace or is given up, and nothing of it is kept then; a file is answered as something to save, never
as something to show; whose job may not be seen, its files are not there.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from trunkline.engine import Act
from trunkline.rest.acting import once
from trunkline.rest.answers import Answer
from trunkline.rest.api import Api
from trunkline.rest.asking import BODY_S, DISCARDED, PATIENT, Asked
from trunkline.rest.openapi import IDEMPOTENCY, describe
from trunkline.rest.problems import Refused
from trunkline.rest.route import asked_of

UPLOAD = "POST /api/files"
MEDIA = {
    "text/csv": "csv",
    "application/x-ndjson": "jsonl",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
}
MOST_UPLOADS = 4  # of one principal at once
LEAST_PER_S = 16 * 1024  # bytes a second that an upload must keep up with
PIECE = 64 * 1024
Which = Annotated[Literal["file", "rejects", "csv"], Query(description="An import's `rejects`, a report's `csv`; else the `file`.")]


class Upload(Answer, frozen=True, kw_only=True):
    """A file that was brought; `file` goes into the payload of an import."""

    file: str
    bytes: int


def add(api: Api, router: APIRouter) -> None:
    """Its routes."""
    _add_download(api, router)

    @router.post("/files", tags=["files"], **_described())
    async def upload_file(request: Request) -> Response:
        """Bring a CSV, JSON lines or XLSX file for an import; its media type says which it is."""
        asked = asked_of(request)
        asked.require_person("files", "send")
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media not in MEDIA:
            raise Refused(415, "unsupported_media_type", f"Content-Type is {media[:80]!r}: send one of {', '.join(MEDIA)}.")
        if (coding := request.headers.get("content-encoding", "identity").strip().lower()) != "identity":
            raise Refused(415, "unsupported_media_type", f"Content-Encoding is {coding[:80]!r}: send the file as it is.")
        async with _uploading(asked):
            return await _kept(asked, MEDIA[media])


async def _kept(asked: Asked, ending: str) -> Response:
    """Save the body, and answer its name; a repetition is answered the name of the first, and its own file is dropped."""
    files, incoming = asked.api.services.files, _Incoming(asked.request, asked.api.settings.import_max_bytes)
    name = await files.save(incoming.pieces(), ending, tenant=asked.tenant)
    is_used = False

    async def keep(act: Act) -> tuple[int, Upload]:
        nonlocal is_used
        await act.noted(asked.tenant_id, "file.uploaded", f"file:{name}", bytes=incoming.size)
        is_used = True
        return 201, Upload(file=name, bytes=incoming.size)

    try:
        return await once(asked, UPLOAD, f"{ending} {incoming.digest.hexdigest()}".encode(), keep)
    except BaseException:
        is_used = False
        raise
    finally:
        if not is_used:
            await files.drop(name, tenant=asked.tenant)


class _Incoming:
    """A body that is read piece by piece, with its size and SHA-256 so far."""

    def __init__(self, request: Request, most: int) -> None:
        self._request, self._most = request, most
        self.size, self.digest = 0, hashlib.sha256()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body.

        Raises:
            Refused: too long, too slow, or broken off.
        """
        stream, began = self._request.stream(), asyncio.get_running_loop().time()
        self._request.scope[PATIENT] = True
        while True:
            try:
                async with asyncio.timeout_at(began + BODY_S + self.size / LEAST_PER_S):
                    piece = await anext(stream, None)
            except TimeoutError:
                said = f"the file comes at less than {LEAST_PER_S // 1024} KiB a second."
                raise Refused(408, "body_too_slow", said, headers={"Connection": "close"}) from None
            except ClientDisconnect:
                raise Refused(400, "disconnected", "the connection ended amid the file.") from None
            self.size += len(piece or b"")
            if self.size > self._most and (piece is None or self.size > self._most + DISCARDED):
                said = f"the file has more than {self._most} bytes (TRUNKLINE_IMPORT_MAX_BYTES)."
                raise Refused(413, "too_large", said, headers={"Connection": "close"})
            if piece is None:
                return
            if self.size <= self._most:
                self.digest.update(piece)
                yield piece


def _add_download(api: Api, router: APIRouter) -> None:
    described = describe(None, refusals=(404,))
    described["responses"][200] = {
        "description": "The file, to be saved.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }

    @router.get("/jobs/{job_id}/file", tags=["files"], **described)
    async def download_file(request: Request, job_id: UUID, which: Which = "file") -> Response:
        """What a completed job made: an export, a dump, a report, an import's rejected rows."""
        asked = asked_of(request)
        asked.require_person("files", "send", "watch")
        await api.services.records.job(asked.tenant_id, job_id, user_id=asked.only_user)
        found = await api.services.files.open(job_id, which, tenant=asked.tenant, user_id=asked.only_user)
        headers = {
            "Content-Disposition": f'attachment; filename="{found.name}"',  # a name of ours
            "Content-Length": str(found.bytes),
            "Content-Type": found.media_type,
            "ETag": f'"{found.sha256 or found.name}"',
            "Vary": "Authorization",
        }
        return StreamingResponse(_read(found.path, found.bytes), headers=headers)


async def _read(path: Path, size: int) -> AsyncIterator[bytes]:
    """As many bytes as were announced."""
    with await asyncio.to_thread(path.open, "rb") as file:
        while size > 0 and (piece := await asyncio.to_thread(file.read, min(PIECE, size))):
            size -= len(piece)
            yield piece


@asynccontextmanager
async def _uploading(asked: Asked) -> AsyncIterator[None]:
    """One upload of a principal; Refused where there are too many."""
    running, name = asked.api.uploads, (asked.tenant_id, asked.name)
    if running.get(name, 0) >= MOST_UPLOADS:
        raise Refused(
            429, "rate_limited", f"{MOST_UPLOADS} files of yours are coming in already.", headers={"Retry-After": "1"}, retryable=True
        )
    running[name] = running.get(name, 0) + 1
    try:
        yield
    finally:
        running[name] -= 1
        if not running[name]:
            del running[name]


def _described() -> dict[str, Any]:
    found = describe(
        Upload, status=201, creates=True, refusals=(413, 415), example={"file": "01970000-0000-7000-8000-000000000001.csv", "bytes": 1024}
    )
    content = {media: {"schema": {"type": "string", "format": "binary"}} for media in MEDIA}
    found["openapi_extra"] |= {"requestBody": {"required": True, "content": content}, "parameters": [IDEMPOTENCY]}
    return found
