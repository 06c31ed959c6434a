-- What ended, by queue and minute: processes add their counts, duties read sums of a few minutes and let old ones go.

-- Adds counts of several queues, parallel arrays, one row a queue. Rows in key order, so that two processes wait for each other and
-- never deadlock. A queue that is gone is left out.
create or replace function trunkline.note_tallies(
  p_tenant_ids bigint[], p_queues text[], p_completed integer[], p_failed integer[], p_retried integer[], p_busy_s float8[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  insert into trunkline.tally as t (tenant_id, queue_id, at, completed, failed, retried, busy_s)
  select q.tenant_id, q.queue_id, date_trunc('minute', trunkline.now()), a.completed, a.failed, a.retried, a.busy_s
    from unnest(p_tenant_ids, p_queues, p_completed, p_failed, p_retried, p_busy_s) as a (tenant_id, queue, completed, failed, retried, busy_s)
    join trunkline.queue as q on q.tenant_id = a.tenant_id and q.name = a.queue
   order by q.tenant_id, q.queue_id
      on conflict (tenant_id, queue_id, at) do update
     set completed = t.completed + excluded.completed, failed = t.failed + excluded.failed,
         retried = t.retried + excluded.retried, busy_s = t.busy_s + excluded.busy_s
$$;

-- The same of attempts that `rescue` ended: nobody else counts them. `p_settled`: what settle made of them.
create or replace function trunkline.note_rescued(p_tenant_id bigint, p_job_ids uuid[], p_nexts text[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
  insert into trunkline.tally as t (tenant_id, queue_id, at, completed, failed, retried, busy_s)
  select p_tenant_id, j.queue_id, date_trunc('minute', trunkline.now()), 0, count(*) filter (where a.next = 'failed'),
         count(*) filter (where a.next in ('deferred', 'ready')), 0
    from unnest(p_job_ids, p_nexts) as a (job_id, next)
    join trunkline.job as j on j.tenant_id = p_tenant_id and j.id = a.job_id group by j.queue_id order by j.queue_id
      on conflict (tenant_id, queue_id, at) do update set failed = t.failed + excluded.failed, retried = t.retried + excluded.retried
$$;

-- Lets go of what is older than two hours, some at a time.
create or replace function trunkline.sweep_tallies() returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  delete from trunkline.tally as t
   where t.ctid = any (array(select c.ctid from trunkline.tally as c where c.at < trunkline.now() - interval '2 hours'
                              order by c.at limit 20000 for update skip locked))
$$;

-- How the queues stand, for the `monitor-states` of applications: jobs in the live tables, each count up to 10,000 of a queue and 100,000
-- in all, and what ended within the last five minutes. At most 1,000 queues, the fullest.
create or replace function trunkline.monitor_states()
returns table (tenant text, queue text, created bigint, retry bigint, active bigint, completed bigint, failed bigint, retried bigint, busy_s float8)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off as $$
declare
  v_now timestamptz := trunkline.now();
begin
  return query
  with lined as (
    select l.tenant_id, l.queue_id, count(*) filter (where l.failures = 0) as created, count(*) filter (where l.failures > 0) as retry
      from trunkline.tenant as t
     cross join lateral (select * from trunkline.queue as q where q.tenant_id = t.tenant_id limit 200) as q
     cross join lateral (select r.tenant_id, r.queue_id, r.failures from trunkline.ready as r
                          where r.tenant_id = q.tenant_id and r.queue_id = q.queue_id limit 10000) as l group by 1, 2 limit 10000
  ), later as (
    select d.tenant_id, d.queue_id, count(*) filter (where d.reason <> 'retrying') as created, count(*) filter (where d.reason = 'retrying') as retry
      from (select c.tenant_id, c.queue_id, c.reason from trunkline.deferred as c limit 100000) as d group by 1, 2
  ), running as (
    select l.tenant_id, l.queue_id, count(*) as active from (select c.tenant_id, c.queue_id from trunkline.lease as c limit 100000) as l group by 1, 2
  ), ended as (
    select t.tenant_id, t.queue_id, sum(t.completed) as completed, sum(t.failed) as failed, sum(t.retried) as retried, sum(t.busy_s) as busy_s
      from trunkline.tally as t where t.at > v_now - interval '5 minutes' group by 1, 2
  ), every as (
    select k.tenant_id, k.queue_id from lined as k union select k.tenant_id, k.queue_id from later as k
     union select k.tenant_id, k.queue_id from running as k union select k.tenant_id, k.queue_id from ended as k
  )
  select t.name, q.name, coalesce(a.created, 0) + coalesce(b.created, 0), coalesce(a.retry, 0) + coalesce(b.retry, 0), coalesce(r.active, 0),
         coalesce(e.completed, 0)::bigint, coalesce(e.failed, 0)::bigint, coalesce(e.retried, 0)::bigint, coalesce(e.busy_s, 0)
    from every as k
    join trunkline.queue as q on q.tenant_id = k.tenant_id and q.queue_id = k.queue_id
    join trunkline.tenant as t on t.tenant_id = k.tenant_id
    left join lined as a on (a.tenant_id, a.queue_id) = (k.tenant_id, k.queue_id)
    left join later as b on (b.tenant_id, b.queue_id) = (k.tenant_id, k.queue_id)
    left join running as r on (r.tenant_id, r.queue_id) = (k.tenant_id, k.queue_id)
    left join ended as e on (e.tenant_id, e.queue_id) = (k.tenant_id, k.queue_id)
   order by coalesce(a.created, 0) + coalesce(b.created, 0) + coalesce(r.active, 0) + coalesce(e.completed, 0) desc, t.name, q.name limit 1000;
end $$;
