-- What the end of a parent means for its children: released, or ended with it.
--
-- Lateral, offset and limit fix the order of joins and the way each table is entered: statistics of these tables are always wrong.
-- Lock order: unique keys of the jobs that end, then every child that is touched, in the order of their ids; whoever ends another
-- parent of the same child waits there, and sees with its next statement that the other's edge is gone. Thus exactly one of them
-- releases the child. All jobs that end because of each other are found and locked together, not level by level.

-- Jobs that end because these have: waiting children whose policy says so, their children, and so on; at most 5,000, the rest is for
-- the duty. `by`: the parent that is to blame; `state`: how the child ends. `p_among`: only these children.
create or replace function trunkline.fallen(p_tenant_id bigint, p_parents uuid[], p_states smallint[], p_among uuid[] default null)
returns table (job_id uuid, by uuid, state smallint)
language sql stable security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_nestloop = on set jit = off
as $$
  with recursive falling (job_id, by, state) as (
    select e.child_id, e.parent_id, e.on_failure
      from unnest(p_parents, p_states) as p (id, state)
     cross join lateral (select * from trunkline.dependency as e where e.tenant_id = p_tenant_id and e.parent_id = p.id offset 0) as e
     cross join lateral (select from trunkline.deferred as d where d.tenant_id = p_tenant_id and d.job_id = e.child_id and d.reason = 'waiting' limit 1) as d
     where p.state <> 1 and e.on_failure <> 0 and (p_among is null or e.child_id = any (p_among))
     union
    select e.child_id, e.parent_id, e.on_failure
      from falling as f
     cross join lateral (select * from trunkline.dependency as e where e.tenant_id = p_tenant_id and e.parent_id = f.job_id offset 0) as e
     cross join lateral (select from trunkline.deferred as d where d.tenant_id = p_tenant_id and d.job_id = e.child_id and d.reason = 'waiting' limit 1) as d
     where e.on_failure <> 0 and (p_among is null or e.child_id = any (p_among))
  )
  select distinct on (s.job_id) s.job_id, s.by, s.state from (select * from falling limit 5000) as s order by s.job_id, s.by
$$;

-- After parents ended, before anything else is done about them: answers all jobs that ended, these and those that ended with them,
-- as three parallel arrays. A child that ended otherwise meanwhile, or that was put back in line by hand, is left alone.
create or replace function trunkline.end_children(
  p_tenant_id bigint, inout p_job_ids uuid[], inout p_traits smallint[], inout p_states smallint[])
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_hashjoin = off set enable_mergejoin = off set enable_nestloop = on set jit = off
as $$
declare
  v_parents uuid[] := array(select u.id from unnest(p_job_ids, p_traits) as u (id, traits) where u.traits & 4 <> 0);
  v_states smallint[] := array(select u.state from unnest(p_traits, p_states) as u (traits, state) where u.traits & 4 <> 0);
  v_fallen uuid[];
  v_blamed uuid[];
  v_endings smallint[];
  v_ended uuid[];
  v_ended_traits smallint[];
  v_touched uuid[];
begin
  if exists (select from unnest(v_states) as s where s <> 1) then
    select array_agg(f.job_id), array_agg(f.by), array_agg(f.state) into v_fallen, v_blamed, v_endings from trunkline.fallen(p_tenant_id, v_parents, v_states) as f;
  end if;
  perform from trunkline.unique_key as u where u.tenant_id = p_tenant_id and u.job_id = any (p_job_ids || v_fallen) order by u.queue_id, u.key for update;
  v_touched := v_fallen || array(select e.child_id from trunkline.dependency as e where e.tenant_id = p_tenant_id and e.parent_id = any (v_parents || v_fallen) limit 10000);
  perform from trunkline.deferred as d where d.tenant_id = p_tenant_id and d.job_id = any (v_touched) and d.reason = 'waiting' order by d.job_id for update;
  if v_fallen is not null then
    select e.ids, e.traits, e.states into v_ended, v_ended_traits, v_endings from trunkline.end_fallen(p_tenant_id, v_fallen, v_blamed, v_endings) as e;
    p_job_ids := p_job_ids || v_ended;
    p_traits := p_traits || v_ended_traits;
    p_states := p_states || v_endings;
    v_parents := v_parents || v_ended;
    v_states := v_states || v_endings;
  end if;
  perform trunkline.release_children(p_tenant_id, v_parents, v_states, v_touched);
  insert into trunkline.ended_parent (tenant_id, job_id, state)
  select p_tenant_id, u.id, u.state from unnest(v_parents, v_states) as u (id, state)
   where (select true from trunkline.dependency as e where e.tenant_id = p_tenant_id and e.parent_id = u.id limit 1)
      on conflict (tenant_id, job_id) do nothing;
end $$;

-- Ends waiting jobs with their parents, as their policy says; they were never started. Their rows are locked.
create or replace function trunkline.end_fallen(
  p_tenant_id bigint, p_job_ids uuid[], p_blamed uuid[], p_states smallint[], out ids uuid[], out traits smallint[], out states smallint[])
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_hashjoin = off set enable_mergejoin = off set enable_nestloop = on set jit = off
as $$
declare
  v_failed uuid[];
  v_copies text[];
begin
  with gone as (
    delete from trunkline.deferred as d where d.tenant_id = p_tenant_id and d.job_id = any (p_job_ids) and d.reason = 'waiting' returning d.*
  ), judged as (
    select g.*, u.by, u.state, coalesce(j.options ->> 'dead_letter', k.dead_letter) as dead_letter
      from unnest(p_job_ids, p_blamed, p_states) as u (id, by, state)
      join gone as g on g.job_id = u.id
     cross join lateral (select j.options, j.kind_id from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = g.job_id limit 1) as j
     cross join lateral (select k.dead_letter from trunkline.kind as k where k.tenant_id = p_tenant_id and k.kind_id = j.kind_id limit 1) as k
  ), ended as (
    insert into trunkline.outcome (tenant_id, job_id, finished_at, attempt, state, detail)
    select p_tenant_id, g.job_id, trunkline.now(), g.attempt, g.state, json_build_object('error', json_build_object('type', 'parent_failed',
             'message', format('job %s, which it waited for, did not complete', g.by), 'parent', g.by), 'failures', g.failures, 'priority', g.priority)
      from judged as g
  )
  select array_agg(g.job_id), array_agg(g.traits), array_agg(g.state),
         array_agg(g.job_id) filter (where g.state = 2 and g.dead_letter is not null), array_agg(g.dead_letter) filter (where g.state = 2 and g.dead_letter is not null)
    into ids, traits, states, v_failed, v_copies from judged as g;
  delete from trunkline.dependency as e where e.tenant_id = p_tenant_id and e.child_id = any (ids);
  if ids is not null and trunkline.tell_watchers(p_tenant_id, ids) then
    perform trunkline.note_ended(p_tenant_id, ids, states);
  end if;
  perform trunkline.dead_letter(p_tenant_id, coalesce(v_failed, '{}'), coalesce(v_copies, '{}'));
end $$;

-- Cuts the edges from these parents to these children, whose rows are locked, and lets those go that wait for nobody any more: in line,
-- or for their own time. A delay counts from now. An edge by which its child should have ended stays: the child came while the fallen were
-- looked for, and the duty ends it.
create or replace function trunkline.release_children(p_tenant_id bigint, p_parents uuid[], p_states smallint[], p_children uuid[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_hashjoin = off set enable_mergejoin = off set enable_nestloop = on set jit = off
as $$
declare
  v_now timestamptz := trunkline.now();
  v_ord bigint;
  v_run_ats jsonb;
  v_queue_ids integer[];
begin
  with cut as (
    delete from trunkline.dependency as e
     where e.tenant_id = p_tenant_id and e.parent_id = any (p_parents) and (e.child_id in (select c from unnest(p_children) as c)) is true
       and (e.on_failure = 0 or (e.parent_id in (select p.id from unnest(p_parents, p_states) as p (id, state) where p.state = 1)) is true
            or (select true from trunkline.deferred as d where d.tenant_id = p_tenant_id and d.job_id = e.child_id and d.reason = 'waiting' limit 1) is null)
    returning e.child_id, e.run_at
  )
  select jsonb_object_agg(c.child_id, c.run_at) filter (where c.run_at is not null) into v_run_ats from cut as c;
  perform pg_current_xact_id();
  v_ord := trunkline.ord_now();
  with free as (
    delete from trunkline.deferred as d
     where d.tenant_id = p_tenant_id and d.job_id = any (p_children) and d.reason = 'waiting'
       and (select true from trunkline.dependency as e where e.tenant_id = p_tenant_id and e.child_id = d.job_id limit 1) is null
    returning d.*
  ), timed as (
    select f.*, coalesce((v_run_ats ->> f.job_id::text)::timestamptz, v_now + make_interval(secs => (j.options ->> 'delay')::float8)) as at
      from free as f
     cross join lateral (select j.options from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = f.job_id limit 1) as j
  ), later as (
    insert into trunkline.deferred (tenant_id, job_id, run_at, queue_id, attempt, priority, failures, traits, reason)
    select p_tenant_id, t.job_id, t.at, t.queue_id, t.attempt, t.priority, t.failures, t.traits, 'scheduled' from timed as t where t.at > v_now
  ), lined as (
    insert into trunkline.ready (tenant_id, ord, job_id, queue_id, attempt, priority, failures, traits)
    select p_tenant_id, v_ord + row_number() over (order by t.job_id), t.job_id, t.queue_id, t.attempt, t.priority, t.failures, t.traits
      from timed as t where t.at is null or t.at <= v_now
    returning queue_id
  )
  select array_agg(distinct l.queue_id) into v_queue_ids from lined as l;
  if v_queue_ids is not null then
    perform trunkline.wake(v_queue_ids);
  end if;
end $$;

-- The duty's part: parents that ended with more children than one transaction deals with, a few in each round.
create or replace function trunkline.end_more_children(p_limit integer) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '300ms' as $$
declare
  v_parent record;
begin
  for v_parent in select p.* from trunkline.ended_parent as p order by p.tenant_id, p.job_id limit p_limit for update skip locked loop
    begin
      delete from trunkline.ended_parent as p where p.tenant_id = v_parent.tenant_id and p.job_id = v_parent.job_id;
      perform trunkline.after_ended(v_parent.tenant_id, array[v_parent.job_id], '{4}', array[v_parent.state]);
    exception when others then
      raise warning 'trunkline children of job %: %', v_parent.job_id, sqlerrm;
    end;
    exit when clock_timestamp() - statement_timestamp() > interval '1 second';
  end loop;
end $$;
