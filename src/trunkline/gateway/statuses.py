"""Committed events in the words of the user dialect, and where a job stands in the same words.

Always true: a status is one of five; progress has a key, so that only the latest of a job waits; nothing else has one. What an
application says about a job in words of its own is not told here: the update dialect has a place for it.
Called by: following.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw

from trunkline.gateway.socketio.packets import Parcel, event
from trunkline.gateway.telling import Progress, broadcast, error_text, progress_of
from trunkline.model import JobView
from trunkline.realtime import Event
from trunkline.wire import Push
from trunkline.wire.following import JobBroken, JobDone, JobStatus, Status, StepProgress

NAMESPACE = "/"
_MOVES: dict[str, Status] = {"queued": "queued", "started": "active", "retrying": "queued", "cancelled": "cancelled"}


def parcel_of(told: Event, *more: str) -> Parcel | None:
    """An event for all who follow it; None: this dialect has no word for it. `more`: as telling.parcel_of."""
    if told.job_id is None:
        return broadcast(NAMESPACE, told, *more)
    push = _push(told.job_id, told.what, told.data)
    if push is None:
        return None
    return event(NAMESPACE, push.event, push, *more, key=(push.event, told.job_id) if told.what == "progress" and not more else None)


def standing(job: JobView, *more: str) -> Parcel:
    """Where a job stands, for one who begins to follow it."""
    push: Push
    if job.state == "completed":
        push = JobDone(job_id=job.id, result=_raw(job.result))
    elif job.state == "failed":
        push = JobBroken(job_id=job.id, error=error_text(_raw(job.error)))
    else:
        status: Status = "cancelled" if job.state == "cancelled" else "active" if job.state == "active" else "queued"
        is_known = status == "active" and job.progress is not None
        push = JobStatus(job_id=job.id, status=status, progress=_steps(progress_of(_raw(job.progress))) if is_known else UNSET)
    return event(NAMESPACE, push.event, push, *more)


def _push(job_id: UUID, what: str, data: bytes) -> Push | None:
    if what == "progress":
        return JobStatus(job_id=job_id, status="active", progress=_steps(progress_of(data)))
    if what == "completed":
        return JobDone(job_id=job_id, result=Raw(data))
    if what == "failed":
        return JobBroken(job_id=job_id, error=error_text(data))
    return None if (status := _MOVES.get(what)) is None else JobStatus(job_id=job_id, status=status)


def _steps(said: Progress) -> StepProgress:
    share = min(max(said.percentage, 0.0), 100.0)
    current, total = (share, 100.0) if said.current is None or said.total is None else (said.current, said.total)
    return StepProgress(current=current, total=total, percentage=share, message=UNSET if said.message is None else said.message)


def _raw(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))
