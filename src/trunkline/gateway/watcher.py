"""One client that follows jobs, and what its dialect calls things.

Called by: watchers, dialects.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from trunkline.auth import Principal
from trunkline.gateway.socketio.link import Link
from trunkline.gateway.socketio.packets import Parcel
from trunkline.realtime import Event, job_room


class Words(Protocol):
    """How a dialect says an event."""

    def __call__(self, told: Event, *more: str) -> Parcel | None:
        """The event as a parcel, `more` at the end of it; None: the dialect has no word for it."""
        ...


@dataclass(slots=True, eq=False)
class Watcher:
    """A client that was let in.

    Attributes:
        words: its dialect's.
        always: rooms that it is in without asking.
        rooms: what it asked to follow -> what it follows.
        pid: of one that asked for recovery; `follows` stands at the end of its offsets.
        held: what is new while it is still told what it missed.
        arriving: what is new of jobs that it is still told the state of.
    """

    principal: Principal
    words: Words
    always: tuple[str, ...]
    pid: str | None = None
    follows: str | None = None
    held: list[Event] | None = None
    arriving: dict[UUID, list[Event]] = field(default_factory=dict)
    rooms: dict[str, str] = field(default_factory=dict)
    unwatch: Callable[[], None] = lambda: None
    unread: Callable[[], None] = lambda: None

    @property
    def is_behind(self) -> bool:
        """Whether events of a job that it follows are held back."""
        return any(job_room(job_id) in self.rooms for job_id in self.arriving)

    def wants(self, told: Event) -> bool:
        """Whether progress that is held or late is for this one (Event.pace)."""
        return not told.pace or (told.pace == "held") != (self.pid is None)

    @property
    def sees_all(self) -> bool:
        """Whether it may follow whatever its tenant has."""
        return self.principal.is_admin or self.principal.user_id is None


Place = Callable[[Watcher, str], Awaitable[str]]  # the room that a name stands for, if this watcher may follow it; ValueError, NotFound
Say = Callable[..., Parcel | None]  # what is told first, given what stands at the end of it


def post(link: Link, say: Say | None, end: str) -> None:
    """Tell it, with what stands at the end where that is not empty."""
    if say is not None and (parcel := say(end) if end else say()) is not None:
        link.post(parcel)
