"""Committed events in the words of the update dialect.

Always true: times are those of the database; progress has a key, so that only the latest of a job waits; nothing else has one.
Called by: watching, statuses.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar
from uuid import UUID

import msgspec
from msgspec import Raw, Struct

from trunkline.gateway.socketio.packets import Parcel, event
from trunkline.realtime import Event, HistoryEntry
from trunkline.wire import Push
from trunkline.wire.updates import CompletedUpdate, ErrorUpdate, JobUpdate, ProgressUpdate

NAMESPACE = "/jobs"
T = TypeVar("T")


class Progress(Struct):
    """What is known of how far a job is; what is no number is as if it had not been said."""

    percentage: float = 0.0
    message: str | None = None
    current: float | None = None
    total: float | None = None


class _Share(Struct):
    percentage: float = 0.0
    message: str | None = None


class _Error(Struct):
    message: str = "failed"


_progress = msgspec.json.Decoder(Progress)
_share = msgspec.json.Decoder(_Share)
_error = msgspec.json.Decoder(_Error)


def parcel_of(told: Event, *more: str) -> Parcel | None:
    """An event for all who follow it; None: this dialect has no word for it.

    Args:
        more: what a client that recovers is told besides; then nothing may overtake, so progress has no key.
    """
    if told.job_id is None:
        return broadcast(NAMESPACE, told, *more)
    push = _push(told.job_id, told.what, told.status, told.data, told.at)
    return event(NAMESPACE, push.event, push, *more, key=("progress", told.job_id) if told.what == "progress" and not more else None)


def broadcast(namespace: str, told: Event, *more: str) -> Parcel | None:
    """What the application says under a name of its own; None for a batch's end, which has no word here."""
    return None if told.batch_id is not None else event(namespace, told.status, Raw(told.data), *more)


def line_of(job_id: UUID, entry: HistoryEntry) -> Push:
    """A line of a job's history, as its watchers were told it."""
    return _push(job_id, entry.what, entry.status, entry.data, entry.at)


def progress_of(data: bytes | Raw) -> Progress:
    """What an event of progress says, whoever wrote it."""
    if (said := _read(_progress, data)) is not None:
        return said
    share = _read(_share, data) or _Share()  # steps in another form
    return Progress(share.percentage, share.message)


def error_text(data: bytes | Raw) -> str:
    """The sentence of an error."""
    return (_read(_error, data) or _Error()).message


def _push(job_id: UUID, what: str, status: str, data: bytes, at: datetime) -> Push:
    if what == "progress":
        progress = progress_of(data)
        share = min(max(progress.percentage, 0.0), 100.0)
        return ProgressUpdate(job_id=job_id, progress=share, message=progress.message, timestamp=at)
    if what == "completed":
        return CompletedUpdate(job_id=job_id, result=Raw(data), timestamp=at)
    if what == "failed":
        return ErrorUpdate(job_id=job_id, error=error_text(data), timestamp=at)
    return JobUpdate(job_id=job_id, status=status, data=Raw(data), timestamp=at)


def _read(decoder: msgspec.json.Decoder[T], data: bytes | Raw) -> T | None:
    try:
        return decoder.decode(data)
    except msgspec.DecodeError:
        return None
