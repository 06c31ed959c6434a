"""What the gateway says by itself: to the worker that holds a job, and to the clients of one tenant.

Always true: `event` is the name on the wire; times are aware UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from msgspec import UNSET, Raw, Struct, UnsetType


class Push(Struct, rename="camel", frozen=True, kw_only=True):
    """What every push is."""

    event: ClassVar[str]


class ClientReady(Push, frozen=True, kw_only=True):
    """The token is good. `id` names this connection; a client that comes back says it as `auth.resume`."""

    event = "client_ready"
    id: str
    customer_id: str


class WorkRequest(Push, frozen=True, kw_only=True, omit_defaults=True):
    """A job for this worker. `name` is spelled as the worker registered it; at `expires_at` it is taken away. `traceparent`: the W3C trace
    context that it was sent in, where it was."""

    event = "work_request"
    id: UUID
    name: str
    data: Raw
    state: Literal["created", "retry"]
    retry_count: int
    priority: int
    created_at: datetime
    attempt: int
    expires_at: datetime
    traceparent: str | None = None


class CancelRequest(Push, frozen=True, kw_only=True):
    """Stop working on this attempt; after 10 s it is nobody's."""

    event = "cancel_request"
    id: UUID
    attempt: int


class Started(Push, frozen=True, kw_only=True):
    """A handler began."""

    event = "job_started"
    job_name: str
    job_id: UUID
    started_at: datetime


class Progress(Push, frozen=True, kw_only=True):
    """A handler said how far it is."""

    event = "job_progress"
    job_name: str
    job_id: UUID
    progress: float
    message: str | UnsetType | None = UNSET
    data: Raw | UnsetType = UNSET


class Completed(Push, frozen=True, kw_only=True):
    """A job ended completed."""

    event = "job_completed"
    job_name: str
    job_id: UUID
    result: Raw
    completed_at: datetime


class FailedPush(Push, frozen=True, kw_only=True):
    """An attempt failed; `will_retry` False: the job ended failed."""

    event = "job_failed"
    job_name: str
    job_id: UUID
    error: Raw
    failed_at: datetime
    will_retry: bool


class CancelledPush(Push, frozen=True, kw_only=True):
    """A job ended cancelled."""

    event = "job_cancelled"
    job_id: UUID
    cancelled_at: datetime


class BatchCompleted(Push, frozen=True, kw_only=True):
    """Every job of a batch has ended."""

    event = "batch_completed"
    batch_id: UUID
    total: int
    completed: int
    failed: int
    cancelled: int


TO_WORKERS: tuple[type[Push], ...] = (ClientReady, WorkRequest, CancelRequest)
TO_TENANT: tuple[type[Push], ...] = (Started, Progress, Completed, FailedPush, CancelledPush, BatchCompleted)
