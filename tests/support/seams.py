"""What always holds where batches, parents, limits, ordering keys, unique keys and pauses meet, read in one snapshot."""

from __future__ import annotations

from tests.support.limited import wrongs as limits_wrong
from trunkline.store import Store

WRONG = """
with home as (
  select tenant_id, job_id, 'ready' as home from trunkline.ready union all select tenant_id, job_id, 'deferred' from trunkline.deferred
  union all select tenant_id, job_id, 'lease' from trunkline.lease union all select tenant_id, job_id, 'outcome' from trunkline.outcome
), homes as (
  select j.tenant_id, j.id, j.options::jsonb as options, count(h.home) as count, min(h.home) as home from trunkline.job as j
    left join home as h on (h.tenant_id, h.job_id) = (j.tenant_id, j.id) group by j.tenant_id, j.id, j.options::jsonb
), sums as (
  select b.tenant_id, b.batch_id, b.total + coalesce(sum(d.total), 0) as total, b.completed + coalesce(sum(d.completed), 0) as completed,
         b.failed + coalesce(sum(d.failed), 0) as failed, b.cancelled + coalesce(sum(d.cancelled), 0) as cancelled
    from trunkline.batch as b left join trunkline.batch_delta as d on (d.tenant_id, d.batch_id) = (b.tenant_id, b.batch_id)
   group by b.tenant_id, b.batch_id
), children as (
  select c.tenant_id, c.batch_id, count(*) as total, count(*) filter (where o.state = 1) as completed, count(*) filter (where o.state = 2) as failed,
         count(*) filter (where o.state = 3) as cancelled
    from trunkline.batch_job as c left join trunkline.outcome as o on (o.tenant_id, o.job_id) = (c.tenant_id, c.job_id) group by c.tenant_id, c.batch_id
)
select 'homes' as what, h.id::text as which, h.count::text as how from homes as h where h.count <> 1
union all
select 'batch sums', s.batch_id::text, format('%s of %s', s, c) from sums as s left join children as c on (c.tenant_id, c.batch_id) = (s.tenant_id, s.batch_id)
 where (s.total, s.completed, s.failed, s.cancelled) is distinct from (coalesce(c.total, 0), coalesce(c.completed, 0), coalesce(c.failed, 0), coalesce(c.cancelled, 0))
union all
select 'done with children that live', b.batch_id::text, '' from trunkline.batch as b join sums as s on (s.tenant_id, s.batch_id) = (b.tenant_id, b.batch_id)
 where b.done_at is not null and s.total <> s.completed + s.failed + s.cancelled
union all
select 'ordering row of an ended job', o.job_id::text, e.state::text from trunkline.ordering as o
  join trunkline.outcome as e on (e.tenant_id, e.job_id) = (o.tenant_id, o.job_id) where e.state <> 2
union all
select 'no ordering row of a live job', h.id::text, h.home from homes as h where h.home <> 'outcome' and h.options ->> 'ordering_key' is not null
   and not exists (select from trunkline.ordering as o where (o.tenant_id, o.job_id) = (h.tenant_id, h.id))
union all
select 'slot of an ended job', s.job_id::text, '' from trunkline.slot as s join trunkline.outcome as e on (e.tenant_id, e.job_id) = (s.tenant_id, s.job_id)
union all
select 'unique key of an ended job', u.key, '' from trunkline.unique_key as u join trunkline.outcome as e on (e.tenant_id, e.job_id) = (u.tenant_id, u.job_id)
 where u.expires_at is null
union all
select 'waits for nobody', d.job_id::text, '' from trunkline.deferred as d where d.reason = 'waiting'
   and not exists (select from trunkline.dependency as e where (e.tenant_id, e.child_id) = (d.tenant_id, d.job_id))
union all
select 'waits for an ended parent', e.child_id::text, e.parent_id::text from trunkline.dependency as e
  join trunkline.deferred as d on (d.tenant_id, d.job_id) = (e.tenant_id, e.child_id) and d.reason = 'waiting'
  join trunkline.outcome as o on (o.tenant_id, o.job_id) = (e.tenant_id, e.parent_id)
 where not exists (select from trunkline.ended_parent as p where (p.tenant_id, p.job_id) = (e.tenant_id, e.parent_id))
union all
select 'waits for a parent that does not know', e.child_id::text, h.job_id::text from trunkline.dependency as e
  join (select tenant_id, job_id, traits from trunkline.ready union all select tenant_id, job_id, traits from trunkline.deferred
        union all select tenant_id, job_id, traits from trunkline.lease) as h on (h.tenant_id, h.job_id) = (e.tenant_id, e.parent_id)
  join trunkline.deferred as d on (d.tenant_id, d.job_id) = (e.tenant_id, e.child_id) and d.reason = 'waiting'
 where h.traits & 4 = 0"""


async def wrongs(store: Store) -> list[tuple[str, str, str]]:
    """Every breach, of limits too; none, if all is well."""
    return [tuple(row) for row in await store.fetch(WRONG)] + await limits_wrong(store)
