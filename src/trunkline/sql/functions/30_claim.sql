-- Taking work.

-- The claim of a tenant that is watched: the same, and an event for each job. Apart, because a claim of one job would pay a tenth more for
-- having the question in its statement.
create or replace function trunkline.claim_told(
  p_tenant_id bigint, p_queue_id integer, p_session_id integer, p_limit integer, p_floor bigint, p_priorities smallint[], p_marks bigint[])
returns table (job_id uuid, attempt integer, failures smallint, priority smallint, ord bigint, kind_id integer, payload json, options json, user_id text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
  return query
  with claimed as materialized (
    select * from trunkline.claim(p_tenant_id, p_queue_id, p_session_id, p_limit, p_floor, p_priorities, p_marks, true)
  )
  select c.* from claimed as c where (select trunkline.note(p_tenant_id, 'started', array_agg(n.job_id), array_agg(n.attempt)) from claimed as n);
end $$;

-- One flush: takes up to `p_limit` jobs of one queue, highest priority first, then place in line, and leases them to a session.
-- `p_priorities`/`p_marks` are the claimer's low-water marks, `p_floor` the mark of all other priorities: a scan starts
-- behind its mark, because dead index entries pile up in front of it and vacuum cannot clear them while any old snapshot
-- lives. A hint for speed only.
-- Locks: each row it takes, skipping those that others hold; nothing waits, so nothing deadlocks.
-- TIDs from the inner scan become a TID scan in the delete, so the claim index is walked once; no other condition stands
-- beside the TIDs there, because the planner takes any index it is offered while it believes that this ever-changing table
-- is empty. For the same reason bodies are fetched row by row (lateral, limit 1): no statistic can turn that join around.
-- `p_is_told`: the caller notes the events, where the tenant is watched.
drop function if exists trunkline.claim(bigint, integer, integer, integer, bigint, smallint[], bigint[]);
create or replace function trunkline.claim(
  p_tenant_id bigint, p_queue_id integer, p_session_id integer, p_limit integer, p_floor bigint, p_priorities smallint[], p_marks bigint[],
  p_is_told boolean default false)
returns table (job_id uuid, attempt integer, failures smallint, priority smallint, ord bigint, kind_id integer, payload json, options json, user_id text)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
  v_now timestamptz := trunkline.now();
  v_used smallint[];
  v_gates smallint;
begin
  if not exists (select from trunkline.session as s where s.session_id = p_session_id and s.dead_at is null) then
    raise exception using errcode = 'TL007', message = format('session %s is over: its leases were offered to others', p_session_id);
  end if;
  select q.priorities, q.gates into v_used, v_gates from trunkline.queue as q
   where q.tenant_id = p_tenant_id and q.queue_id = p_queue_id and q.paused_at is null;
  if v_used is null then
    return;
  end if;
  if v_gates & 3 <> 0 then                                    -- limiters may apply, or the tenant is paused
    if v_gates & 2 = 0 then
      return query select * from trunkline.claim_limited(p_tenant_id, p_queue_id, p_session_id, p_limit, p_floor, p_priorities, p_marks, v_used);
    end if;
    return;
  end if;
  if v_gates & 8 <> 0 and not p_is_told and trunkline.is_watched(p_tenant_id) then
    return query select * from trunkline.claim_told(p_tenant_id, p_queue_id, p_session_id, p_limit, p_floor, p_priorities, p_marks);
    return;
  end if;
  return query
  with taken as (
    delete from trunkline.ready as r
     where r.ctid = any (array(
             select c.ctid
               from (select u.priority, coalesce(m.mark, p_floor) as mark
                       from unnest(v_used) with ordinality as u (priority, n)
                       left join unnest(p_priorities, p_marks) as m (priority, mark) on m.priority = u.priority
                      order by u.n) as line
              cross join lateral (
                    select r.ctid from trunkline.ready as r
                     where r.tenant_id = p_tenant_id and r.queue_id = p_queue_id and r.priority = line.priority
                       and r.ord > line.mark
                     order by r.ord
                     limit p_limit
                       for update skip locked) as c
              limit p_limit))
    returning r.job_id, r.attempt + 1 as attempt, r.failures, r.priority, r.ord, r.traits
  ), body as (
    select t.*, j.kind_id, j.payload, j.options, j.user_id,
           v_now + make_interval(secs => coalesce((j.options ->> 'timeout')::float8, k.timeout_s)) as deadline
      from taken as t
     cross join lateral (select * from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = t.job_id limit 1) as j
     cross join lateral (select k.timeout_s from trunkline.kind as k where k.tenant_id = p_tenant_id and k.kind_id = j.kind_id limit 1) as k
  ), held as (
    insert into trunkline.lease (tenant_id, job_id, ord, claimed_at, deadline, session_id, attempt, queue_id, priority, failures, traits)
    select p_tenant_id, b.job_id, b.ord, v_now, b.deadline, p_session_id, b.attempt, p_queue_id, b.priority, b.failures, b.traits
      from body as b
  )
  select b.job_id, b.attempt, b.failures, b.priority, b.ord, b.kind_id, b.payload, b.options, b.user_id
    from body as b
   order by b.priority desc, b.ord;
end $$;
