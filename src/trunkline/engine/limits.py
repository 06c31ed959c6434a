"""`app.limits`: how many jobs of a queue, a kind or a key run and how often one starts; pauses; blocks; quotas of tenants.

Always true: when `set` and `pause` return, every claim that could have missed them has ended.
Part of the application (`app.Trunkline.limits`). Calls: store.limits.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from trunkline.engine.reach import Reach
from trunkline.errors import InvalidInput, TimedOut
from trunkline.model import as_uuid
from trunkline.store import Store, limits
from trunkline.store.limits import HeldBy, LimitView, Quota, Scope

CLAIMS_WITHIN_S = 10.0  # a claim takes milliseconds; only one in a transaction that somebody keeps open takes longer


class Limits:
    """Bounds and pauses of one application's jobs. Every method takes `tenant` by name; None: the default tenant."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    async def set(
        self,
        *,
        queue: str | None = None,
        kind: str | None = None,
        key: str | None = None,
        concurrency: int | None = None,
        rate: float | None = None,
        per: float = 1.0,
        burst: int = 0,
        tenant: str | None = None,
    ) -> None:
        """Bound a queue, a kind or a limit key; it replaces what was set before. What runs already counts.

        Args:
            concurrency: leases at once, 1..1,000,000.
            rate: starts in `per` seconds, evenly spaced; `burst` more at once. In every half-open window of T seconds there are
                at most ceil(rate / per * T) + burst.
        Raises:
            InvalidInput: no bound, or one out of range.
            TimedOut: it is set, but a claim that began before still runs; those of its jobs are counted by the next `set`.
        """
        scope, name = _one(queue=queue, kind=kind, key=key)
        store, tenant_id = await self._reach.open(), await self._reach.tenant_id(tenant)
        limiter_id = await limits.set_limit(store, tenant_id, scope, name, concurrency=concurrency, rate=rate, per_s=per, burst=burst)
        bounds = {"concurrency": concurrency, "rate": rate, "per": None if rate is None else per, "burst": burst or None}
        await self._reach.noted(
            tenant_id, "limit.set", f"{scope}:{name}", **{key: value for key, value in bounds.items() if value is not None}
        )

        async def count(store: Store) -> None:
            await claims_over(store, f"the limit of {scope} {name!r} is set")
            if concurrency is not None:
                await limits.count_running(store, tenant_id, limiter_id)

        await self._reach.after_commit(count)

    async def remove(self, *, queue: str | None = None, kind: str | None = None, key: str | None = None, tenant: str | None = None) -> bool:
        """Take the bounds away; a kind and its keys have those of the handler again. False: nobody had set any."""
        scope, name = _one(queue=queue, kind=kind, key=key)
        tenant_id = await self._reach.known_tenant_id(tenant)
        if removed := await limits.remove_limit(await self._reach.open(), tenant_id, scope, name):
            await self._reach.noted(tenant_id, "limit.removed", f"{scope}:{name}")
        return removed

    async def list(self, *, tenant: str | None = None) -> list[LimitView]:
        """Every limiter of the tenant that is set or in use, at most 1,000."""
        return await limits.limits(await self._reach.open(), await self._reach.known_tenant_id(tenant))

    async def block(self, key: str, seconds: float | timedelta, *, tenant: str | None = None) -> None:
        """Start nothing with this limit key for `seconds`, by the database's clock. A handler returns RetryAfter(..., key=True)."""
        for_s = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        tenant_id = await self._reach.tenant_id(tenant)
        await limits.block_key(await self._reach.open(), tenant_id, key, for_s)
        await self._reach.noted(tenant_id, "key.blocked", f"key:{key}", seconds=for_s)

    async def unblock(self, key: str, *, tenant: str | None = None) -> None:
        """Undo `block`."""
        tenant_id = await self._reach.known_tenant_id(tenant)
        await limits.block_key(await self._reach.open(), tenant_id, key, None)
        await self._reach.noted(tenant_id, "key.unblocked", f"key:{key}")

    async def pause(self, *, kind: str | None = None, key: str | None = None, everything: bool = False, tenant: str | None = None) -> bool:
        """Start no more jobs of a kind, of a limit key, or (everything=True) of the tenant; running ones go on. False: it was paused.

        When this returns, none starts any more. Queues: `app.pause`.
        """
        scope, name = _one(kind=kind, key=key, everything="" if everything else None)
        changed = await self._switch(tenant, scope, name, True)
        await self._reach.after_commit(lambda store: claims_over(store, f"{scope} {name!r} is paused"))
        return changed

    async def resume(self, *, kind: str | None = None, key: str | None = None, everything: bool = False, tenant: str | None = None) -> bool:
        """Undo `pause`; its jobs come back with their places. False: it was not paused."""
        scope, name = _one(kind=kind, key=key, everything="" if everything else None)
        return await self._switch(tenant, scope, name, False)

    async def _switch(self, tenant: str | None, scope: Scope, name: str, paused: bool) -> bool:
        tenant_id = await self._reach.known_tenant_id(tenant)
        if changed := await limits.pause(await self._reach.open(), tenant_id, scope, name or None, paused):
            subject = f"tenant:{tenant or self._reach.settings.tenant}" if scope == "tenant" else f"{scope}:{name}"
            await self._reach.noted(tenant_id, f"{scope}.{'paused' if paused else 'resumed'}", subject)
        return changed

    async def quota(
        self, tenant: str | None = None, *, queued: int | None = None, rate: float | None = None, per: float = 1.0, burst: int = 0
    ) -> None:
        """Bound what a tenant may put in; QuotaExceeded is raised to its producers. Without bounds: no quota any more
        (NotFound, where there is no such tenant; with bounds it is made, as an enqueue would).

        Args:
            queued: jobs that have not started, 0..100,000,000; enqueues under way at the same moment do not see each other.
            rate: jobs in `per` seconds, exact; `burst` more at once.
        """
        is_off = queued is None and rate is None
        tenant_id = await (self._reach.known_tenant_id if is_off else self._reach.tenant_id)(tenant)
        await limits.set_quota(await self._reach.open(), tenant_id, queued=queued, rate=rate, per_s=per, burst=burst)
        bounds = {} if is_off else {"queued": queued, "rate": rate, "per": per, "burst": burst}
        await self._reach.noted(
            tenant_id, "quota.removed" if is_off else "quota.set", f"tenant:{tenant or self._reach.settings.tenant}", **bounds
        )

    async def quota_of(self, tenant: str | None = None) -> Quota | None:
        """The tenant's quota; None: it has none."""
        return await limits.quota(await self._reach.open(), await self._reach.known_tenant_id(tenant))

    async def skip(self, job_id: UUID | str, *, tenant: str | None = None) -> bool:
        """Let the jobs behind a failed one of its ordering key go on without it. False: it did not fail, or holds nobody up."""
        tenant_id, identity = await self._reach.known_tenant_id(tenant), as_uuid(job_id)
        if skipped := await limits.skip_ordered(await self._reach.open(), tenant_id, identity):
            await self._reach.noted(tenant_id, "job.skipped", f"job:{identity}")
        return skipped

    async def held_by(self, job_id: UUID | str, *, tenant: str | None = None) -> HeldBy | None:
        """What a limited job waits for; None: it does not wait for a limiter."""
        return await limits.held_by(await self._reach.open(), await self._reach.known_tenant_id(tenant), as_uuid(job_id))


async def claims_over(store: Store, done: str) -> None:
    """Wait for the claims under way, which may have begun before `done` was committed.

    Raises:
        TimedOut: one of them still runs after CLAIMS_WITHIN_S.
    """
    if not await limits.await_claims(store, CLAIMS_WITHIN_S):
        raise TimedOut(
            f"{done}, but a claim that began before has not ended within {CLAIMS_WITHIN_S:g} s and may still start jobs. "
            "Somebody keeps a transaction open in which trunkline.claim was called: end it, then ask again."
        )


def _one(**given: str | None) -> tuple[Scope, str]:
    named = [(scope, name) for scope, name in given.items() if name is not None]
    if len(named) != 1:
        raise InvalidInput(f"{', '.join(scope for scope, _ in named) or 'nothing'} is given: need exactly one of {', '.join(given)}.")
    scope, name = named[0]
    return ("tenant" if scope == "everything" else scope), name  # type: ignore[return-value]
