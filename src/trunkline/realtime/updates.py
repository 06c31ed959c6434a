"""What an application says about jobs and to people who watch, from any process; and the history of a job: `app.updates`.

Always true: what is said about a job is kept for its history whether somebody watches or not; it is seen when its transaction commits,
and changes nothing about the job.
Called by: app (as an attribute), handlers, doors.
"""

from __future__ import annotations

from typing import Any, Protocol
from uuid import UUID

from trunkline.errors import InvalidInput, NotFound
from trunkline.model import as_uuid
from trunkline.model.payload import encode
from trunkline.realtime.event import Connected, HistoryEntry
from trunkline.realtime.rooms import ALL_JOBS, CLIENTS, EVERYONE, job_room, user_room
from trunkline.realtime.telling import Reveal, status_of
from trunkline.settings import Settings
from trunkline.store import Store, events, presence

MOST_BYTES = 64 * 1024  # of what is said in one call, as JSON text
MOST_HISTORY = 100
LONGEST_MESSAGE = 4000


class Reach(Protocol):
    """What this asks of the application it belongs to."""

    settings: Settings

    async def open(self, *, migrate: bool | None = None) -> Store:
        """The store, connected on first use."""
        ...

    async def known_tenant_id(self, name: str | None) -> int:
        """The id of a tenant by name; NotFound. None: the default tenant."""
        ...


class Updates:
    """Part of an application (`app.updates`). `tenant`: by name, None: the default tenant.

    `connection`: your own asyncpg, psycopg or SQLAlchemy connection with a transaction open; watchers hear when it commits.
    `reveal`: as of Stream.
    """

    def __init__(self, reach: Reach, reveal: Reveal) -> None:
        self._reach, self._reveal = reach, reveal

    async def emit_job_update(
        self, job_id: UUID | str, status: str, data: Any = None, *, tenant: str | None = None, connection: Any = None
    ) -> None:
        """Tell the watchers of a job about it, with a word of your own.

        Args:
            status: 1 to 100 characters.
            data: JSON, at most 64 KiB.
        Raises:
            NotFound: this tenant has no such job. InvalidInput, InvalidPayload.
        """
        await self._emit(job_id, "update", data, _text("status", status, 100), tenant, connection)

    async def emit_job_progress(
        self, job_id: UUID | str, progress: float, message: str | None = None, *, tenant: str | None = None, connection: Any = None
    ) -> None:
        """Tell how far a job is, 0 to 100. A handler says `job.progress`, which is also kept with the job."""
        if isinstance(progress, bool) or not isinstance(progress, int | float) or not 0 <= progress <= 100:
            raise InvalidInput(f"progress is {progress!r}: need a number from 0 to 100.")
        value: dict[str, Any] = {"percentage": progress}
        if message is not None:
            value |= {"message": _text("message", message, LONGEST_MESSAGE)}
        await self._emit(job_id, "progress", value, None, tenant, connection)

    async def emit_job_completed(
        self, job_id: UUID | str, result: Any = None, *, tenant: str | None = None, connection: Any = None
    ) -> None:
        """Tell that a job is done. Jobs that a worker runs are told of by themselves: this is for work that ends elsewhere."""
        await self._emit(job_id, "completed", result, None, tenant, connection)

    async def emit_job_error(
        self, job_id: UUID | str, error: str | BaseException, *, tenant: str | None = None, connection: Any = None
    ) -> None:
        """Tell that a job went wrong for good, in one sentence."""
        name = type(error).__name__ if isinstance(error, BaseException) else "Error"
        message = str(error) or name
        await self._emit(job_id, "failed", {"type": name, "message": message[:LONGEST_MESSAGE]}, None, tenant, connection)

    async def broadcast_to_all(self, event: str, data: Any = None, *, tenant: str | None = None, connection: Any = None) -> None:
        """Tell an event of your own to every watcher of a tenant. It is not kept: who comes later than the recovery window never hears it."""
        await self._broadcast(event, data, None, tenant, connection)

    async def emit_to_user(self, user_id: str, event: str, data: Any = None, *, tenant: str | None = None, connection: Any = None) -> None:
        """The same to the watchers of one user."""
        await self._broadcast(event, data, _text("user_id", user_id, 500), tenant, connection)

    async def get_job_history(self, job_id: UUID | str, limit: int = MOST_HISTORY, *, tenant: str | None = None) -> list[HistoryEntry]:
        """The life of a job and what was said about it, newest first.

        Moves are kept as long as the job; of what was said about it, the last 100, for TRUNKLINE_EVENTS_KEPT (a day).

        Args:
            limit: 1 to 100.
        Raises:
            NotFound: this tenant has no such job.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST_HISTORY:
            raise InvalidInput(f"limit is {limit!r}: need an integer from 1 to {MOST_HISTORY}.")
        identity, store, tenant_id = as_uuid(job_id), await self._reach.open(), await self._reach.known_tenant_id(tenant)
        said = await events.history(store, tenant_id, identity, limit, self._reach.settings.events_kept_s)
        if not said:
            raise NotFound(f"job {identity}: this tenant has no such job.")
        entries = []
        for line in said:
            data = line.data or "null"
            if line.what == "completed" and not line.is_said:
                data = self._reveal(tenant_id, line.kind, [identity, *([line.source] if line.source else [])], data)
            entries.append(HistoryEntry(line.at, line.what, status_of(line.what, line.status), data.encode(), line.attempt, line.is_said))
        return entries

    async def watchers(self, *, job_id: UUID | str | None = None, user_id: str | None = None, tenant: str | None = None) -> int:
        """How many sockets follow one job, one user's jobs, or (neither given) all jobs of a tenant, over all gateways.

        Some seconds old; a gateway that died stops counting within 10 s. Who follows a user's jobs because `all-jobs` means these counts there.
        Of 10,000 rooms of a tenant in a process.
        """
        if job_id is not None and user_id is not None:
            raise InvalidInput("watchers of a job or of a user: give one of the two.")
        room = ALL_JOBS if user_id is None else user_room(_text("user_id", user_id, 500))
        if job_id is not None:
            room = job_room(as_uuid(job_id))
        return (await self._present(tenant, room)).get(room, 0)

    async def connected(self, *, tenant: str | None = None) -> Connected:
        """How many sockets a tenant has over all gateways, as good as `watchers`."""
        found = await self._present(tenant, EVERYONE, CLIENTS)
        return Connected(found.get(EVERYONE, 0), found.get(CLIENTS, 0))

    async def _present(self, tenant: str | None, *rooms: str) -> dict[str, int]:
        store = await self._reach.open()
        return await presence.read(store, await self._reach.known_tenant_id(tenant), rooms)

    async def _emit(self, job_id: UUID | str, what: str, data: Any, status: str | None, tenant: str | None, connection: Any) -> None:
        text = encode(data, what="data", max_bytes=MOST_BYTES)
        store = await self._reach.open()
        await events.emit(store, await self._reach.known_tenant_id(tenant), as_uuid(job_id), what, text, status, connection)

    async def _broadcast(self, event: str, data: Any, user_id: str | None, tenant: str | None, connection: Any) -> None:
        text = encode(data, what="data", max_bytes=MOST_BYTES)
        store = await self._reach.open()
        await events.broadcast(store, await self._reach.known_tenant_id(tenant), _text("event", event, 100), text, user_id, connection)


def _text(name: str, value: str, most: int) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= most:
        raise InvalidInput(f"{name} is {str(value)[:80]!r}: need text of 1 to {most} characters.")
    return value
