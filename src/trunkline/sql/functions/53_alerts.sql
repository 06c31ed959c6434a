-- Alerts: what is wrong by the numbers of the last minutes, said once when it begins and once when it is over.
--
--   a condition is true ──► raised ──► (true, or nearly: kept) ──► not even nearly true for a while ──► resolved
--
-- Nearly: above four fifths of the threshold. So a value that swings around its threshold is one alert. Every process may call
-- `watch_alerts` at any moment; one per interval does the work, and whoever comes after a process that died goes on from the table.
-- Every question stops at a bound: nothing here grows with the jobs in line or with history (tests/sql/test_alerts.py).

-- Rates of queues in which at least `p_least` attempts ended within five to six minutes. A threshold of 0 is off.
create or replace function trunkline.rate_alarms(p_least integer, p_failure float8, p_retry float8, p_slowdown float8) returns setof trunkline.alarm
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off as $$
declare
  v_since timestamptz := date_trunc('minute', trunkline.now()) - interval '5 minutes';
begin
  return query
  select r.tenant_id, x.name, q.name, x.value, x.threshold
    from (select t.tenant_id, t.queue_id, sum(t.completed)::float8 as completed, sum(t.failed)::float8 as failed,
                 sum(t.retried)::float8 as retried, sum(t.busy_s) as busy_s
            from trunkline.tally as t where t.at >= v_since group by 1, 2
          having sum(t.completed + t.failed + t.retried) >= p_least order by sum(t.completed + t.failed + t.retried) desc limit 1000) as r
    join trunkline.queue as q on q.tenant_id = r.tenant_id and q.queue_id = r.queue_id
   cross join lateral (select sum(t.completed)::float8 as completed, sum(t.busy_s) as busy_s from trunkline.tally as t
                        where t.tenant_id = r.tenant_id and t.queue_id = r.queue_id and t.at < v_since and t.at >= v_since - interval '1 hour') as b
   cross join lateral (values
      ('failure_rate', case when r.completed + r.failed >= p_least then r.failed / (r.completed + r.failed) end, p_failure),
      ('retry_rate', r.retried / (r.completed + r.failed + r.retried), p_retry),
      ('slow', case when r.completed >= p_least and b.completed >= p_least and r.busy_s / r.completed - b.busy_s / b.completed > 0.05
                    then r.busy_s / r.completed / greatest(b.busy_s / b.completed, 0.001) end, p_slowdown)) as x (name, value, threshold)
   where x.threshold > 0 and x.value > 0.8 * x.threshold;
end $$;

-- Failed jobs that are kept, by tenant, counted up to twice the threshold. Tenants are found by skipping through the index of what did
-- not complete, the first 1,000 of them.
create or replace function trunkline.dead_letter_alarms(p_most integer) returns setof trunkline.alarm
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
begin
  if p_most <= 0 then
    return;
  end if;
  return query
  with recursive seen as (
    (select o.tenant_id, 1 as n from trunkline.outcome as o where o.state <> 1 order by o.tenant_id limit 1)
    union all
    select (select o.tenant_id from trunkline.outcome as o where o.state <> 1 and o.tenant_id > s.tenant_id order by o.tenant_id limit 1), s.n + 1
      from seen as s where s.tenant_id is not null and s.n < 1000
  )
  select s.tenant_id, 'dead_letters', '', w.found::float8, p_most::float8
    from seen as s
   cross join lateral (select count(*) as found from (select from trunkline.outcome as o
                        where o.tenant_id = s.tenant_id and o.state = 2 and o.state <> 1 limit 2 * p_most) as o) as w
   where s.tenant_id is not null and w.found > 0.8 * p_most;
end $$;

-- Queues, not paused, whose first job has stood in line for longer than `p_after_s` while none was started and none ended. Up to 200
-- queues of a tenant and 1,000 tenants.
create or replace function trunkline.stalled_alarms(p_after_s float8) returns setof trunkline.alarm
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off as $$
declare
  v_since timestamptz := trunkline.now() - make_interval(secs => p_after_s);
  v_busy jsonb;
begin
  if p_after_s <= 0 then
    return;
  end if;
  select jsonb_object_agg(l.tenant_id || '/' || l.queue_id, true) into v_busy
    from (select distinct c.tenant_id, c.queue_id from (select a.tenant_id, a.queue_id, a.claimed_at from trunkline.lease as a limit 100000) as c
           where c.claimed_at > v_since) as l;
  return query
  select q.tenant_id, 'stalled', q.name, s.waited, p_after_s
    from (select c.tenant_id from trunkline.tenant as c where c.gates & 2 = 0 order by c.tenant_id limit 1000) as t
   cross join lateral (select * from trunkline.queue as c where c.tenant_id = t.tenant_id and c.paused_at is null and c.gates & 2 = 0 limit 200) as q
   cross join lateral (select (trunkline.ord_now() - min(f.ord))::float8 / 4096 / 1000000 as waited
                         from unnest(q.priorities) as p (priority)
                        cross join lateral (select r.ord from trunkline.ready as r where r.tenant_id = q.tenant_id and r.queue_id = q.queue_id
                                               and r.priority = p.priority order by r.ord limit 1) as f) as s
   where s.waited > 0.8 * p_after_s and not coalesce(v_busy ? (q.tenant_id || '/' || q.queue_id), false)
     and not exists (select from trunkline.tally as e where e.tenant_id = q.tenant_id and e.queue_id = q.queue_id
                        and e.at >= date_trunc('minute', v_since) and e.completed + e.failed + e.retried > 0)
   limit 1000;
end $$;

-- Processes that went away without a goodbye, by host, and fewer processes alive than there should be. Of the whole installation.
create or replace function trunkline.worker_alarms(p_least integer) returns setof trunkline.alarm
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select 0::bigint, 'worker_down', left(regexp_replace(s.name, ':[0-9]+$', ''), 200), count(*)::float8, 0::float8
    from trunkline.session as s where s.dead_at >= s.expires_at and s.dead_at > trunkline.now() - interval '1 minute'
   group by 3 having count(*) > 0
  union all
  select 0, 'worker_down', 'too few processes', (p_least - w.alive)::float8, 0
    from (select count(*) as alive from trunkline.session as s where s.dead_at is null and s.expires_at > trunkline.now()) as w
   where p_least > w.alive
$$;

-- The interval's round. Writes what began, what goes on and what is over, and answers what is new: began (`resolved_at` null) or over.
-- p_limits: {dead_letters, failure_rate, retry_rate, stalled_s, slowdown, workers, least}; 0 is off.
-- What handlers are to be told (`news`) is exact: a resolution of which they did not hear the raise is not told, and the other way round.
create or replace function trunkline.watch_alerts(p_session_id integer, p_every_s float8, p_limits jsonb) returns setof trunkline.alert
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_now timestamptz := trunkline.now();
  v_alarms trunkline.alarm[];
begin
  if not trunkline.take_duty('alerts', p_every_s, p_session_id) then
    return;
  end if;
  perform trunkline.sweep_tallies();
  delete from trunkline.alert as a where a.resolved_at < v_now - interval '1 day';
  v_alarms := array(
    select f from trunkline.rate_alarms((p_limits ->> 'least')::integer, (p_limits ->> 'failure_rate')::float8,
                                        (p_limits ->> 'retry_rate')::float8, (p_limits ->> 'slowdown')::float8) as f
    union all select f from trunkline.dead_letter_alarms((p_limits ->> 'dead_letters')::integer) as f
    union all select f from trunkline.stalled_alarms((p_limits ->> 'stalled_s')::float8) as f
    union all select f from trunkline.worker_alarms((p_limits ->> 'workers')::integer) as f);
  update trunkline.alert as a set seen_at = v_now, value = f.value, threshold = f.threshold
    from unnest(v_alarms) as f
   where a.tenant_id = f.tenant_id and a.name = f.name and a.subject = f.subject and a.resolved_at is null;
  return query
  insert into trunkline.alert as a (tenant_id, name, subject, value, threshold, raised_at, seen_at, news)
  select f.tenant_id, f.name, f.subject, f.value, f.threshold, v_now, v_now, 1 from unnest(v_alarms) as f
   where f.value > f.threshold
      on conflict (tenant_id, name, subject) do update
     set value = excluded.value, threshold = excluded.threshold, raised_at = v_now, seen_at = v_now, resolved_at = null, telling_until = null,
         news = case when a.news = 2 and coalesce(a.telling_until <= v_now, true) then 0 else 1 end      -- they think it goes on
   where a.resolved_at is not null
  returning a.*;
  return query
  update trunkline.alert as a
     set resolved_at = v_now, telling_until = null, news = case when a.news = 1 and coalesce(a.telling_until <= v_now, true) then 0 else 2 end
   where a.resolved_at is null and a.seen_at <= v_now - case a.name when 'worker_down' then interval '5 minutes' else interval '1 minute' end
  returning a.*;
end $$;

-- Takes what handlers are to be told, oldest first, for a minute: whoever dies while telling leaves it to the next. What nobody took
-- within an hour is nobody's news any more.
create or replace function trunkline.alert_news(p_limit integer) returns setof trunkline.alert
language sql security definer set search_path = pg_catalog, pg_temp as $$
  update trunkline.alert as a set telling_until = trunkline.now() + interval '1 minute'
   where (a.tenant_id, a.name, a.subject) in (
     select c.tenant_id, c.name, c.subject from trunkline.alert as c
      where c.news > 0 and coalesce(c.resolved_at, c.raised_at) > trunkline.now() - interval '1 hour'
        and coalesce(c.telling_until <= trunkline.now(), true)
      order by coalesce(c.resolved_at, c.raised_at) limit p_limit for update skip locked)
  returning a.*
$$;

-- They were told; false: it took too long, somebody else tells them, or it has changed since.
create or replace function trunkline.alert_told(p_tenant_id bigint, p_name text, p_subject text, p_until timestamptz) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update trunkline.alert as a set news = 0, telling_until = null
   where a.tenant_id = p_tenant_id and a.name = p_name and a.subject = p_subject and a.telling_until = p_until;
  return found;
end $$;
