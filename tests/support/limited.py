"""What always holds of limiters, read in one snapshot, and the shortest words for a test about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from tests.support.queue import Queue
from trunkline.model import Claimed
from trunkline.store import Store, limits
from trunkline.testing import DatabaseClock

WRONG = """
select 'running' as what, l.limiter_id::text as which, format('%s of %s, slots %s of %s', l.promised, l.running, s.promised, s.running) as how
  from trunkline.limiter as l
 cross join lateral (select count(*) as running, count(s.promised_at) as promised from trunkline.slot as s
                      where (s.tenant_id, s.limiter_id) = (l.tenant_id, l.limiter_id)) as s
 where (l.running, l.promised) <> (s.running, s.promised)
union all
select 'over', l.limiter_id::text, format('%s leases, at most %s', count(*), l.concurrency)
  from trunkline.limiter as l join trunkline.slot as s on (s.tenant_id, s.limiter_id) = (l.tenant_id, l.limiter_id)
  join trunkline.lease as e on (e.tenant_id, e.job_id) = (s.tenant_id, s.job_id)
 group by l.tenant_id, l.limiter_id having count(*) > l.concurrency
union all
select 'held slot without a lease', s.job_id::text, '' from trunkline.slot as s where s.promised_at is null
   and not exists (select from trunkline.lease as e where (e.tenant_id, e.job_id) = (s.tenant_id, s.job_id) and e.traits & 8 <> 0)
union all
select 'promise without a waiting job', s.job_id::text, '' from trunkline.slot as s where s.promised_at is not null
   and not exists (select from trunkline.ready as r where (r.tenant_id, r.job_id) = (s.tenant_id, s.job_id) and r.traits & 16 <> 0)
   and not exists (select from trunkline.deferred as d where (d.tenant_id, d.job_id) = (s.tenant_id, s.job_id) and d.traits & 16 <> 0)
union all
select 'trait 8 without a slot', e.job_id::text, '' from trunkline.lease as e where e.traits & 8 <> 0
   and not exists (select from trunkline.slot as s where (e.tenant_id, e.job_id) = (s.tenant_id, s.job_id) and s.promised_at is null)
union all
select 'trait 16 without a promise', w.job_id::text, ''
  from (select tenant_id, job_id, traits from trunkline.ready union all select tenant_id, job_id, traits from trunkline.deferred) as w where w.traits & 16 <> 0
   and not exists (select from trunkline.slot as s where (w.tenant_id, w.job_id) = (s.tenant_id, s.job_id) and s.promised_at is not null)
union all
select 'a trait that belongs to leases', w.job_id::text, w.traits::text
  from (select job_id, traits from trunkline.ready union all select job_id, traits from trunkline.deferred) as w where w.traits & 136 <> 0
union all
select 'in a line and given a time', d.job_id::text, '' from trunkline.deferred as d where d.limiter_id is not null and (d.run_at is not null or d.reason <> 'limited')
union all
select 'a job with a key or a promise where claims do not look', w.job_id::text, w.traits::text
  from (select tenant_id, queue_id, job_id, traits from trunkline.ready union all select tenant_id, queue_id, job_id, traits from trunkline.deferred
        union all select tenant_id, queue_id, job_id, traits from trunkline.lease) as w
  join trunkline.queue as q on (q.tenant_id, q.queue_id) = (w.tenant_id, w.queue_id) where w.traits & 112 <> 0 and q.gates & 1 = 0
union all
select 'a limiter that claims do not look at', l.limiter_id::text, l.scope
  from trunkline.limiter as l join trunkline.queue as q on q.tenant_id = l.tenant_id and (l.scope = 'kind' or l.scope = 'queue' and q.queue_id = l.owner_id)
 where q.gates & 1 = 0
union all
select 'ordering key with two leases', o.key, count(*)::text
  from trunkline.ordering as o join trunkline.lease as e on (e.tenant_id, e.job_id) = (o.tenant_id, o.job_id) group by o.tenant_id, o.queue_id, o.key having count(*) > 1"""


async def wrongs(store: Store) -> list[tuple[str, str, str]]:
    """Every breach of what always holds; none, if all is well."""
    return [tuple(row) for row in await store.fetch(WRONG)]


async def bound(queue: Queue, scope: limits.Scope = "key", name: str = "k", **bounds: Any) -> int:
    """Set a limit; its id."""
    how = {"concurrency": None, "rate": None, "per_s": 1.0, "burst": 0, **bounds}
    return await limits.set_limit(queue.store, queue.tenant_id, scope, name, **how)


async def keyed(queue: Queue, count: int, key: str = "k", **options: Any) -> list[UUID]:
    """Jobs with one limit key."""
    return [await queue.put({"n": n}, limit_key=key, **options) for n in range(count)]


async def ordered(queue: Queue, count: int, key: str = "o", **options: Any) -> list[UUID]:
    """Jobs with one ordering key."""
    return [await queue.put({"n": n}, ordering_key=key, **options) for n in range(count)]


def ids(claimed: list[Claimed]) -> list[UUID]:
    """Their job ids, in order."""
    return [job.job_id for job in claimed]


BUSY_DUTIES = """update trunkline.duty set next_run_at = '-infinity', last_run_at = null
 where name in ('rescue', 'deadlines', 'limits', 'limits_gone', 'batches')"""
LEFT = """select 'ready' as home, job_id::text, traits, null as limiter_id from trunkline.ready
union all select reason, job_id::text, traits, limiter_id from trunkline.deferred union all select 'lease', job_id::text, traits, null from trunkline.lease"""


async def drain(clock: DatabaseClock, queues: Sequence[Queue], *, rounds: int = 400) -> None:
    """Everybody else is quiet: open what the tests pause, and run what there is until nothing lives. AssertionError: something is stranded."""
    store, tenant_id = queues[0].store, queues[0].tenant_id
    for scope, name in (("key", "two"), ("kind", "work"), ("queue", "play"), ("tenant", None), ("key", "rated")):
        await limits.pause(store, tenant_id, scope, name, False)  # type: ignore[arg-type]
    for queue in queues:
        queue.session_id = await queue.session(1e9)
    for _ in range(rounds):
        await clock.forward(10)
        await store.fetch(BUSY_DUTIES)
        await queues[0].tick(ttl_s=1e9)
        for queue in queues:
            while claimed := await queue.claim(20):
                await queue.complete(*claimed)
        assert [] == await wrongs(store)
        failed = await store.fetch("select job_id from trunkline.ordering as o join trunkline.outcome as e using (tenant_id, job_id)")
        for row in failed:
            await limits.skip_ordered(store, tenant_id, row[0])
        if not await store.fetch(LEFT):
            return
    left = await store.fetch(LEFT)
    raise AssertionError(f"stranded: {[tuple(row) for row in left][:10]}")
