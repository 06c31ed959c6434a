"""Events of tenants: who watches, what is new since a snapshot, what is said about jobs, and their history.

Always true: a read answers the snapshot of its own statement; nothing here decides what is new, that is sql read_events().
Called by: realtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from trunkline.store import foreign
from trunkline.store.pool import Store

KEEP_WATCHED = "select tenant_id, since, is_new from trunkline.keep_watched($1, $2)"
LOOKERS = "select trunkline.lookers()"
_COLUMNS = "tenant_id, seq, what, is_said, job_id, attempt, queue, kind, user_id, status, data, at, source, snapshot"
READ = f"select {_COLUMNS} from trunkline.read_events($1, $2, $3, $4, $5, $6, $7)"  # noqa: S608 - constants only
EMIT = "select trunkline.emit($1, $2, $3, $4, $5)"
BROADCAST = "select trunkline.broadcast($1, $2, $3, $4)"
HISTORY = "select at, what, is_said, attempt, status, data, kind, source from trunkline.job_history($1, $2, $3, $4)"


class Watched(NamedTuple):
    """A tenant that is watched now; `is_new`: since a moment ago, so that moves under way may still leave no events."""

    tenant_id: int
    since: datetime
    is_new: bool


class Told(NamedTuple):
    """An event as stored; `data` is JSON text, or None. `source`: the job of which a dead-letter copy was made."""

    tenant_id: int
    seq: int
    what: str
    is_said: bool
    job_id: UUID | None
    attempt: int | None
    queue: str | None
    kind: str | None
    user_id: str | None
    status: str | None
    data: str | None
    at: datetime
    source: UUID | None


class From(NamedTuple):
    """Where to go on reading a tenant: not in snapshot `seen`, above `after`; only what `upto` saw, where that is given."""

    tenant_id: int
    seen: str
    upto: str | None = None
    after: int = 0


class Read(NamedTuple):
    """Events in order, by tenant in the order asked; the snapshot of the read and when it was taken."""

    snapshot: str
    at: datetime
    told: list[Told]


class Said(NamedTuple):
    """A line of a job's history."""

    at: datetime
    what: str
    is_said: bool
    attempt: int | None
    status: str | None
    data: str | None
    kind: str
    source: UUID | None


async def keep_watched(store: Store, tenant_ids: Sequence[int], window_s: float) -> list[Watched]:
    """Say that this process watches these tenants."""
    return [Watched(*row) for row in await store.fetch(KEEP_WATCHED, tenant_ids, window_s)]


async def lookers(store: Store) -> set[str]:
    """Transactions under way that have looked whether a tenant is watched."""
    return set(await store.fetchval(LOOKERS))


async def read(
    store: Store,
    places: Sequence[From],
    *,
    limit: int,
    job_ids: Sequence[UUID] | None = None,
    user_ids: Sequence[str] | None = None,
) -> Read:
    """What is new of some tenants, up to `limit` events of each; of these jobs, batches and users only, where given."""
    columns = list(zip(*places, strict=True)) or [(), (), (), ()]
    first, *rows = await store.fetch(READ, *columns, limit, job_ids, user_ids)
    return Read(first["snapshot"], first["at"], [Told(*row[:13]) for row in rows])


async def emit(store: Store, tenant_id: int, job_id: UUID, what: str, data: str, status: str | None, connection: Any = None) -> None:
    """Say something about a job; on the caller's own connection it is seen when that commits."""
    await _run(store, EMIT, (tenant_id, job_id, what, data, status), ("bigint", "uuid", "text", "json", "text"), connection)


async def broadcast(store: Store, tenant_id: int, event: str, data: str, user_id: str | None, connection: Any = None) -> None:
    """Say something to a tenant's watchers, or to those of one user."""
    await _run(store, BROADCAST, (tenant_id, event, data, user_id), ("bigint", "text", "json", "text"), connection)


async def _run(store: Store, text: str, arguments: Sequence[object], types: Sequence[str], connection: Any) -> None:
    if connection is None:
        await store.fetch(text, *arguments)
    else:
        await foreign.rows(connection, store.sql(text), arguments, types)


async def history(store: Store, tenant_id: int, job_id: UUID, limit: int, kept_s: float) -> list[Said]:
    """The life of a job, newest first; nothing for a job that is not there."""
    return [Said(*row) for row in await store.fetch(HISTORY, tenant_id, job_id, limit, kept_s)]
