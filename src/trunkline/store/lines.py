"""Lines that stand: queues whose first job has waited for long, and what can be seen of those who should take it.

Always true: nothing here writes or waits for a lock; counts stop at a bound.
Called by: cli (doctor).
"""

from __future__ import annotations

from typing import NamedTuple

from trunkline.store.inspect import MOST
from trunkline.store.pool import Store

MOST_LINES = 20
# One index probe for each priority of a queue finds its first place. A pause of the queue or of its tenant is somebody's wish.
STANDING_LINES = f"""select t.name, q.name, w.count, s.waited, r.count,
       exists (select from trunkline.session as z where z.dead_at is null and z.expires_at > trunkline.now() and q.queue_id = any (z.asleep_on))
  from trunkline.queue as q
 cross join lateral (select extract(epoch from clock_timestamp())::float8 - min(f.ord)::float8 / 4096 / 1000000 - 1735689600 as waited
                       from unnest(q.priorities) as p (priority)
                      cross join lateral (select a.ord from trunkline.ready as a
                                           where a.tenant_id = q.tenant_id and a.queue_id = q.queue_id and a.priority = p.priority order by a.ord limit 1) as f) as s
  join trunkline.tenant as t on t.tenant_id = q.tenant_id and t.gates & 2 = 0
 cross join lateral (select count(*) from (select from trunkline.ready as a where a.tenant_id = q.tenant_id and a.queue_id = q.queue_id limit {MOST}) as a) as w
 cross join lateral (select count(*) from (select from trunkline.lease as a where a.tenant_id = q.tenant_id and a.queue_id = q.queue_id limit {MOST}) as a) as r
 where q.paused_at is null and s.waited > $1 order by s.waited desc limit {MOST_LINES}"""  # noqa: S608 - constants only


class StandingLine(NamedTuple):
    """A queue whose first job has stood there for `waited_s`; `jobs` and `running` stop at MOST. `has_sleeper`: a worker of it is connected."""

    tenant: str
    queue: str
    jobs: int
    waited_s: float
    running: int
    has_sleeper: bool


async def standing(store: Store, longer_than_s: float) -> list[StandingLine]:
    """Those of every tenant that are not paused, the longest first."""
    return [StandingLine(*row) for row in await store.fetch(STANDING_LINES, longer_than_s)]
