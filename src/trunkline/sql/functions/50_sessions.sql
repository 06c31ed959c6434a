-- Processes and their heartbeat. A session that ran out may still be renewed until somebody declares it dead (the row lock
-- decides); then it is over for good: its leases are offered to others, and a process that wakes up later learns it at its
-- next call and starts a new one.

create or replace function trunkline.open_session(p_name text, p_ttl_s float8) returns integer
language sql security definer set search_path = pg_catalog, pg_temp as $$
  insert into trunkline.session (name, expires_at)
  values (left(p_name, 200), trunkline.now() + make_interval(secs => p_ttl_s))
  returning session_id
$$;

-- What a session holds. There is no index for it: the table is small, and only a process in doubt asks.
create or replace function trunkline.leases_of(p_session_id integer) returns table (tenant_id bigint, job_id uuid, attempt integer)
language sql stable security definer set search_path = pg_catalog, pg_temp as
$$ select l.tenant_id, l.job_id, l.attempt from trunkline.lease as l where l.session_id = p_session_id $$;

-- A clean goodbye. What the session still holds is handed back uncounted: jobs of a claim whose answer never came, and reports
-- that could not be written. A claim that commits after this leaves its leases to rescue.
create or replace function trunkline.close_session(p_session_id integer) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_left record;
begin
  update trunkline.session set dead_at = coalesce(dead_at, trunkline.now()), asleep_on = '{}', watches = '{}' where session_id = p_session_id;
  for v_left in
    select l.tenant_id, array_agg(l.job_id) as ids, array_agg(l.attempt) as attempts, array_agg('released'::text) as endings
      from trunkline.lease as l where l.session_id = p_session_id group by l.tenant_id order by l.tenant_id
  loop
    perform trunkline.settle(v_left.tenant_id, v_left.ids, v_left.attempts, v_left.endings,
      array_fill(null::json, array[cardinality(v_left.ids)]), array_fill(null::float8, array[cardinality(v_left.ids)]));
  end loop;
end $$;

-- "Wake me for these queues." The caller commits it, claims once more, and only then sleeps. An empty array: awake.
create or replace function trunkline.sleep_on(p_session_id integer, p_queue_ids integer[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp as
$$ update trunkline.session set asleep_on = p_queue_ids where session_id = p_session_id and asleep_on is distinct from p_queue_ids $$;

create or replace function trunkline.watch(p_session_id integer, p_tenant_ids bigint[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp as
$$ update trunkline.session set watches = p_tenant_ids where session_id = p_session_id and watches is distinct from p_tenant_ids $$;

-- The heartbeat; false: the session was over. Writes only when a third of the time has passed, so at most one update each 2-3 s;
-- and when more time is left than was ever given, which is what a clock that was set back looks like.
create or replace function trunkline.renew(p_session_id integer, p_ttl_s float8) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_now timestamptz := trunkline.now();
  v_left interval;
begin
  select s.expires_at - v_now into v_left from trunkline.session as s
   where s.session_id = p_session_id and s.dead_at is null;
  if v_left is null then
    return false;
  end if;
  if v_left between make_interval(secs => p_ttl_s * 0.67) and make_interval(secs => p_ttl_s) then
    return true;
  end if;
  update trunkline.session as s set expires_at = v_now + make_interval(secs => p_ttl_s) where s.session_id = p_session_id and s.dead_at is null;
  return found;
end $$;

-- "job_id attempt tenant_id" of a session's leases that somebody wants cancelled; null: none. Asked with every tick, of a nearly empty index.
create or replace function trunkline.cancels_of(p_session_id integer) returns text[]
language sql stable security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
  select array_agg(l.job_id || ' ' || l.attempt || ' ' || l.tenant_id) from trunkline.lease as l
   where l.session_id = p_session_id and l.cancel_requested_at is not null
$$;

-- The one call a process makes each second: due jobs, rescue, heartbeat, and the news it needs to go on.
-- The heartbeat comes last, so that its row is locked for an instant only: a process whose tick takes long (it waits behind a
-- lock, it rescues thousands) calls `renew` on the side. What fails in a duty must not cost the heartbeat: it is a warning in
-- the server's log, and the next tick tries again.
--   alive      false: the session was over before this call
--   ord_now, xmin, xmax   let the claimer advance its safe mark: a place t is safe once xmin has reached the xmax read at t.
--              xmax is this transaction's own id, taken after ord_now: whoever takes a later id takes a later place. A snapshot's
--              xmax would not do: a transaction that runs and is the newest of all lies beyond it
--   due_in_s   seconds until the next deferred job is due, null when there is none
--   work       those of `p_queue_ids` with jobs behind `p_mark`
--   cancels    "job_id attempt" of this session's leases that somebody wants cancelled; for older code, as it does not say whose they are
create or replace function trunkline.tick(
  p_session_id integer, p_ttl_s float8, p_queue_ids integer[], p_mark bigint,
  out alive boolean, out ord_now bigint, out xmin bigint, out xmax bigint, out due_in_s float8, out work integer[], out cancels text[])
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off as $$
declare
  v_now timestamptz := trunkline.now();
begin
  ord_now := trunkline.ord_now();                                  -- before anything here writes, for that takes the id
  xmax := pg_current_xact_id()::text::bigint;
  alive := trunkline.renew(p_session_id, p_ttl_s);
  perform trunkline.promote(1000);
  begin
    perform trunkline.rescue(p_session_id);
  exception when lock_not_available or deadlock_detected then
    raise warning 'trunkline rescue: % (%)', sqlerrm, sqlstate;
  end;
  perform trunkline.follow_up(p_session_id);
  perform trunkline.mend_limits(p_session_id);
  xmin := pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
  select extract(epoch from min(d.run_at) - v_now) into due_in_s from trunkline.deferred as d where d.run_at is not null;
  select array_agg(q.queue_id) into work from trunkline.queue as q
   where q.queue_id = any (p_queue_ids) and q.paused_at is null and q.gates & 2 = 0
     and exists (select from unnest(q.priorities) as u (priority)
                  cross join lateral (select from trunkline.ready as r
                                       where r.tenant_id = q.tenant_id and r.queue_id = q.queue_id and r.priority = u.priority and r.ord > p_mark
                                       order by r.ord limit 1) as r);
  select array_agg(l.job_id || ' ' || l.attempt) into cancels from trunkline.lease as l
   where l.session_id = p_session_id and l.cancel_requested_at is not null;
  alive := trunkline.renew(p_session_id, p_ttl_s);
end $$;
