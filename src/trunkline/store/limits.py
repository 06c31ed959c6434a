"""Limits, pauses, quotas and ordering keys. One function per SQL function.

Always true: what a call changed is committed when it returns; `await_claims` tells when no claim is under way any more that could
have begun before.
Called by: engine.limits, cli.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from trunkline.store.pool import Store

Scope = Literal["queue", "kind", "key", "tenant"]

IS_TENANT_PAUSED = "select gates & 2 <> 0 from trunkline.tenant where tenant_id = $1"
SET_LIMIT = "select trunkline.set_limit($1, $2, $3, $4, $5, $6, $7)"
COUNT_RUNNING = "select trunkline.count_running($1, $2)"
REMOVE_LIMIT = "select trunkline.remove_limit($1, $2, $3)"
BLOCK_KEY = "select trunkline.block_key($1, $2, trunkline.now() + make_interval(secs => $3::float8))"
TAKE_PERMIT = "select trunkline.take_permit($1, $2, $3, $4)"
SHUT_KEY = "select trunkline.shut_key($1, $2, $3)"
PAUSE_LIMIT = "select trunkline.pause_limit($1, $2, $3, $4)"
SET_QUOTA = "select trunkline.set_quota($1, $2, $3, $4, $5)"
QUOTA = "select queued, 1000000.0::float8 / every_us, burst from trunkline.quota where tenant_id = $1"
SKIP_ORDERED = "select trunkline.skip_ordered($1, $2)"
AWAIT_CLAIMS = "select trunkline.await_claims($1)"
_COLUMNS = "scope, queue, kind, key, is_own, concurrency, rate, burst, running, promised, waiting, next_at, blocked_until, paused_at"
LIMITS = f"""select {_COLUMNS} from trunkline.limits
 where tenant_id = $1 order by is_own desc, scope, queue, kind, key limit 1000"""  # noqa: S608 - constants only
HELD_BY = f"""select {_COLUMNS}, h.ahead, h.first_id, h.first_state from trunkline.held_by($1, $2) as h
  join trunkline.limits as l on l.tenant_id = $1 and l.limiter_id = h.limiter_id"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class LimitView:
    """A limiter as people see it.

    Attributes:
        scope: queue, kind, key, kind_key (a key within a kind, as its handler declares) or ordering (an ordering key of a queue).
        is_own: whether somebody set it; else a handler declared it, or it only pauses, blocks or orders.
        concurrency: how many may run at once; `rate`: starts a second, `burst` more at once; None: not bounded.
        running: leases that count; `promised`: slots kept for jobs in line; `waiting`: jobs in its own line, up to 10,000.
        next_at: when its rate permits the next start; past: now.
    """

    scope: str
    queue: str | None
    kind: str | None
    key: str | None
    is_own: bool
    concurrency: int | None
    rate: float | None
    burst: int
    running: int
    promised: int
    waiting: int
    next_at: datetime | None
    blocked_until: datetime | None
    paused_at: datetime | None


@dataclass(frozen=True, slots=True)
class HeldBy:
    """Why a limited job waits: in whose line, behind how many, and (ordering keys) for which job in which state."""

    limit: LimitView
    ahead: int
    first_id: UUID | None
    first_state: str | None


@dataclass(frozen=True, slots=True)
class Quota:
    """What a tenant may put in: jobs that have not started, and jobs a second with `burst` more at once; None: not bounded."""

    queued: int | None
    rate: float | None
    burst: int


async def set_limit(
    store: Store, tenant_id: int, scope: Scope, name: str, *, concurrency: int | None, rate: float | None, per_s: float, burst: int
) -> int:
    """Set the bounds of a queue, a kind or a key; the limiter's id, for `count_running`."""
    return int(await store.fetchval(SET_LIMIT, tenant_id, scope, name, concurrency, rate, per_s, burst))


async def count_running(store: Store, tenant_id: int, limiter_id: int) -> None:
    """Count what runs already and is not counted: claims that began before the limit was there."""
    await store.fetch(COUNT_RUNNING, tenant_id, limiter_id)


async def remove_limit(store: Store, tenant_id: int, scope: Scope, name: str) -> bool:
    """Take the bounds away; False when nobody had set any."""
    return bool(await store.fetchval(REMOVE_LIMIT, tenant_id, scope, name))


async def block_key(store: Store, tenant_id: int, key: str, seconds: float | None) -> None:
    """Start nothing with this limit key for so long, by the database's clock; None: open it."""
    await store.fetch(BLOCK_KEY, tenant_id, key, seconds)


async def take_permit(store: Store, tenant_id: int, key: str, *, rate: float, burst: int) -> float:
    """Take one permit of the key's rate. 0: taken; else the seconds to wait before asking again; infinite: the key is paused.

    Args:
        rate: permits a second, and `burst` more at once, where nobody set bounds for the key.
    """
    return float(await store.fetchval(TAKE_PERMIT, tenant_id, key, rate, burst))


async def shut_key(store: Store, tenant_id: int, key: str, seconds: float) -> None:
    """As `block_key`, but never shorter than the key is blocked already."""
    await store.fetch(SHUT_KEY, tenant_id, key, seconds)


async def pause(store: Store, tenant_id: int, scope: Scope, name: str | None, paused: bool) -> bool:
    """Pause or resume a kind, a key, a queue or (no name) the tenant; True when it was in the other state."""
    return bool(await store.fetchval(PAUSE_LIMIT, tenant_id, scope, name, paused))


async def await_claims(store: Store, within_s: float = 10.0) -> bool:
    """Wait for the claims that were under way; False when one still is after `within_s` seconds."""
    return bool(await store.fetchval(AWAIT_CLAIMS, within_s))


async def set_quota(store: Store, tenant_id: int, *, queued: int | None, rate: float | None, per_s: float, burst: int) -> None:
    """Bound what the tenant may put in; None for both: no bound."""
    await store.fetch(SET_QUOTA, tenant_id, queued, rate, per_s, burst)


async def quota(store: Store, tenant_id: int) -> Quota | None:
    """The tenant's quota."""
    row = await store.fetchrow(QUOTA, tenant_id)
    return None if row is None else Quota(*row)


async def skip_ordered(store: Store, tenant_id: int, job_id: UUID) -> bool:
    """Let the jobs behind a failed one of its ordering key go on; False when it holds nobody up."""
    return bool(await store.fetchval(SKIP_ORDERED, tenant_id, job_id))


async def limits(store: Store, tenant_id: int) -> list[LimitView]:
    """The tenant's limiters, those that somebody set first; at most 1,000."""
    return [LimitView(*row) for row in await store.fetch(LIMITS, tenant_id)]


async def is_tenant_paused(store: Store, tenant_id: int) -> bool:
    """Whether everything of the tenant is paused."""
    return bool(await store.fetchval(IS_TENANT_PAUSED, tenant_id))


async def held_by(store: Store, tenant_id: int, job_id: UUID) -> HeldBy | None:
    """What a limited job waits for; None when it does not wait for a limiter."""
    row = await store.fetchrow(HELD_BY, tenant_id, job_id)
    return None if row is None else HeldBy(LimitView(*row[:14]), *row[14:])
