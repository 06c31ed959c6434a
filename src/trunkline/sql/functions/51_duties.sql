-- Bounded background work. Every process may call each of these at any moment: rows are taken with skip locked or fenced,
-- so nothing is done twice and nobody needs to be the leader.

-- Whether this call should run a duty now; true for one caller per interval. The row lock lasts for the caller's transaction.
-- A time that lies further ahead than it was ever set means that the server's clock was set back: then the turn is now.
-- `last_run_at` is the true time, also where tests move the clock.
create or replace function trunkline.take_duty(p_name text, p_every_s float8, p_session_id integer) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_now timestamptz := trunkline.now();
  v_every interval := make_interval(secs => p_every_s);
begin
  update trunkline.duty as d set next_run_at = v_now + v_every, last_run_at = clock_timestamp(), last_by = p_session_id
   where d.name = (select c.name from trunkline.duty as c
                    where c.name = p_name and (c.next_run_at <= v_now or c.next_run_at > v_now + v_every) for update skip locked);
  return found;
end $$;

-- Moves due jobs into line, oldest due first; answers how many. A place in line is given at promotion, except to jobs that waited
-- for a limiter: they have theirs, which marks have passed, so claimers are told to look there again.
create or replace function trunkline.promote(p_limit integer) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz := trunkline.now();
  v_ord bigint;
  v_queue_ids integer[];
  v_back integer[];
  v_places bigint[];
  v_moved integer;
begin
  if not exists (select from trunkline.deferred as d where d.run_at <= v_now) then
    return 0;
  end if;
  perform pg_current_xact_id();
  v_ord := trunkline.ord_now();
  with due as (
    delete from trunkline.deferred as d
     where d.ctid = any (array(select c.ctid from trunkline.deferred as c where c.run_at <= v_now
                                order by c.run_at limit p_limit for update skip locked))
    returning d.*
  ), lined as (
    insert into trunkline.ready (tenant_id, ord, job_id, queue_id, attempt, priority, failures, traits)
    select d.tenant_id, coalesce(d.ord, v_ord + row_number() over (order by d.run_at, d.job_id)), d.job_id, d.queue_id, d.attempt, d.priority, d.failures, d.traits from due as d
    returning queue_id, ord
  )
  select array_agg(distinct l.queue_id), count(*), array_agg(l.queue_id) filter (where l.ord < v_ord), array_agg(l.ord) filter (where l.ord < v_ord)
    into v_queue_ids, v_moved, v_back, v_places from lined as l;
  if v_moved > 0 then
    perform trunkline.wake(v_queue_ids);
  end if;
  if v_back is not null then
    perform trunkline.rewind(v_back, v_places);
  end if;
  return v_moved;
end $$;

-- Whether rescue should wait for processes to come back. Somebody looks each second; when nobody has looked for 4 s, the
-- server was away (restart, recovery, failover, a network cut in two, a clock set ahead), or all processes were. In that time
-- nobody could renew or report, and nothing need be wrong with their work: whoever lives gets 5 s to say so.
create or replace function trunkline.is_patient(p_last_look timestamptz) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_true_now timestamptz := clock_timestamp();
begin
  if v_true_now - p_last_look > interval '4 seconds' then
    insert into trunkline.duty as d (name, next_run_at) values ('patience', v_true_now + interval '5 seconds')
        on conflict (name) do update set next_run_at = excluded.next_run_at;
  end if;
  return exists (select from trunkline.duty as d
                  where d.name = 'patience' and d.next_run_at > v_true_now and d.next_run_at <= v_true_now + interval '5 seconds');
end $$;

-- Declares sessions dead that did not renew in time; answers whether there are any. The caller's own is alive: it calls. After
-- a restart of the server every session gets its full time again (a quick one, that `is_patient` does not notice).
drop function if exists trunkline.bury_sessions();
create or replace function trunkline.bury_sessions(p_session_id integer default null) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_now timestamptz := trunkline.now();
begin
  update trunkline.session as s set dead_at = v_now, asleep_on = '{}', watches = '{}'
   where s.session_id in (select c.session_id from trunkline.session as c
                           where c.expires_at <= v_now and c.dead_at is null and c.session_id is distinct from p_session_id
                             and v_now - pg_postmaster_start_time() > interval '8 seconds'
                           order by c.session_id for update skip locked);
  return found;
end $$;

-- Offers again what nobody works on any more: leases of dead sessions (at once), leases past their deadline or cancelled
-- more than 10 s ago (each 5 s: their own process ends them on time, this is the net). A lease that somebody holds locked is
-- just being reported, or belongs to a transaction of a handler that takes its time: it is left for the next round, because
-- whoever waits here does not renew its session. A dead session is remembered for a minute: a claim that was under way at its
-- death may still commit a lease.
create or replace function trunkline.rescue(p_session_id integer) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '300ms' as $$
declare
  v_now timestamptz := trunkline.now();
  v_last_look timestamptz := (select d.last_run_at from trunkline.duty as d where d.name = 'rescue');
  v_dead integer[];
  v_lost record;
  v_count integer := 0;
begin
  if not trunkline.take_duty('rescue', 0.9, p_session_id) or trunkline.is_patient(v_last_look) then
    return 0;
  end if;
  if not trunkline.bury_sessions(p_session_id) and not exists (select from trunkline.session as s where s.dead_at > v_now - interval '2 seconds')
     and not trunkline.take_duty('deadlines', 5, p_session_id) then
    return 0;
  end if;
  v_dead := array(select s.session_id from trunkline.session as s where s.dead_at is not null);
  for v_lost in
    select l.tenant_id, array_agg(l.job_id) as ids, array_agg(l.attempt) as attempts,
           array_agg(case when l.cancel_requested_at <= v_now - interval '10 seconds' then 'cancelled'
                          when l.session_id = any (v_dead) then 'lost' else 'timed_out' end) as endings
      from (select * from trunkline.lease as l
             where l.session_id = any (v_dead) or l.deadline <= v_now or l.cancel_requested_at <= v_now - interval '10 seconds'
             limit 5000
               for update skip locked) as l
     group by l.tenant_id
  loop
    v_count := v_count + trunkline.offer_again(v_lost.tenant_id, v_lost.ids, v_lost.attempts, v_lost.endings);
    exit when clock_timestamp() - statement_timestamp() > interval '2 seconds';       -- the rest is for the next round
  end loop;
  delete from trunkline.session as s
   where s.dead_at < v_now - interval '1 minute' and not exists (select from trunkline.lease as l where l.session_id = s.session_id);
  return v_count;
end $$;

-- Ends the attempts of one tenant that rescue chose; answers how many. Trouble with one tenant's rows (a key that an open
-- transaction holds) is a warning in the server's log, and does not keep the others waiting.
create or replace function trunkline.offer_again(p_tenant_id bigint, p_job_ids uuid[], p_attempts integer[], p_endings text[]) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_job_ids uuid[];
  v_nexts text[];
begin
  select array_agg(s.job_id), array_agg(s.next) into v_job_ids, v_nexts from trunkline.settle(p_tenant_id, p_job_ids, p_attempts, p_endings,
    array(select json_build_object('type', e, 'message', case e when 'lost' then 'the worker went away' when 'timed_out' then 'the deadline passed' else 'cancelled' end)
            from unnest(p_endings) as e), null) as s;
  perform trunkline.note_rescued(p_tenant_id, v_job_ids, v_nexts);
  return coalesce(cardinality(v_job_ids), 0);
exception when others then
  raise warning 'trunkline rescue: tenant %: % (%)', p_tenant_id, sqlerrm, sqlstate;
  return 0;
end $$;
