-- What people do to jobs: cancel, retry by hand, redrive, reschedule, reprioritise, pause.

-- Ends jobs that have not started; answers those it ended. Running jobs are not touched.
-- Locks the unique keys first, in key order, as an enqueue does that replaces their holders; then those that wait, then those
-- in line, as reprioritize does.
create or replace function trunkline.cancel_queued(p_tenant_id bigint, p_job_ids uuid[], p_reason text) returns uuid[]
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off as $$
declare
  v_now timestamptz := trunkline.now();
  v_ended uuid[];
  v_special uuid[];
  v_traits smallint[];
begin
  perform from trunkline.unique_key as u where u.tenant_id = p_tenant_id and u.job_id = any (p_job_ids) order by u.queue_id, u.key for update;
  with from_deferred as (
    delete from trunkline.deferred as d where d.tenant_id = p_tenant_id and d.job_id = any (p_job_ids)
    returning d.job_id, d.attempt, d.failures, d.traits, d.priority
  ), from_ready as (
    delete from trunkline.ready as r where r.tenant_id = p_tenant_id and r.job_id = any (p_job_ids)
    returning r.job_id, r.attempt, r.failures, r.traits, r.priority
  ), gone as (select * from from_deferred union all select * from from_ready),
  ended as (
    insert into trunkline.outcome (tenant_id, job_id, finished_at, attempt, state, detail)
    select p_tenant_id, g.job_id, v_now, g.attempt, 3, json_build_object('error', json_build_object('type', 'cancelled', 'message', p_reason), 'failures', g.failures, 'priority', g.priority) from gone as g
  )
  select array_agg(g.job_id), array_agg(g.job_id) filter (where g.traits <> 0), array_agg(g.traits) filter (where g.traits <> 0)
    into v_ended, v_special, v_traits from gone as g;
  if v_ended is not null and trunkline.tell_watchers(p_tenant_id, v_ended) then
    perform trunkline.note_ended(p_tenant_id, v_ended, array_fill(3::smallint, array[cardinality(v_ended)]));
  end if;
  if v_special is not null then
    perform trunkline.after_ended(p_tenant_id, v_special, v_traits, array_fill(3::smallint, array[cardinality(v_special)]));
  end if;
  return v_ended;
end $$;

-- Cancels jobs wherever they stand. Answers one row per known job: `cancelled` (it had not started), `requested` (it runs: its
-- worker is told and has 10 s), `terminal` (it had ended; nothing changed). A job that moves meanwhile is looked for again.
-- Leases before keys: a report holds its lease when it frees the key.
create or replace function trunkline.cancel(p_tenant_id bigint, p_job_ids uuid[], p_reason text default 'cancelled by request')
returns table (job_id uuid, answer text)
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off as $$
#variable_conflict use_column
declare
  v_left uuid[] := p_job_ids;
  v_done uuid[];
begin
  for v_try in 1 .. 3 loop
    v_done := array(select trunkline.request_cancel(p_tenant_id, v_left));
    return query select u.id, 'requested' from unnest(v_done) as u (id);
    v_left := array(select u.id from unnest(v_left) as u (id) where u.id <> all (v_done));
    v_done := trunkline.cancel_queued(p_tenant_id, v_left, p_reason);
    return query select u.id, 'cancelled' from unnest(v_done) as u (id);
    v_left := array(select u.id from unnest(v_left) as u (id) where u.id <> all (coalesce(v_done, '{}')));
    v_done := array(select o.job_id from trunkline.outcome as o where o.tenant_id = p_tenant_id and o.job_id = any (v_left));
    return query select u.id, 'terminal' from unnest(v_done) as u (id);
    v_left := array(select u.id from unnest(v_left) as u (id) where u.id <> all (v_done));
    exit when cardinality(v_left) = 0;
  end loop;
end $$;

-- Marks running jobs and tells their sessions. The handler ends by itself, or the lease is taken after 10 s.
create or replace function trunkline.request_cancel(p_tenant_id bigint, p_job_ids uuid[]) returns setof uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  v_lease record;
begin
  perform from trunkline.lease as l where l.tenant_id = p_tenant_id and l.job_id = any (p_job_ids) order by l.job_id for update;   -- as a report locks them
  for v_lease in
    update trunkline.lease as l set cancel_requested_at = coalesce(l.cancel_requested_at, trunkline.now())
     where l.tenant_id = p_tenant_id and l.job_id = any (p_job_ids)
    returning l.job_id, l.attempt, l.session_id
  loop
    perform pg_notify(trunkline.channel(), 'cancel ' || v_lease.session_id || ' ' || v_lease.job_id || ' ' || v_lease.attempt || ' ' || p_tenant_id);   -- older code reads the first three
    return next v_lease.job_id;
  end loop;
end $$;

-- Retry by hand, redrive: ended failed or cancelled jobs go back in line with the same id and attempt number, failures 0.
-- The outcome is set aside as an attempt. Answers the jobs that went back; any other state, and a job whose unique key
-- another live job holds now, is missing from the answer.
create or replace function trunkline.retry(p_tenant_id bigint, p_job_ids uuid[]) returns setof uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off as $$
declare
  v_now timestamptz := trunkline.now();
  v_ord bigint;
  v_blocked uuid[];
  v_back uuid[];
  v_queue_ids integer[];
  v_children uuid[];
  v_states smallint[];
begin
  perform pg_current_xact_id();
  v_ord := trunkline.ord_now();
  -- Keys first, in key order: a job whose key is taken stays ended.
  with keyed as (
    select o.job_id, j.queue_id, j.options ->> 'unique_key' as key from trunkline.outcome as o
     cross join lateral (select j.queue_id, j.options from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = o.job_id limit 1) as j
     where o.tenant_id = p_tenant_id and o.job_id = any (p_job_ids) and o.state in (2, 3)
       and j.options ->> 'unique_key' is not null and j.options ->> 'unique_for' is null
  ), held as (
    insert into trunkline.unique_key (tenant_id, queue_id, key, job_id)
    select distinct on (k.queue_id, k.key) p_tenant_id, k.queue_id, k.key, k.job_id from keyed as k order by k.queue_id, k.key, k.job_id
        on conflict (tenant_id, queue_id, key) do nothing
    returning job_id
  )
  select array_agg(k.job_id) into v_blocked from keyed as k where not exists (select from held as h where h.job_id = k.job_id);
  with gone as (
    delete from trunkline.outcome as o
     where o.tenant_id = p_tenant_id and o.job_id = any (p_job_ids) and o.state in (2, 3) and (v_blocked is null or o.job_id <> all (v_blocked))
    returning o.*
  ), noted as (
    insert into trunkline.attempt (tenant_id, job_id, attempt, ended_at, started_at, ending, error)
    select p_tenant_id, g.job_id, g.attempt, g.finished_at, g.started_at, case g.state when 2 then 'failed' else 'cancelled' end, g.detail -> 'error' from gone as g
        on conflict do nothing                     -- the last failing attempt was noted when it failed
  ), lined as (
    insert into trunkline.ready (tenant_id, ord, job_id, queue_id, attempt, priority, failures, traits)
    select p_tenant_id, v_ord + row_number() over (order by g.job_id), g.job_id, j.queue_id, g.attempt, coalesce((g.detail ->> 'priority')::smallint, 0), 0,
           trunkline.traits_of(j.options, case when j.options ->> 'unique_for' is null then j.options ->> 'unique_key' end)
      from gone as g
     cross join lateral (select j.queue_id, j.options from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = g.job_id limit 1) as j
    returning job_id, queue_id, traits
  )
  select array_agg(l.job_id), array_agg(distinct l.queue_id), array_agg(l.job_id) filter (where l.traits & 2 <> 0), array_agg(g.state) filter (where l.traits & 2 <> 0)
    into v_back, v_queue_ids, v_children, v_states from lined as l join gone as g on g.job_id = l.job_id;
  -- A key that was taken for a job which somebody else retried meanwhile would never be freed.
  delete from trunkline.unique_key as u
   where u.tenant_id = p_tenant_id and u.job_id = any (p_job_ids) and u.expires_at is null and u.job_id <> all (coalesce(v_back, '{}'))
     and exists (select from trunkline.outcome as o where o.tenant_id = p_tenant_id and o.job_id = u.job_id);
  if v_children is not null then
    perform trunkline.rejoin_batches(p_tenant_id, v_children, v_states);
  end if;
  if v_back is not null then
    if trunkline.is_watched(p_tenant_id) then
      perform trunkline.note(p_tenant_id, 'queued', v_back);
    end if;
    perform trunkline.enter_limits(p_tenant_id, v_back, v_back, v_ord, 96);       -- one that was cancelled goes to the end of its ordering key
    perform trunkline.wake(v_queue_ids);
  end if;
  return query select unnest(v_back);
end $$;

-- Redrive by filter: up to `p_limit` failed jobs, oldest end first; answers how many went back.
create or replace function trunkline.redrive(p_tenant_id bigint, p_queue text, p_kind text, p_limit integer) returns integer
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select count(*)::integer from trunkline.retry(p_tenant_id, array(
    select o.job_id from trunkline.outcome as o
      join trunkline.job as j on j.tenant_id = o.tenant_id and j.id = o.job_id
      join trunkline.queue as q on q.tenant_id = j.tenant_id and q.queue_id = j.queue_id
      join trunkline.kind as k on k.tenant_id = j.tenant_id and k.kind_id = j.kind_id
     where o.tenant_id = p_tenant_id and o.state = 2 and (p_queue is null or q.name = p_queue) and (p_kind is null or k.name = trunkline.kind_name(p_kind))
     order by o.finished_at
     limit greatest(p_limit, 0)))
$$;

-- Changes when a job that has not started will run; a time that is past means now. False: it is not queued.
-- A job that comes due while it is looked for in both places is looked for again.
create or replace function trunkline.reschedule(p_tenant_id bigint, p_job_id uuid, p_run_at timestamptz) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  v_is_past boolean := p_run_at <= trunkline.now();
  v_moved integer;
  v_traits smallint;
begin
  if p_run_at is null or not isfinite(p_run_at) then
    raise exception using errcode = 'TL001', message = 'run_at is null or infinite: need a time';
  end if;
  for v_try in 1 .. 3 loop
    with gone as (
      delete from trunkline.ready as r where r.tenant_id = p_tenant_id and r.job_id = p_job_id and not v_is_past returning r.*
    )
    insert into trunkline.deferred (tenant_id, job_id, run_at, queue_id, attempt, priority, failures, traits, reason)
    select g.tenant_id, g.job_id, p_run_at, g.queue_id, g.attempt, g.priority, g.failures, g.traits, 'scheduled' from gone as g
    returning traits into v_traits;
    get diagnostics v_moved = row_count;
    exit when v_moved > 0;
    -- A job that waits for a limiter leaves its line, and keeps its place in the queue where it is to run at once; one that waits for
    -- parents goes on waiting.
    update trunkline.deferred as d
       set run_at = case d.reason when 'waiting' then null else p_run_at end, limiter_id = null, ord = case when v_is_past then d.ord end,
           reason = case d.reason when 'limited' then 'scheduled' else d.reason end
     where d.tenant_id = p_tenant_id and d.job_id = p_job_id
    returning d.traits into v_traits;
    get diagnostics v_moved = row_count;
    exit when v_moved > 0 or v_is_past;
  end loop;
  update trunkline.dependency as e set run_at = p_run_at where e.tenant_id = p_tenant_id and e.child_id = p_job_id;    -- one that waits: once it is released
  if v_traits & 16 <> 0 then                                           -- the slot that was kept for it is somebody else's now
    update trunkline.deferred as d set traits = d.traits & ~16::smallint where d.tenant_id = p_tenant_id and d.job_id = p_job_id;
    perform trunkline.leave_limits(p_tenant_id, array[p_job_id], '{}');
  end if;
  if v_is_past then
    perform trunkline.promote(1000);
  end if;
  return v_moved > 0 or v_is_past and exists (select from trunkline.ready as r where r.tenant_id = p_tenant_id and r.job_id = p_job_id);
end $$;

-- Changes the priority of jobs that have not started; they keep their place within it. Answers how many.
-- Queues before jobs, as an enqueue locks them that uses a priority for the first time; then jobs in job order, first those that wait, as
-- cancel does.
create or replace function trunkline.reprioritize(p_tenant_id bigint, p_job_ids uuid[], p_priority smallint) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  v_queue record;
  v_queue_ids integer[];
  v_count integer := 0;
  v_more integer;
begin
  if p_priority is null or p_priority not between 0 and 100 then
    raise exception using errcode = 'TL001', message = format('priority is %s: need 0 to 100, higher first', p_priority);
  end if;
  v_queue_ids := array(select distinct j.queue_id from unnest(p_job_ids) as u (id)   -- a job never changes its queue
                       cross join lateral (select j.queue_id from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = u.id limit 1) as j);
  perform trunkline.ensure_names(p_tenant_id, array_agg(q.name), '{}', array_agg(p_priority)) from trunkline.queue as q
    where q.tenant_id = p_tenant_id and q.queue_id = any (v_queue_ids);
  perform from trunkline.deferred as d where d.tenant_id = p_tenant_id and d.job_id = any (p_job_ids) order by d.job_id for update;
  perform from trunkline.ready as r where r.tenant_id = p_tenant_id and r.job_id = any (p_job_ids) order by r.job_id for update;
  update trunkline.deferred as d set priority = p_priority where d.tenant_id = p_tenant_id and d.job_id = any (p_job_ids);
  get diagnostics v_more = row_count;
  v_count := v_more;
  for v_queue in
    select q.queue_id, q.name from trunkline.queue as q
     where q.tenant_id = p_tenant_id and q.queue_id = any (v_queue_ids) order by q.name
  loop
    with moved as (
      update trunkline.ready as r set priority = p_priority where r.tenant_id = p_tenant_id and r.queue_id = v_queue.queue_id and r.job_id = any (p_job_ids) returning r.ord
    )
    select count(*), min(m.ord) into v_more, v_queue.name from moved as m;
    v_count := v_count + v_more;
    if v_more > 0 then
      perform pg_notify(trunkline.channel(), 'rewind ' || v_queue.queue_id || ' ' || v_queue.name);
      perform trunkline.wake(array[v_queue.queue_id]);
    end if;
  end loop;
  return v_count;
end $$;

-- Pauses or resumes a queue; its jobs stay where they are. True: it was in the other state. A queue may be paused before its
-- first job comes: it is made then. Resuming makes none.
create or replace function trunkline.pause_queue(p_tenant_id bigint, p_queue text, p_paused boolean) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_id integer;
begin
  if p_paused then
    perform trunkline.ensure_names(p_tenant_id, array[p_queue], '{}', '{0}');
  elsif not exists (select from trunkline.queue as q where q.tenant_id = p_tenant_id and q.name = p_queue) then
    raise exception using errcode = 'TL004', message = format('there is no queue %L in this tenant', left(p_queue, 80));
  end if;
  update trunkline.queue as q set paused_at = case when p_paused then trunkline.now() end
   where q.tenant_id = p_tenant_id and q.name = p_queue and (q.paused_at is null) = p_paused
  returning q.queue_id into v_id;
  if v_id is not null and not p_paused then
    perform trunkline.wake(array[v_id]);
  end if;
  return v_id is not null;
end $$;
