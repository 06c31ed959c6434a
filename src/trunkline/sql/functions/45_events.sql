-- Events: who watches, what a move leaves for them, and how it is read. Every function that moves jobs asks once a flush whether somebody
-- watches, and calls `note` only then. Where a queue's row is read anyway, bit 8 of its gates says whether it is worth asking: nobody has
-- watched the tenant in the last hour where it is not set. So an enqueue and a claim ask nothing (docs/decisions/0014).

-- Says that a process watches these tenants, for `p_window_s` and a minute from now. Writes only what a colleague did not just write.
-- Less than half a minute before the end counts as lapsed: whoever asked in between might have seen it over. Locks in the order of tenants.
-- A tenant whose gates somebody's transaction holds is missing in the answer: say it again.
create or replace function trunkline.keep_watched(p_tenant_ids bigint[], p_window_s float8)
returns table (tenant_id bigint, since timestamptz, is_new boolean)
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
#variable_conflict use_column
declare
  v_now timestamptz := trunkline.now();
  v_until timestamptz := v_now + make_interval(secs => p_window_s + 60);
  v_open bigint[];
begin
  insert into trunkline.watched as w (tenant_id, since, until)
  select distinct u.id, v_now, v_until from unnest(p_tenant_ids) as u (id) order by u.id
      on conflict (tenant_id) do update
     set since = case when w.until < v_now + interval '30 seconds' then v_now else w.since end, until = greatest(w.until, v_until)
   where w.until < v_until - interval '5 seconds';
  v_open := array(select u.id from unnest(p_tenant_ids) as u (id) where trunkline.open_gates(u.id));
  return query select w.tenant_id, w.since, w.since > v_now - interval '3 seconds' from trunkline.watched as w where w.tenant_id = any (v_open);
end $$;

-- Sets the bit that lets moves ask whether the tenant is watched. False: somebody holds the rows, and it is not set.
create or replace function trunkline.open_gates(p_tenant_id bigint) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
begin
  if not exists (select from trunkline.tenant as t where t.tenant_id = p_tenant_id and t.gates & 8 <> 0) then
    perform trunkline.gate_tenant(p_tenant_id, 8::smallint, true);
    update trunkline.watched as w set since = trunkline.now() where w.tenant_id = p_tenant_id;
  end if;
  return true;
exception when lock_not_available or deadlock_detected then
  return false;
end $$;

-- Transactions that may have looked before a tenant was watched, and can still commit moves without events. A first watcher waits until
-- those that were there when it began are gone. Every look takes a lock on one of the two tables, and keeps it until its transaction ends.
create or replace function trunkline.lookers() returns text[]
language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce(array_agg(distinct l.virtualtransaction), '{}') from pg_locks as l
   where l.relation in ('trunkline.watched'::regclass, 'trunkline.queue'::regclass) and l.database = (select d.oid from pg_database as d where d.datname = current_database())
     and l.mode = 'AccessShareLock' and l.pid is distinct from pg_backend_pid()
$$;

-- Wakes the readers of a tenant's events. The server drops equal notifications of one transaction.
create or replace function trunkline.tell_readers(p_tenant_id bigint) returns void
language sql security definer set search_path = pg_catalog, pg_temp as
$$ select pg_notify(trunkline.channel(), 'events ' || p_tenant_id) $$;

-- Events of jobs that moved; the caller has seen that the tenant is watched. `p_attempts` null: of jobs that come in. True always, so that
-- it can stand in a condition.
create or replace function trunkline.note(p_tenant_id bigint, p_what text, p_job_ids uuid[], p_attempts integer[] default null) returns boolean
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_hashjoin = off set enable_mergejoin = off set enable_nestloop = on set jit = off
as $$
begin
  if cardinality(p_job_ids) > 0 then
    insert into trunkline.event (tenant_id, job_id, queue_id, kind_id, attempt, is_said, what, user_id)
    select p_tenant_id, u.id, j.queue_id, j.kind_id, u.attempt, false, p_what, j.user_id
      from unnest(p_job_ids, p_attempts) with ordinality as u (id, attempt, n)
     cross join lateral (select j.queue_id, j.kind_id, j.user_id from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = u.id limit 1) as j
     order by u.n;
    perform trunkline.tell_readers(p_tenant_id);
  end if;
  return true;
end $$;

-- What follows the insert of jobs whose queues have gates, or that have traits of limits: events first, then limits.
create or replace function trunkline.after_made(p_tenant_id bigint, p_ids uuid[], p_made uuid[], p_ord bigint, p_rules integer) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if p_rules & 8 <> 0 and trunkline.is_watched(p_tenant_id) then
    perform trunkline.note(p_tenant_id, 'queued', p_made);
  end if;
  if p_rules & ~8 <> 0 then
    perform trunkline.enter_limits(p_tenant_id, p_ids, p_made, p_ord, p_rules & ~8);
  end if;
end $$;

-- Events of a settled flush: what became of each job, by the words of people. Handed back or put off, it is queued again.
create or replace function trunkline.note_settled(p_tenant_id bigint, p_settled trunkline.settled[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_group record;
begin
  for v_group in
    select w.what, array_agg(s.job_id) as ids, array_agg(s.attempt) as attempts
      from unnest(p_settled) as s
     cross join lateral (select case when s.next in ('failed', 'cancelled') then s.next
                                     when s.ending in ('failed', 'timed_out', 'lost') then 'retrying' else 'queued' end as what) as w
     group by w.what
  loop
    perform trunkline.note(p_tenant_id, v_group.what, v_group.ids, v_group.attempts);
  end loop;
end $$;

-- Events of jobs that ended together: completed (1), failed (2) or cancelled (3). Arrays in parallel.
create or replace function trunkline.note_ended(p_tenant_id bigint, p_job_ids uuid[], p_states smallint[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_group record;
begin
  for v_group in select u.state, array_agg(u.id) as ids from unnest(p_job_ids, p_states) as u (id, state) group by u.state loop
    perform trunkline.note(p_tenant_id, (array['completed', 'failed', 'cancelled'])[v_group.state], v_group.ids,
      array(select o.attempt from unnest(v_group.ids) with ordinality as u (id, n)
              left join lateral (select o.attempt from trunkline.outcome as o where o.tenant_id = p_tenant_id and o.job_id = u.id limit 1) as o on true order by u.n));
  end loop;
end $$;

-- Events of the part of a flush of completions that was written now: some of its leases were lost, or its answer was and it came again.
create or replace function trunkline.note_completed(p_tenant_id bigint, p_job_ids uuid[], p_attempts integer[], p_at timestamptz) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  v_ids uuid[];
  v_attempts integer[];
begin
  select array_agg(o.job_id), array_agg(o.attempt) into v_ids, v_attempts from trunkline.outcome as o
   where o.tenant_id = p_tenant_id and o.job_id = any (p_job_ids) and o.finished_at = p_at and o.state = 1
     and ((o.job_id, o.attempt) in (select a.job_id, a.attempt from unnest(p_job_ids, p_attempts) as a (job_id, attempt))) is true;
  perform trunkline.note(p_tenant_id, 'completed', v_ids, v_attempts);
end $$;

-- One step of reading, for several tenants: what is visible, was not in snapshot `p_froms`, and has a seq above `p_afters`; where a snapshot
-- stands in `p_tos`, only what was visible in that one. At most `p_limit` rows and about 8 MB a tenant, in order: fewer than both means that
-- was all. `p_job_ids`, `p_user_ids`, `p_names`: only events of these jobs or batches, users, or without a job; all three null: all.
-- The first row has no seq and brings the snapshot of this very statement: the function is stable, so its statements see the caller's.
-- Two index conditions, and nothing from before `from` is looked at again. Results and errors are read where they are.
create or replace function trunkline.read_events(
  p_tenant_ids bigint[], p_froms text[], p_tos text[], p_afters bigint[], p_limit integer, p_job_ids uuid[] default null, p_user_ids text[] default null)
returns table (tenant_id bigint, seq bigint, what text, is_said boolean, job_id uuid, attempt integer, queue text, kind text, user_id text, status text,
               data json, at timestamptz, source uuid, snapshot text)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_hashjoin = off set enable_mergejoin = off set enable_nestloop = on set jit = off
as $$
#variable_conflict use_column
begin
  return query select null::bigint, null::bigint, null, null::boolean, null::uuid, null::integer, null, null, null, null, null::json, trunkline.now(), null::uuid,
                      pg_current_snapshot()::text;
  return query
  select t.tenant_id, e.seq, e.what, e.is_said, e.job_id, e.attempt, q.name, k.name, e.user_id, e.status, e.data, e.happened_at, e.source, null
    from unnest(p_tenant_ids, p_froms::pg_snapshot[], p_tos::pg_snapshot[], p_afters) with ordinality as t (tenant_id, seen, upto, after, n)
   cross join lateral (
     select x.*, sum(coalesce(octet_length(x.data::text), 0)) over (order by x.seq) - coalesce(octet_length(x.data::text), 0) as before
       from (select f.seq, f.what, f.is_said, f.job_id, f.attempt, f.queue_id, f.kind_id, f.user_id, f.status, f.happened_at, d.data, d.source
               from (select n.* from (
                       select e.* from trunkline.event as e where e.tenant_id = t.tenant_id and e.xid >= pg_snapshot_xmax(t.seen)
                        union all
                       select e.* from trunkline.event as e where e.tenant_id = t.tenant_id and e.xid = any (array(select pg_snapshot_xip(t.seen)))) as n
                      where n.seq > t.after and (t.upto is null or pg_visible_in_snapshot(n.xid, t.upto))
                        and (p_job_ids is null or n.job_id = any (p_job_ids) or n.user_id = any (p_user_ids) or n.job_id is null and n.user_id is null)
                      order by n.seq limit p_limit) as f
              cross join lateral trunkline.event_data(t.tenant_id, f.job_id, f.attempt, f.what, f.is_said, f.data) as d) as x) as e
    left join lateral (select q.name from trunkline.queue as q where q.tenant_id = t.tenant_id and q.queue_id = e.queue_id limit 1) as q on true
    left join lateral (select k.name from trunkline.kind as k where k.tenant_id = t.tenant_id and k.kind_id = e.kind_id limit 1) as k on true
   where e.before < 8388608
   order by t.n, e.seq;
end $$;

-- What an event says: itself, or the result or error of its attempt, from wherever that is now. `source`: the job of which a dead-letter
-- copy was made, whose sealed result it may be.
create or replace function trunkline.event_data(
  p_tenant_id bigint, p_job_id uuid, p_attempt integer, p_what text, p_is_said boolean, p_data json, out data json, out source uuid)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
begin
  data := p_data;
  if p_is_said or p_what not in ('completed', 'failed', 'cancelled', 'retrying') then
    return;
  end if;
  if p_what <> 'retrying' then
    select case o.state when 1 then o.result else o.detail -> 'error' end into data from trunkline.outcome as o
     where o.tenant_id = p_tenant_id and o.job_id = p_job_id and o.attempt is not distinct from p_attempt;
  end if;
  if data is null and p_what <> 'completed' then
    select a.error into data from trunkline.attempt as a
     where a.tenant_id = p_tenant_id and a.job_id = p_job_id and a.attempt = p_attempt order by a.ended_at desc limit 1;
  elsif p_what = 'completed' then
    select (j.options ->> 'dead_letter_of')::uuid into source from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = p_job_id and j.options is not null;
  end if;
end $$;

-- The event of a batch that is done, with its counts. Its row is as it was folded a moment ago, under its lock.
create or replace function trunkline.note_batch(p_batch trunkline.batch) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into trunkline.event (tenant_id, job_id, is_said, what, data)
  values (p_batch.tenant_id, p_batch.batch_id, false, 'batch_completed', json_build_object('total', p_batch.total, 'completed', p_batch.completed,
    'failed', p_batch.failed, 'cancelled', p_batch.cancelled));
  perform trunkline.tell_readers(p_batch.tenant_id);
end $$;
