-- What people read. Views run as the asker, so row-level security holds through them.

-- Where every job stands. `state` is derived from which table holds the row.
-- Planner-proof (docs/decisions/0002): `ready` is often believed empty, and then any of its indexes seems as good as its key. One row at the
-- most is asked for, in the order of the key within a range of one, which leaves only the key without a sort; and nothing that is joined can
-- change how many jobs are believed to be there, so that the newest are read from the end of their index.
create or replace view trunkline.jobs with (security_invoker = true) as
select j.tenant_id, j.id, q.name as queue, k.name as kind, j.user_id, j.created_at, j.payload, j.options,
       case when o.job_id is not null then (array['completed', 'failed', 'cancelled'])[o.state]
            when l.job_id is not null then 'active'
            when r.job_id is not null then 'queued'
            when d.job_id is not null then d.reason end as state,
       coalesce(o.attempt, l.attempt, r.attempt, d.attempt) as attempt,
       coalesce((o.detail ->> 'failures')::integer, l.failures, r.failures, d.failures, 0) as failures,
       coalesce(l.priority, r.priority, d.priority, (o.detail ->> 'priority')::smallint) as priority,
       d.run_at,
       coalesce(o.started_at, l.claimed_at) as started_at,
       l.deadline, o.finished_at, o.result, o.detail -> 'error' as error,
       coalesce(l.progress, o.detail -> 'progress') as progress,
       l.cancel_requested_at
  from trunkline.job as j
 cross join lateral (select t.name from trunkline.queue as t where t.tenant_id = j.tenant_id and t.queue_id = j.queue_id limit 1) as q
 cross join lateral (select t.name from trunkline.kind as t where t.tenant_id = j.tenant_id and t.kind_id = j.kind_id limit 1) as k
  left join lateral (select t.* from trunkline.outcome as t where t.tenant_id = j.tenant_id and t.job_id = j.id limit 1) as o on true
  left join lateral (select t.* from trunkline.lease as t
                      where t.tenant_id = j.tenant_id and t.job_id >= j.id and t.job_id <= j.id order by t.job_id limit 1) as l on true
  left join lateral (select t.* from trunkline.ready as t
                      where t.tenant_id = j.tenant_id and t.job_id >= j.id and t.job_id <= j.id order by t.job_id limit 1) as r on true
  left join lateral (select t.* from trunkline.deferred as t
                      where t.tenant_id = j.tenant_id and t.job_id >= j.id and t.job_id <= j.id order by t.job_id limit 1) as d on true
 where o.job_id is not null or l.job_id is not null or r.job_id is not null or d.job_id is not null;   -- else its history is just leaving

-- Live counts per queue: index-only counts of small tables, no counter row.
create or replace view trunkline.queues with (security_invoker = true) as
select q.tenant_id, q.queue_id, q.name, q.paused_at,
       (select count(*) from trunkline.ready as r where r.tenant_id = q.tenant_id and r.queue_id = q.queue_id) as ready,
       (select count(*) from trunkline.deferred as d where d.tenant_id = q.tenant_id and d.queue_id = q.queue_id) as deferred,
       (select count(*) from trunkline.lease as l where l.tenant_id = q.tenant_id and l.queue_id = q.queue_id) as active,
       (select count(*) from trunkline.outcome as o join trunkline.job as j on j.tenant_id = o.tenant_id and j.id = o.job_id
         where o.tenant_id = q.tenant_id and o.state = 2 and j.queue_id = q.queue_id) as failed
  from trunkline.queue as q;

-- Batches with their counts at this moment.
create or replace view trunkline.batches with (security_invoker = true) as
select b.tenant_id, b.batch_id as id, b.name,
       case when b.done_at is not null then 'done' when b.cancelled_at is not null then 'cancelling' when b.sealed_at is null then 'open' else 'running' end as state,
       b.total + d.total as total, b.completed + d.completed as completed, b.failed + d.failed as failed, b.cancelled + d.cancelled as cancelled,
       b.created_at, b.sealed_at, b.done_at, b.cancelled_at, b.success_job, b.complete_job
  from trunkline.batch as b
 cross join lateral (select coalesce(sum(d.total), 0)::integer as total, coalesce(sum(d.completed), 0)::integer as completed,
                            coalesce(sum(d.failed), 0)::integer as failed, coalesce(sum(d.cancelled), 0)::integer as cancelled
                       from trunkline.batch_delta as d where d.tenant_id = b.tenant_id and d.batch_id = b.batch_id) as d;
