-- Limits as people read them. The view runs as the asker, so row-level security holds through it.

-- `running` holds a slot, `promised` keeps one for a job that is in line for a worker, `waiting` is who would have more (up to 10,000).
-- `limiter_id` null: declared by a handler and not in use; scope kind_key without a key: for each key of the kind.
create or replace view trunkline.limits with (security_invoker = true) as
select l.tenant_id, l.limiter_id, l.scope, q.name as queue, k.name as kind, nullif(l.name, '') as key, l.is_own,
       l.concurrency, 1000000.0::float8 / l.every_us as rate, l.burst, l.running - l.promised as running, l.promised,
       (select count(*) from (select from trunkline.deferred as d where d.tenant_id = l.tenant_id and d.limiter_id = l.limiter_id limit 10000) as w) as waiting,
       case when l.every_us is not null then l.tat - l.burst * l.every_us * interval '1 microsecond' end as next_at,
       l.blocked_until, l.paused_at
  from trunkline.limiter as l
  left join trunkline.queue as q on l.scope in ('queue', 'ordering') and q.tenant_id = l.tenant_id and q.queue_id = l.owner_id
  left join trunkline.kind as k on l.scope in ('kind', 'kind_key') and k.tenant_id = l.tenant_id and k.kind_id = l.owner_id
 union all          -- what a handler declares, also before the first job: its limiter is made when it is needed
select t.tenant_id, null, b.scope, null, k.name, null, false, b.concurrency, 1000000.0::float8 / b.every_us, b.burst, 0, 0, 0, null, null, null
  from trunkline.tenant as t
  join trunkline.kind as k on k.tenant_id = t.tenant_id
       or k.tenant_id = 0 and not exists (select from trunkline.kind as o where o.tenant_id = t.tenant_id and o.name = k.name)
 cross join lateral (values ('kind', k.concurrency, k.every_us, k.burst), ('kind_key', k.key_concurrency, k.key_every_us, k.key_burst)) as b (scope, concurrency, every_us, burst)
 where t.tenant_id <> 0 and coalesce(b.concurrency, b.every_us) is not null
   and not (b.scope = 'kind' and exists (select from trunkline.limiter as l where l.tenant_id = t.tenant_id and l.scope = 'kind' and l.owner_id = k.kind_id));

-- Why a limited job waits: the limiter in whose line it stands, or (it was given a time) the one that promised it a slot; for an
-- ordering key also the job that everybody waits for, and how that one stands.
create or replace function trunkline.held_by(p_tenant_id bigint, p_job_id uuid)
returns table (limiter_id bigint, ahead bigint, first_id uuid, first_state text)
language sql stable security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
  select l.limiter_id,
         case when l.scope = 'ordering' then (
                select count(*) from (select from trunkline.ordering as a where a.tenant_id = l.tenant_id and a.queue_id = l.owner_id and a.key = l.name
                                         and (a.ord, a.job_id) < (o.ord, o.job_id) limit 10000) as a)
              when d.limiter_id is not null then (
                select count(*) from (select from trunkline.deferred as a where a.tenant_id = l.tenant_id and a.limiter_id = l.limiter_id
                                         and (a.priority > d.priority or a.priority = d.priority and a.ord < d.ord) limit 10000) as a)
              else 0 end,
         h.id, j.state
    from trunkline.deferred as d
    join trunkline.limiter as l on l.tenant_id = d.tenant_id
     and l.limiter_id = coalesce(d.limiter_id, (select s.limiter_id from trunkline.slot as s where s.tenant_id = d.tenant_id and s.job_id = d.job_id limit 1))
    left join trunkline.ordering as o on o.tenant_id = d.tenant_id and o.job_id = d.job_id
    left join lateral (select trunkline.head_of(l) as id where l.scope = 'ordering') as h on true
    left join trunkline.jobs as j on j.tenant_id = d.tenant_id and j.id = h.id
   where d.tenant_id = p_tenant_id and d.job_id = p_job_id and d.reason = 'limited'
$$;
