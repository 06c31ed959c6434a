-- Reporting success.

-- One flush of completions of one tenant; answers the jobs whose lease is no longer the reporter's, usually none.
-- A lease goes only while its fence (job, attempt) holds, so a late worker changes nothing and is told so. A report that
-- was written before and whose answer was lost is accepted again: its outcome is there, by the same attempt.
-- Locks in job order: two flushes that share jobs wait for each other and never deadlock.
-- The shape is planner-proof, because statistics of this table are always wrong: the array is an index condition (sorted
-- by the index, which is the lock order), the fence a hashed subplan (`is true` keeps it from becoming a join), and the
-- results come by a hash join.
create or replace function trunkline.ack_completed(p_tenant_id bigint, p_job_ids uuid[], p_attempts integer[], p_results json[])
returns setof uuid
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_nestloop = off set enable_mergejoin = off set jit = off set lock_timeout = '2s'
as $$
declare
  v_now timestamptz := trunkline.now();
  v_written bigint;
  v_special uuid[];
  v_traits smallint[];
begin
  with report as materialized (
    select distinct on (a.job_id, a.attempt) a.job_id, a.attempt, a.result                         -- a job named twice is one
      from unnest(p_job_ids, p_attempts, p_results) as a (job_id, attempt, result)
  ), gone as (
    delete from trunkline.lease as l
     where l.tenant_id = p_tenant_id and l.job_id = any (p_job_ids)
       and ((l.job_id, l.attempt) in (select a.job_id, a.attempt from report as a)) is true        -- the fence
    returning l.job_id, l.attempt, l.claimed_at, l.traits, l.failures, l.progress
  ), ended as (
    insert into trunkline.outcome (tenant_id, job_id, started_at, finished_at, attempt, state, result, detail)
    select p_tenant_id, g.job_id, g.claimed_at, v_now, g.attempt, 1, a.result,
           case when g.progress is not null or g.failures > 0 then json_build_object('progress', g.progress, 'failures', g.failures) end
      from gone as g join report as a on a.job_id = g.job_id and a.attempt = g.attempt
  )
  select count(*), array_agg(g.job_id) filter (where g.traits <> 0), array_agg(g.traits) filter (where g.traits <> 0)
    into v_written, v_special, v_traits from gone as g;

  if v_special is not null then
    perform trunkline.after_ended(p_tenant_id, v_special, v_traits, array_fill(1::smallint, array[cardinality(v_special)]));
  end if;
  if v_written < cardinality(p_job_ids) then
    return query
    select a.job_id from unnest(p_job_ids, p_attempts) as a (job_id, attempt)
     where ((a.job_id, a.attempt) in (select o.job_id, o.attempt from trunkline.outcome as o
                                       where o.tenant_id = p_tenant_id and o.job_id = any (p_job_ids) and o.state = 1)) is not true;
  end if;
  if not trunkline.tell_watchers(p_tenant_id, p_job_ids) then
    return;
  elsif v_written = cardinality(p_job_ids) then
    perform trunkline.note(p_tenant_id, 'completed', p_job_ids, p_attempts);
  elsif v_written > 0 then
    perform trunkline.note_completed(p_tenant_id, p_job_ids, p_attempts, v_now);
  end if;
end $$;

-- Frees the unique keys of jobs that ended; a key per time slot stays until its slot is over.
-- Locks them in key order first, as an enqueue takes them: the jobs may have come in another order.
create or replace function trunkline.free_keys(p_tenant_id bigint, p_job_ids uuid[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select from trunkline.unique_key as u where u.tenant_id = p_tenant_id and u.job_id = any (p_job_ids) and u.expires_at is null
   order by u.queue_id, u.key for update;
  delete from trunkline.unique_key as u where u.tenant_id = p_tenant_id and u.job_id = any (p_job_ids) and u.expires_at is null
$$;

-- Tells processes that wait for endings of this tenant that some of these jobs may have ended; ids only, they read.
-- 180 ids of 36 characters stay below the 8,000 bytes that NOTIFY takes. Answers whether the tenant's events are watched, which is another
-- matter: those are noted by whoever knows what happened.
drop function if exists trunkline.tell_watchers(bigint, uuid[]);
create or replace function trunkline.tell_watchers(p_tenant_id bigint, p_job_ids uuid[]) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_at integer := 1;
  v_waits boolean;
  v_is_watched boolean;
begin
  select exists (select from trunkline.session as s where s.watches @> array[p_tenant_id] and s.expires_at > clock_timestamp()),
         exists (select from trunkline.watched as w where w.tenant_id = p_tenant_id and w.until > trunkline.now())
    into v_waits, v_is_watched;
  while v_waits and v_at <= cardinality(p_job_ids) loop
    perform pg_notify(trunkline.channel(), 'ended ' || p_tenant_id || ' ' || array_to_string(p_job_ids[v_at : v_at + 179], ' '));
    v_at := v_at + 180;
  end loop;
  return v_is_watched;
end $$;
