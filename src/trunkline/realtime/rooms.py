"""Rooms: who is to be told what. A room is a tenant and a name made here from ids, never a client's string.

Always true: an event reaches each member once, however many of its rooms the member is in; members of one tenant never see another's;
a member is in at most MOST_ROOMS rooms; an empty room takes no memory.
Called by: the doors (gateway). Knows no socket: a member is any hashable thing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Generic, TypeVar
from uuid import UUID

from trunkline.errors import RateLimited
from trunkline.realtime.event import Event

MOST_ROOMS = 1000
ALL_JOBS = "all-jobs"
EVERYONE = "everyone"  # broadcasts to a tenant; join each member of a namespace that is to hear them
CLIENTS = "clients"  # no room: what the clients of the gateway dialect are counted under

Member = TypeVar("Member")


def job_room(job_id: UUID) -> str:
    """Watchers of one job."""
    return f"job:{job_id}"


def batch_room(batch_id: UUID) -> str:
    """Watchers of one batch."""
    return f"batch:{batch_id}"


def user_room(user_id: str) -> str:
    """Watchers of one user's jobs, and what is said to that user."""
    return f"user:{user_id}"


def inbox_room(user_id: str) -> str:
    """What is said to one user, without the jobs."""
    return f"inbox:{user_id}"


def rooms_of(event: Event) -> tuple[str, ...]:
    """The rooms that hear an event."""
    if event.job_id is not None:
        mine = (job_room(event.job_id), ALL_JOBS)
        return mine if event.user_id is None else (*mine, user_room(event.user_id))
    if event.batch_id is not None:
        return batch_room(event.batch_id), ALL_JOBS
    return (EVERYONE,) if event.user_id is None else (user_room(event.user_id), inbox_room(event.user_id))


def selection(rooms: Iterable[str]) -> tuple[list[UUID], list[str]] | None:
    """The ids of jobs and batches, and the users, whose events these rooms hear; None: all. EVERYONE is heard in any case.

    Of an inbox it is more than the room hears: `rooms_of` says which.

    Raises:
        ValueError: a name is none of ours.
    """
    ids: list[UUID] = []
    users: list[str] = []
    for room in rooms:
        kind, _, name = room.partition(":")
        if room == ALL_JOBS:
            return None
        if kind in ("job", "batch") and name:
            ids.append(UUID(name))
        elif kind in ("user", "inbox") and name:
            users.append(name)
        elif room != EVERYONE:
            raise ValueError(f"{room!r} is no room")
    return ids, users


class Rooms(Generic[Member]):
    """Members by room and rooms by member. `changed` is called with the tenant and the name of a room that has more or fewer."""

    def __init__(self, most: int = MOST_ROOMS) -> None:
        self._most = most
        self.changed: Callable[[int, str], None] = lambda _, __: None
        self._members: dict[tuple[int, str], dict[Member, None]] = {}
        self._rooms: dict[Member, set[tuple[int, str]]] = {}

    def join(self, member: Member, tenant_id: int, room: str) -> bool:
        """Let `member` hear a room; False: it does already.

        Raises:
            RateLimited: it is in too many rooms.
        """
        rooms = self._rooms.setdefault(member, set())
        if (tenant_id, room) in rooms:
            return False
        if len(rooms) >= self._most:
            raise RateLimited(f"this connection is in {self._most} rooms already. Leave some, or open another one.")
        rooms.add((tenant_id, room))
        self._members.setdefault((tenant_id, room), {})[member] = None
        self.changed(tenant_id, room)
        return True

    def leave(self, member: Member, tenant_id: int, room: str) -> bool:
        """Let it hear the room no more; False: it did not."""
        if (rooms := self._rooms.get(member)) is None or (tenant_id, room) not in rooms:
            return False
        rooms.discard((tenant_id, room))
        if not rooms:
            del self._rooms[member]
        self._forget(member, (tenant_id, room))
        return True

    def leave_all(self, member: Member) -> None:
        """It is gone. Twice is once."""
        for place in self._rooms.pop(member, ()):
            self._forget(member, place)

    def rooms_of(self, member: Member) -> list[str]:
        """The rooms it is in, sorted."""
        return sorted(room for _, room in self._rooms.get(member, ()))

    def size(self, tenant_id: int, room: str) -> int:
        """How many members a room has here."""
        return len(self._members.get((tenant_id, room), ()))

    def inside(self, tenant_id: int, room: str) -> tuple[Member, ...]:
        """Its members here."""
        return tuple(self._members.get((tenant_id, room), ()))

    def members(self, event: Event) -> Collection[Member]:
        """Who hears an event, each once; not to be kept across a join or leave."""
        found = [heard for room in rooms_of(event) if (heard := self._members.get((event.tenant_id, room)))]
        return found[0] if len(found) == 1 else {member: None for heard in found for member in heard}

    def _forget(self, member: Member, place: tuple[int, str]) -> None:
        members = self._members[place]
        del members[member]
        if not members:
            del self._members[place]
        self.changed(*place)
