"""A process's presence in the database: its session, its heartbeat, what it sleeps on and what it watches.

Called by: engine.heart, engine.fetcher, engine.waiter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from trunkline.store.pool import Store

OPEN = "select trunkline.open_session($1, $2)"
CLOSE = "select trunkline.close_session($1)"
TICK = "select t.*, trunkline.schedules_due_in(), trunkline.cancels_of($1) from trunkline.tick($1, $2, $3, $4) as t"
SLEEP_ON = "select trunkline.sleep_on($1, $2)"
WATCH = "select trunkline.watch($1, $2)"
PROMOTE = "select trunkline.promote($1)"
TENANT_ID = "select trunkline.tenant_id($1)"
KNOWN_TENANT_ID = "select tenant_id from trunkline.tenant where name = $1 and tenant_id <> 0"
LEASES = "select tenant_id, job_id, attempt from trunkline.leases_of($1)"
TELL = "select trunkline.tell_session($1, $2)"
RENEW = "select trunkline.renew($1, $2)"


class Lease(NamedTuple):
    """Whose attempt of which job: an id is unique within its tenant only."""

    tenant_id: int
    job_id: UUID
    attempt: int


def lease_of(words: Sequence[str]) -> Lease | None:
    """From "job attempt tenant", as signals and ticks say it; None without the tenant (an older function said it): the next tick tells."""
    return Lease(int(words[2]), UUID(words[0]), int(words[1])) if len(words) > 2 else None


class Tick(NamedTuple):
    """Columns of sql tick(), in their order, and the answers of schedules_due_in() and cancels_of(); see there. `cancels` is for older code."""

    alive: bool
    ord_now: int
    xmin: int
    xmax: int
    due_in_s: float | None
    work: list[int] | None
    cancels: list[str] | None
    schedules_in_s: float | None = None
    wanted: list[str] | None = None

    @property
    def cancelled(self) -> list[Lease]:
        """Leases of this session that somebody wants to end."""
        return [lease for text in self.wanted or () if (lease := lease_of(text.split(" "))) is not None]


async def open_session(store: Store, name: str, ttl_s: float) -> int:
    """Start a session that lives `ttl_s` seconds unless renewed; its id."""
    return int(await store.fetchval(OPEN, name, ttl_s))


async def close_session(store: Store, session_id: int, within_s: float = 5.0) -> None:
    """End a session; what it still holds is handed back. A database that does not answer finds out by itself."""
    await store.fetch(CLOSE, session_id, timeout=within_s)


async def tick(store: Store, session_id: int, ttl_s: float, queue_ids: Sequence[int], mark: int) -> Tick:
    """The one call a second: due jobs, rescue, heartbeat, news. On a connection kept for it."""
    rows = await store.fetch_kept(TICK, session_id, ttl_s, queue_ids, mark)
    return Tick(*rows[0])


async def renew(store: Store, session_id: int, ttl_s: float, within_s: float) -> bool:
    """The heartbeat alone, on a connection made for it, because the others do not answer; False: the session was over."""
    rows = await store.fetch_apart(RENEW, session_id, ttl_s, within_s=within_s)
    return bool(rows[0][0])


async def sleep_on(store: Store, session_id: int, queue_ids: Sequence[int]) -> None:
    """Ask to be woken for these queues; none: awake."""
    await store.fetch(SLEEP_ON, session_id, queue_ids)


async def watch(store: Store, session_id: int, tenant_ids: Sequence[int]) -> None:
    """Ask to be told of endings in these tenants."""
    await store.fetch(WATCH, session_id, tenant_ids)


async def promote(store: Store, limit: int = 1000) -> int:
    """Move due jobs into line; how many."""
    return int(await store.fetchval(PROMOTE, limit))


async def tenant_id(store: Store, name: str) -> int:
    """The tenant's id, made on first use."""
    return int(await store.fetchval(TENANT_ID, name))


async def known_tenant_id(store: Store, name: str) -> int | None:
    """The tenant's id; None: there is no such tenant, and none is made."""
    found: int | None = await store.fetchval(KNOWN_TENANT_ID, name)
    return found


async def leases(store: Store, session_id: int) -> list[tuple[int, UUID, int]]:
    """(tenant, job, attempt) of everything the session holds; reads the whole small table, so not for every second."""
    return [(row[0], row[1], row[2]) for row in await store.fetch(LEASES, session_id)]


async def tell(store: Store, word: str, *arguments: object) -> None:
    """Send a signal: a word and ids, under 8,000 bytes in all. Every process hears it; nobody may."""
    await store.fetch(TELL, word, " ".join(str(argument) for argument in arguments))
