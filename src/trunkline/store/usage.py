"""How much was done: jobs by day, kind and tenant.

Always true: nothing is written; the time range is a range of ids, so only the slices of history that it touches are read.
Called by: engine.usage.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import NamedTuple

from trunkline.model.job import id_at
from trunkline.store.pool import Store

MOST_ROWS = 100_000
SECONDS = 300.0  # a report may take longer than a statement of the queue
USAGE = """select t.name, (j.created_at at time zone $4)::date, k.name, count(*),
       count(*) filter (where o.state = 1), count(*) filter (where o.state = 2), count(*) filter (where o.state = 3),
       count(*) filter (where o.attempt > 1),
       avg(extract(epoch from o.finished_at - o.started_at))::float8,
       (percentile_cont(0.95) within group (order by extract(epoch from o.finished_at - o.started_at)))::float8,
       avg(extract(epoch from o.started_at - j.created_at))::float8
  from trunkline.job as j
  join trunkline.kind as k on k.tenant_id = j.tenant_id and k.kind_id = j.kind_id
  join trunkline.tenant as t on t.tenant_id = j.tenant_id
  left join trunkline.outcome as o on o.tenant_id = j.tenant_id and o.job_id = j.id
 where ($1::bigint is null or j.tenant_id = $1) and j.id >= $2 and j.id < $3 and ($5::text[] is null or k.name = any ($5))
 group by 1, 2, 3 order by 2, 1, 3 limit $6"""


class Usage(NamedTuple):
    """One kind on one day in one tenant; days are those on which jobs were enqueued.

    Attributes:
        retried: ended after more than one attempt. mean_s, p95_s: seconds of the attempt that ended it; None: none ended.
        wait_s: mean seconds from enqueued to the start of that attempt.
    """

    tenant: str
    day: date
    kind: str
    enqueued: int
    completed: int
    failed: int
    cancelled: int
    retried: int
    mean_s: float | None
    p95_s: float | None
    wait_s: float | None

    @property
    def open(self) -> int:
        """Not ended yet."""
        return self.enqueued - self.completed - self.failed - self.cancelled


async def usage(store: Store, tenant_id: int | None, since: datetime, until: datetime, zone: str, kinds: list[str] | None) -> list[Usage]:
    """At most `MOST_ROWS` + 1 rows by day, tenant and kind; `tenant_id` None: of every tenant.

    Args:
        zone: of the days, an IANA name.
    """
    rows = await store.fetch(USAGE, tenant_id, id_at(since), id_at(until), zone, kinds, MOST_ROWS + 1, timeout=SECONDS)
    return [Usage(*row) for row in rows]
