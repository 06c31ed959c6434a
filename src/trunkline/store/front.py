"""Which queues have jobs that can run now, the most urgent first. A hint: what is claimed is decided by the claim.

Called by: compat.
"""

from __future__ import annotations

from collections.abc import Sequence

from trunkline.store.pool import Store

# Two looks at the claim's index per queue, whatever is queued.
FRONT = """select q.queue_id, q.name
  from trunkline.queue as q
 cross join lateral (select max(r.priority) as priority from trunkline.ready as r where r.tenant_id = $1 and r.queue_id = q.queue_id) as m
 cross join lateral (select min(r.ord) as ord from trunkline.ready as r
                      where r.tenant_id = $1 and r.queue_id = q.queue_id and r.priority = m.priority) as f
 where q.tenant_id = $1 and ($2::text[] is null or q.name = any ($2)) and q.paused_at is null and m.priority is not null
 order by m.priority desc, f.ord limit 100"""


async def front(store: Store, tenant_id: int, queues: Sequence[str] | None) -> list[tuple[int, str]]:
    """(queue id, name) of those with jobs in line; `queues` None: of all the tenant's."""
    return [(row[0], row[1]) for row in await store.fetch(FRONT, tenant_id, None if queues is None else list(queues))]
