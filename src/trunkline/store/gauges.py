"""What gauges show, read in a few bounded statements: jobs by queue and state, limiters, sizes, slices, the oldest snapshot.

Always true: nothing here writes or waits for a lock; every count stops at a bound, so that a look costs milliseconds whatever is queued.
Called by: engine.gauges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from trunkline.store import alerts, history
from trunkline.store.history import Storage
from trunkline.store.pool import Store

MOST_QUEUES = 500  # queues that are shown
MOST_READY = 10_000  # jobs counted of each of them
MOST_REST = 100_000  # jobs counted that are deferred, and that run, in all
# The queues that have jobs in line, one index probe each; their first place tells how long it has waited.
READY = f"""select t.name, q.name, w.count, s.waited from trunkline.queue as q
 cross join lateral (select extract(epoch from clock_timestamp())::float8 - min(f.ord)::float8 / 4096 / 1000000 - 1735689600 as waited
                       from unnest(q.priorities) as p (priority)
                      cross join lateral (select r.ord from trunkline.ready as r
                                           where r.tenant_id = q.tenant_id and r.queue_id = q.queue_id and r.priority = p.priority order by r.ord limit 1) as f) as s
 cross join lateral (select count(*) from (select from trunkline.ready as r where r.tenant_id = q.tenant_id and r.queue_id = q.queue_id limit {MOST_READY}) as r) as w
  join trunkline.tenant as t on t.tenant_id = q.tenant_id
 where s.waited is not null order by w.count desc limit {MOST_QUEUES}"""  # noqa: S608 - constants only
REST = f"""select t.name, q.name, x.state, x.count from (
  select d.tenant_id, d.queue_id, d.reason as state, count(*) from (select d.tenant_id, d.queue_id, d.reason from trunkline.deferred as d limit {MOST_REST}) as d group by 1, 2, 3
  union all
  select l.tenant_id, l.queue_id, 'active', count(*) from (select l.tenant_id, l.queue_id from trunkline.lease as l limit {MOST_REST}) as l group by 1, 2) as x
  join trunkline.queue as q on q.tenant_id = x.tenant_id and q.queue_id = x.queue_id
  join trunkline.tenant as t on t.tenant_id = x.tenant_id
 order by x.count desc limit {3 * MOST_QUEUES}"""  # noqa: S608 - constants only
LIMITERS = """select count(*) filter (where l.running > l.promised), count(*) filter (where l.blocked_until > trunkline.now()),
       count(*) filter (where l.paused_at is not null), (select count(*) from trunkline.waiting_lines())
  from (select * from trunkline.limiter limit 100000) as l"""
PROCESSES = "select count(*) from trunkline.session as s where s.dead_at is null and s.expires_at > trunkline.now()"


class QueueJobs(NamedTuple):
    """Jobs of a queue in one state: ready, active, scheduled, retrying, no_handler, waiting, limited."""

    tenant: str
    queue: str
    state: str
    found: int


class Waited(NamedTuple):
    """How long the first job in line has stood there, by the true clock."""

    tenant: str
    queue: str
    seconds: float


class Limiters(NamedTuple):
    """Limiters with jobs that run, that are shut until a time, that are paused, and that somebody waits for."""

    running: int
    blocked: int
    paused: int
    waited_for: int


@dataclass(frozen=True, slots=True)
class Look:
    """What was found at one moment."""

    jobs: tuple[QueueJobs, ...]
    waited: tuple[Waited, ...]
    limiters: Limiters
    storage: Storage
    alerts: dict[str, int]
    processes: int


async def look(store: Store) -> Look:
    """Ask everything once."""
    ready = await store.fetch(READY)
    rest = await store.fetch(REST)
    limiters = await store.fetchrow(LIMITERS)
    assert limiters is not None
    return Look(
        jobs=(*(QueueJobs(row[0], row[1], "ready", row[2]) for row in ready), *(QueueJobs(*row) for row in rest)),
        waited=tuple(Waited(row[0], row[1], max(row[3], 0.0)) for row in ready),
        limiters=Limiters(*limiters),
        storage=await history.storage(store),
        alerts=await alerts.active(store),
        processes=await store.fetchval(PROCESSES),
    )
