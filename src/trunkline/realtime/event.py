"""What watchers are told: one committed fact of one tenant.

Always true: `data` is JSON text that nobody here looks into.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Event:
    """One fact, as every watcher of it is told.

    Attributes:
        offset: what a client that has received this event comes back with (Stream.replay); URL-safe, opaque.
        what: queued, started, retrying, completed, failed, cancelled, batch_completed: moves. progress, update, completed, failed: said
            about a job by a handler or an application (`is_said`). broadcast: said to a tenant, or to a user where `user_id` is set.
        status: the word for people: that of an update, the name of a broadcast's event, in_progress, else the same as `what`.
        data: JSON text: of progress {"percentage", "message"?, ...}; of completed the result; of retrying, failed and cancelled the error
            {"type", "message", ...}; of batch_completed the counts; of what was said, that. b"null" for nothing.
        at: when it was written; it is seen when that transaction commits.
        pace: to hearers that asked for it (Stream.subscribe): "held", progress that came too fast, which is told "late" unless it is
            overtaken; everything else is "" and is told once.
    """

    tenant_id: int
    offset: str
    what: str
    status: str
    data: bytes
    at: datetime
    job_id: UUID | None = None
    batch_id: UUID | None = None
    attempt: int | None = None
    queue: str | None = None
    kind: str | None = None
    user_id: str | None = None
    is_said: bool = False
    pace: Literal["", "held", "late"] = ""

    @property
    def is_terminal(self) -> bool:
        """Whether a job or batch ended with it: such events are never dropped on their way."""
        return not self.is_said and self.what in ("completed", "failed", "cancelled", "batch_completed")


@dataclass(frozen=True, slots=True)
class Replayed:
    """All events that a client missed, in order; `offset`: where it stands when it has them."""

    events: list[Event]
    offset: str


@dataclass(frozen=True, slots=True)
class TooOld:
    """Nothing is replayed, because not everything could be; `reason` is a sentence."""

    reason: str


@dataclass(frozen=True, slots=True)
class Connected:
    """Sockets of a tenant over all gateways: watchers (`/socket.io`, both namespaces), and clients that send and work (`/ws`, `/ws/raw`)."""

    watchers: int
    clients: int


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A line of a job's history; fields as in `Event`."""

    at: datetime
    what: str
    status: str
    data: bytes
    attempt: int | None
    is_said: bool
