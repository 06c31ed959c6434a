"""What is answered. Statuses are translated here and nowhere else; payloads, results and progress are passed on as text.

Always true: an attribute that is UNSET does not appear; `status` is one of five words, unless detail was asked for.
Called by: rest.routes, rest.openapi.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from starlette.responses import Response

from trunkline.engine.records import JobRow
from trunkline.rest.messages import Status
from trunkline.rest.progress import progress_of

JSON = "application/json"
_PLAIN = {"active", "completed", "failed", "cancelled"}
WAITING = ("queued", "scheduled", "retrying", "no_handler", "waiting", "limited")
Exact = Literal["queued", "scheduled", "retrying", "no_handler", "waiting", "limited", "active", "completed", "failed", "cancelled"]


def status_of(state: str) -> str:
    """The word outside for where a job stands: whatever is not yet running is `queued`."""
    return state if state in _PLAIN else "queued"


def json_answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A Struct as the body of an answer."""
    return Response(msgspec.json.encode(body), status, headers, media_type=JSON)


class Answer(Struct, rename="camel", frozen=True, kw_only=True):
    """What every answer is."""


class Made(Answer, frozen=True, kw_only=True):
    """A job that was put in; where an idempotency key of its options was used before, the job that stands for it."""

    id: UUID
    type: str
    status: Status
    created_at: datetime


class JobDetail(Answer, frozen=True, kw_only=True):
    """What `detail=true` adds to a job.

    Attributes:
        state: queued (in line), scheduled, retrying, no_handler, waiting (for other jobs), limited, active or an ending.
        failures: attempts that count against the retry limit.
    """

    state: Exact
    queue: str
    user_id: str | None
    priority: int | None
    failures: int
    run_at: datetime | None
    deadline: datetime | None
    payload: Any = UNSET
    options: Any = UNSET
    error: Any = UNSET


class Job(Answer, frozen=True, kw_only=True):
    """A job.

    Attributes:
        attempts: how often it was begun.
        progress: {current, total, percentage, message?}; hundredths where it has no steps.
        result_omitted: it has a result that is too long for a list; ask for the job itself.
    """

    id: UUID
    type: str
    status: Status
    attempts: int
    created_at: datetime
    started_at: datetime | UnsetType = UNSET
    completed_at: datetime | UnsetType = UNSET
    progress: Any = UNSET
    result: Any = UNSET
    result_omitted: bool | UnsetType = UNSET
    error: str | UnsetType = UNSET
    detail: JobDetail | UnsetType = UNSET


class Pagination(Answer, frozen=True, kw_only=True):
    """Where a page stands.

    Attributes:
        total: how many there are; where `total_capped`, at least so many.
        next_cursor: give it as `cursor` for what follows; absent at the end.
    """

    page: int
    limit: int
    total: int
    total_pages: int
    total_capped: bool | UnsetType = UNSET
    next_cursor: str | UnsetType = UNSET


class Jobs(Answer, frozen=True, kw_only=True):
    """A page of jobs."""

    data: list[Job]
    pagination: Pagination


class Message(Answer, frozen=True, kw_only=True):
    """It was done."""

    message: str


class Requested(Message, frozen=True, kw_only=True):
    """It runs: its worker is told, and 10 seconds later it counts as cancelled."""


class Retried(Answer, frozen=True, kw_only=True):
    """A job that is back in line."""

    id: UUID
    status: Status


class Count(Answer, frozen=True, kw_only=True):
    """How many; `more`: others may fit, ask again."""

    count: int
    more: bool = False


class Update(Answer, frozen=True, kw_only=True):
    """A step of a job's life, or what was said about it: queued, started, retrying, completed, failed, cancelled, in_progress, or the
    application's own word. `data` is the result, the error, or what was said."""

    job_id: UUID
    status: str
    timestamp: datetime
    attempt: int | None
    data: Any


class History(Answer, frozen=True, kw_only=True):
    """What became of a job and what was said about it, newest first."""

    data: list[Update]


class Why(Answer, frozen=True, kw_only=True):
    """One reason; `code` is stable."""

    code: str
    message: str


class Explanation(Answer, frozen=True, kw_only=True):
    """Why a job is not running, the decisive reason first; none for one that has ended."""

    id: UUID
    status: Status
    state: Exact
    reasons: list[Why]


class Switched(Answer, frozen=True, kw_only=True):
    """Something that can be paused; `changed` False: it was so before."""

    name: str
    paused: bool
    changed: bool


class Queue(Answer, frozen=True, kw_only=True):
    """A queue; each count stops at 10,000."""

    name: str
    paused: bool
    paused_at: datetime | None
    waiting: int
    deferred: int
    active: int


class Queues(Answer, frozen=True, kw_only=True):
    """A page of queues, by name."""

    data: list[Queue]
    pagination: Pagination


class Size(Answer, frozen=True, kw_only=True):
    """Jobs of a queue that stand before a state."""

    name: str
    size: int


class Token(Answer, frozen=True, kw_only=True):
    """A token without its value. `live`: it was not ended and its time is not over."""

    id: UUID
    description: str
    scopes: list[str]
    active: bool
    live: bool
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class NewTokenAnswer(Answer, frozen=True, kw_only=True):
    """A token that was made. `token` is shown this once; an answer that is repeated for an Idempotency-Key is without it."""

    id: UUID
    description: str
    scopes: list[str]
    expires_at: datetime | None
    token: str | UnsetType = UNSET


class Tokens(Answer, frozen=True, kw_only=True):
    """A page of tokens, newest first."""

    data: list[Token]
    pagination: Pagination


class Noted(Answer, frozen=True, kw_only=True):
    """One act: who did what, to what, when, from where."""

    id: UUID
    at: datetime
    actor_kind: Literal["user", "token", "operator", "system"]
    actor: str
    act: str
    subject: str
    via: Literal["api", "cli", "socket", "program"]
    address: str | None
    detail: Any


class AuditPage(Answer, frozen=True, kw_only=True):
    """Acts, newest first."""

    data: list[Noted]
    next_cursor: str | UnsetType = UNSET


class Me(Answer, frozen=True, kw_only=True):
    """Who asks."""

    tenant: str
    user_id: str | None
    token_id: UUID | None
    scopes: list[str]
    email: str | None = None
    locale: str | None = None
    time_zone: str | None = None
    first_seen_at: datetime | None = None


class JobsHealth(Answer, frozen=True, kw_only=True):
    """How the tenant's jobs do: `unhealthy` where jobs wait and no worker lives, `degraded` where over 10 % of the last 100 failed."""

    status: Literal["healthy", "degraded", "unhealthy"]
    queue_size: Annotated[int, Meta(ge=0)]
    active_jobs: Annotated[int, Meta(ge=0)]
    failed_jobs: Annotated[int, Meta(ge=0)]
    last_processed_at: datetime | None


class SocketHealth(Answer, frozen=True, kw_only=True):
    """How the sockets of this process do; uptime in seconds."""

    status: Literal["healthy"]
    connected_clients: int
    uptime: float


def job_of(row: JobRow, *, detail: bool = False) -> Job:
    """A job as people see it."""
    return Job(
        id=row.id,
        type=row.kind,
        status=status_of(row.state),  # type: ignore[arg-type]
        attempts=row.attempt,
        created_at=row.created_at,
        started_at=UNSET if row.started_at is None else row.started_at,
        completed_at=UNSET if row.finished_at is None else row.finished_at,
        progress=UNSET if row.progress is None else progress_of(row.progress),
        result=raw(row.result),
        result_omitted=row.result_omitted or UNSET,
        error=UNSET if row.error is None else error_text(row.error),
        detail=_detail(row) if detail else UNSET,
    )


def _detail(row: JobRow) -> JobDetail:
    return JobDetail(
        state=row.state,  # type: ignore[arg-type]
        queue=row.queue,
        user_id=row.user_id,
        priority=row.priority,
        failures=row.failures,
        run_at=row.run_at,
        deadline=row.deadline,
        payload=raw(row.payload),
        options=raw(row.options),
        error=raw(row.error),
    )


def raw(text: str | None) -> Any:
    """JSON text as a value of an answer; UNSET for none."""
    return UNSET if text is None else Raw(text.encode())


def error_text(text: str) -> str:
    """The sentence in a stored error."""
    try:
        error = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text[:2000]
    if isinstance(error, dict):
        error = error.get("message", error.get("type", ""))
    return error if isinstance(error, str) else msgspec.json.encode(error).decode()[:2000]
