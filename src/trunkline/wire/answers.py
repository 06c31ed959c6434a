"""What the gateway answers to calls that were carried out. Refused ones: wire.refusals.

Always true: `status` is "ok"; an attribute that is UNSET does not appear on the wire.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from trunkline import model
from trunkline.model import JobView

State = Literal["created", "retry", "active", "completed", "cancelled", "failed"]
# Where a job stands, in the words of this dialect; everything that waits and never failed is `created`.
STATES: dict[str, State] = {
    "retrying": "retry",
    "active": "active",
    "completed": "completed",
    "cancelled": "cancelled",
    "failed": "failed",
}


class Ok(Struct, rename="camel", frozen=True, kw_only=True):
    """Carried out, and nothing more to say."""

    status: Literal["ok"] = "ok"


class Sent(Ok, frozen=True, kw_only=True):
    """`send_job`: the job that now stands for it; None when a live job holds its `singletonKey`."""

    job_id: UUID | None


class Scheduled(Ok, frozen=True, kw_only=True):
    """`schedule_job`."""

    schedule_id: str


class ScheduleView(Struct, rename="camel", frozen=True, kw_only=True):
    """One schedule of the tenant, whoever made it.

    Attributes:
        schedule_id: its name, which no other schedule of the tenant has.
        job_name: the jobs it makes; None where a template says so.
        cron_pattern: None for one that is due every so many seconds, or once.
        data: payload of its jobs; null for {} or the template's own.
        state: active, unplanned (a worker is about to compute the next time), paused, over or broken.
    """

    schedule_id: str
    name: str
    job_name: str | None
    cron_pattern: str | None
    tz: str
    data: object
    state: str
    next_run_at: datetime | None
    last_run_at: datetime | None

    @classmethod
    def of(cls, schedule: model.ScheduleView) -> ScheduleView:
        """A schedule in the words of this dialect."""
        return cls(
            schedule_id=schedule.name,
            name=schedule.name,
            job_name=schedule.kind,
            cron_pattern=schedule.rule.cron,
            tz=schedule.rule.time_zone,
            data=schedule.payload,
            state=schedule.state,
            next_run_at=schedule.next_run_at,
            last_run_at=schedule.last_run_at,
        )


class Schedules(Ok, frozen=True, kw_only=True):
    """`list_schedules`."""

    schedules: list[ScheduleView]


class Failed(Ok, frozen=True, kw_only=True):
    """`job_failed`: whether the job runs again, and when (None: at once, or never)."""

    will_retry: bool
    next_run_at: datetime | UnsetType | None = UNSET


class BatchSent(Ok, frozen=True, kw_only=True):
    """`send_batch`; `job_ids` in the order given, of a job whose key was held the holder's."""

    batch_id: UUID
    job_ids: list[UUID]


class BatchEnded(Ok, frozen=True, kw_only=True):
    """`wait_for_batch`; `done` False: the time was over first, and these are the counts so far."""

    batch_id: UUID
    total: int
    completed: int
    failed: int
    cancelled: int
    done: bool

    @classmethod
    def of(cls, batch: model.BatchView) -> BatchEnded:
        """A batch as it was counted."""
        return cls(
            batch_id=batch.id,
            total=batch.total,
            completed=batch.completed,
            failed=batch.failed,
            cancelled=batch.cancelled,
            done=batch.is_done,
        )


class Job(Struct, rename="camel", frozen=True, kw_only=True):
    """A job as this dialect shows it; `retry_count` counts failures."""

    id: UUID
    name: str
    data: object
    state: State
    priority: int
    retry_count: int
    attempt: int
    output: object
    error: object
    progress: object
    user_id: str | None
    created_on: datetime
    start_after: datetime | None
    started_on: datetime | None
    expires_on: datetime | None
    completed_on: datetime | None

    @classmethod
    def of(cls, job: JobView, name: str) -> Job:
        """A job under the name that was asked for."""
        return cls(
            id=job.id,
            name=name,
            data=job.payload,
            state=STATES.get(job.state, "retry" if job.failures and job.state == "queued" else "created"),
            priority=job.priority or 0,
            retry_count=job.failures,
            attempt=job.attempt,
            output=job.result,
            error=job.error,
            progress=job.progress,
            user_id=job.user_id,
            created_on=job.created_at,
            start_after=job.run_at,
            started_on=job.started_at,
            expires_on=job.deadline,
            completed_on=job.finished_at,
        )


class Found(Ok, frozen=True, kw_only=True):
    """`get_job`: None when this tenant has no such job of that name."""

    job: Job | None


class Cancelled(Ok, frozen=True, kw_only=True):
    """`cancel_job`: False when it had ended before."""

    cancelled: bool


class QueueSize(Ok, frozen=True, kw_only=True):
    """`get_queue_size`."""

    queue_size: int


ANSWERS: dict[str, type[Ok]] = {
    "send_job": Sent,
    "schedule_job": Scheduled,
    "unschedule_job": Ok,
    "list_schedules": Schedules,
    "register_worker": Ok,
    "unregister_worker": Ok,
    "job_started": Ok,
    "job_progress": Ok,
    "job_completed": Ok,
    "job_failed": Failed,
    "send_batch": BatchSent,
    "wait_for_batch": BatchEnded,
    "get_job": Found,
    "cancel_job": Cancelled,
    "get_queue_size": QueueSize,
}
