"""Refusals as RFC 9457 problem+json: the one place where an exception becomes a status and a body.

Always true: `code` is stable and each exception has one; the text of an exception that nobody foresaw is never answered, only
logged; "not yours" and "does not exist" are the same answer.
Called by: rest.route, rest.asgi.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from fastapi.exceptions import RequestValidationError
from msgspec import UNSET, UnsetType
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from trunkline.errors import InternalError, TrunklineError

MEDIA_TYPE = "application/problem+json"
RETRY_S = 1  # after an answer of the database that passes by itself
log = structlog.get_logger("trunkline.rest")

# Code -> status. A TrunklineError whose code is not here is a refusal of what was sent: 422.
STATUSES = {
    "unauthenticated": 401,
    "forbidden": 403,
    "not_allowed": 503,  # the database role of the server lacks a right: nothing the caller can do
    "not_found": 404,
    "not_retryable": 409,
    "lease_lost": 409,
    "rate_limited": 429,
    "quota_exceeded": 429,
    "unavailable": 503,
    "timed_out": 503,
    "schema_outdated": 503,
    "invalid_setting": 503,
    "wait_timeout": 504,
    "internal_error": 500,
    "error": 500,
}
NOTHING_HERE = "there is nothing at this address; /api/docs says what there is."
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


class Refused(TrunklineError):
    """A refusal that only HTTP knows: a status, a stable code, and what else the body says."""

    def __init__(self, status: int, code: str, message: str, *, headers: dict[str, str] | None = None, **more: Any) -> None:
        super().__init__(message)
        self.status, self.http_code, self.headers, self.more = status, code, headers or {}, more


class Problem(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True, kw_only=True):
    """The body of every refusal (RFC 9457).

    Attributes:
        type: what sort of problem, as a relative reference to the documentation.
        code: the same for programs; never changes its meaning.
        detail: what happened with the value, then what to do.
        retryable: whether the same request may succeed later, unchanged.
        job_id: the job that is in the way (duplicate).
        errors: one entry for each argument that was refused.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str
    retryable: bool = False
    job_id: str | UnsetType = UNSET
    errors: list[dict[str, str]] = []


def problem(status: int, code: str, detail: str, *, headers: dict[str, str] | None = None, **more: Any) -> Response:
    """A refusal as an answer."""
    title = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Error"
    body = Problem(type=f"/problems/{code}", title=title, status=status, code=code, detail=_readable(detail), **more)
    found = {"Cache-Control": "no-store", **(headers or {})}
    return Response(msgspec.json.encode(body), status, found, media_type=MEDIA_TYPE)


def refusal(error: BaseException, request: Request) -> Response:
    """What is answered for an exception."""
    if isinstance(error, Refused):
        return problem(error.status, error.http_code, str(error), headers=error.headers, **error.more)
    if isinstance(error, RequestValidationError):
        found = [
            {"where": ".".join(str(part) for part in one["loc"])[:200], "message": _readable(str(one["msg"]))}
            for one in error.errors()[:20]
        ]
        said = "; ".join(f"{one['where']}: {one['message']}" for one in found[:3])
        return problem(422, "invalid_input", f"{said}.", errors=found)
    if isinstance(error, HTTPException):
        code = _HTTP_CODES.get(error.status_code, "refused")
        detail = NOTHING_HERE if code == "not_found" else str(error.detail)
        if code == "method_not_allowed":
            detail = f"this address does not take {request.method}; /api/docs says what it takes."
        return problem(error.status_code, code, detail, headers=dict(error.headers or {}))
    if isinstance(error, TrunklineError):
        status = STATUSES.get(error.code, 422)
        if status < 500:
            return problem(status, error.code, str(error), headers=_headers(status, error), retryable=error.retryable)
        log.warning("rest.not_answered", error=str(error), code=error.code, path=request.url.path)
        code, said = (error.code, "this cannot be answered now. Try again.") if status == 503 else (InternalError.code, _BROKEN)
        return problem(status, code, said, headers=_headers(status, error), retryable=True)
    log.error("rest.failed", path=request.url.path, exc_info=error)
    return problem(500, InternalError.code, _BROKEN, retryable=True)


_BROKEN = "something broke on our side. Try again; if it repeats, the server's log says what."


def _headers(status: int, error: TrunklineError) -> dict[str, str]:
    if status == 401:
        return {"WWW-Authenticate": 'Bearer realm="trunkline"'}
    if status in (429, 503):
        wait_s = getattr(error, "retry_after_s", None)
        return {"Retry-After": str(max(math.ceil(wait_s), 1) if isinstance(wait_s, (int, float)) else RETRY_S)}
    return {}


def _readable(sentence: str) -> str:
    """Sentences quote what came in: bounded, and without what no encoder takes."""
    return sentence[:1000].encode("utf-8", "replace").decode()
