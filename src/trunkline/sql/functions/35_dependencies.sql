-- Jobs that wait for others: what an enqueue does about the options depends_on and on_parent_failure. What follows when a parent
-- ends: 44_children.sql.
--
-- A child waits in `deferred` (reason `waiting`, no time) while it has an edge in `dependency`. Its parents' live rows carry trait 4,
-- so that whoever ends them looks for children. An enqueue holds the live row of each parent (for key share) until its commit: a
-- parent cannot end in between without seeing the edge. Locks: parents' rows come after the keys of the new jobs. A report holds its
-- lease before it frees keys, so an enqueue that both replaces a running job's unique key and waits for another job of the same
-- report can deadlock, and so can one whose parent moves while it is looked for; the server ends one of the two, and it is tried again.

-- What follows the insert of jobs that have options. Nearly all have neither a batch nor parents. `p_there`: jobs that were there before.
create or replace function trunkline.after_enqueued(
  p_tenant_id bigint, p_ids uuid[], p_options json[], p_run_ats timestamptz[], p_firsts uuid[], p_holders uuid[], p_there uuid[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_children uuid[];
  v_batches uuid[];
  v_waits boolean;
begin
  select array_agg(u.id) filter (where u.options ->> 'batch_id' is not null), array_agg((u.options ->> 'batch_id')::uuid) filter (where u.options ->> 'batch_id' is not null),
         bool_or(u.options ->> 'depends_on' is not null)
    into v_children, v_batches, v_waits
    from unnest(p_ids, p_options, p_firsts, p_holders) as u (id, options, first, holder)
   where u.options is not null and u.first = u.id and u.holder = u.id and u.id <> all (p_there);
  if v_children is not null then
    perform trunkline.join_batches(p_tenant_id, v_children, v_batches);
  end if;
  if v_waits then
    perform trunkline.hold_children(p_tenant_id, p_ids, p_options, p_run_ats, p_firsts, p_holders, p_there);
  end if;
end $$;

-- Takes jobs with parents that have not ended out of line. Parents may stand before or behind their children in the same flush; where
-- a parent of the flush was a duplicate, the job that stands for it is meant.
create or replace function trunkline.hold_children(
  p_tenant_id bigint, p_ids uuid[], p_options json[], p_run_ats timestamptz[], p_firsts uuid[], p_holders uuid[], p_there uuid[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  v_stands uuid[] := trunkline.who_stands(p_ids, p_firsts, p_holders);
  v_parents uuid[];
  v_children uuid[];
  v_policies smallint[];
  v_run_ats timestamptz[];
  v_ended uuid[];
  v_states smallint[];
begin
  select array_agg(e.parent), array_agg(e.child), array_agg(e.policy), array_agg(e.run_at) into v_parents, v_children, v_policies, v_run_ats
    from (select distinct coalesce(s.stands, d.parent::uuid) as parent, u.id as child, u.run_at,
                 case coalesce(u.options ->> 'on_parent_failure', 'cancel') when 'run' then 0 when 'fail' then 2 else 3 end::smallint as policy
            from unnest(p_ids, p_options, p_run_ats, p_firsts, p_holders) as u (id, options, run_at, first, holder)
           cross join lateral json_array_elements_text(u.options -> 'depends_on') as d (parent)
            left join unnest(p_ids, v_stands) as s (id, stands) on s.id = d.parent::uuid
           where u.options ->> 'depends_on' is not null and u.first = u.id and u.holder = u.id and u.id <> all (p_there)) as e;
  if v_parents is null then
    return;
  end if;
  perform trunkline.refuse_circles(p_ids, v_parents, v_children);
  perform trunkline.seat_children(p_tenant_id, p_ids, v_parents, v_children, p_there);
  select m.ended, m.states into v_ended, v_states from trunkline.mark_parents(p_tenant_id, array(select distinct p from unnest(v_parents) as p)) as m;
  with tied as (
    insert into trunkline.dependency (tenant_id, parent_id, child_id, on_failure, run_at)
    select p_tenant_id, e.parent, e.child, e.policy, e.run_at
      from unnest(v_parents, v_children, v_policies, v_run_ats) as e (parent, child, policy, run_at)
      left join unnest(v_ended, v_states) as x (id, state) on x.id = e.parent
     where x.state is null or x.state <> 1 and e.policy <> 0                                    -- a parent that ended well enough holds nobody
        on conflict (tenant_id, parent_id, child_id) do nothing
    returning child_id
  )
  select array_agg(distinct t.child_id) into v_children from tied as t;
  with from_ready as (
    delete from trunkline.ready as r where r.tenant_id = p_tenant_id and r.job_id = any (v_children) returning r.*
  ), from_deferred as (
    delete from trunkline.deferred as d where d.tenant_id = p_tenant_id and d.job_id = any (v_children) returning d.*
  )
  insert into trunkline.deferred (tenant_id, job_id, run_at, queue_id, attempt, priority, failures, traits, reason)
  select p_tenant_id, m.job_id, null, m.queue_id, m.attempt, m.priority, m.failures, m.traits, 'waiting'
    from (select r.job_id, r.queue_id, r.attempt, r.priority, r.failures, r.traits from from_ready as r
          union all select d.job_id, d.queue_id, d.attempt, d.priority, d.failures, d.traits from from_deferred as d) as m;
  if exists (select from unnest(v_states) as s where s <> 1) then
    perform trunkline.end_new_children(p_tenant_id, v_ended, v_states, v_children);
  end if;
end $$;

-- Where a parent has failed already, its new children follow at once, and theirs. Only jobs of this flush are touched, which nobody else
-- can hold: whoever waited here for others' rows, while holding parents, would deadlock with their reports.
create or replace function trunkline.end_new_children(p_tenant_id bigint, p_parents uuid[], p_states smallint[], p_children uuid[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_ids uuid[];
  v_blamed uuid[];
  v_traits smallint[];
  v_states smallint[];
begin
  select array_agg(f.job_id), array_agg(f.by), array_agg(f.state) into v_ids, v_blamed, v_states from trunkline.fallen(p_tenant_id, p_parents, p_states, p_children) as f;
  if v_ids is null then
    return;
  end if;
  select e.ids, e.traits, e.states into v_ids, v_traits, v_states from trunkline.end_fallen(p_tenant_id, v_ids, v_blamed, v_states) as e;
  perform trunkline.release_children(p_tenant_id, v_ids, v_states, p_children);
  perform trunkline.after_ended(p_tenant_id, v_ids, array(select (t & ~4)::smallint from unnest(v_traits) as t), v_states);
end $$;

-- For each job of a flush the one that stands for it: itself, or the holder of its key.
create or replace function trunkline.who_stands(p_ids uuid[], p_firsts uuid[], p_holders uuid[]) returns uuid[]
language sql immutable parallel safe as $$
  select case when p_firsts = p_ids and p_holders = p_ids then p_ids else array(
    select case when u.first = u.id then u.holder
                else coalesce((select f.holder from unnest(p_ids, p_holders) as f (id, holder) where f.id = u.first limit 1), u.first) end
      from unnest(p_ids, p_firsts, p_holders) with ordinality as u (id, first, holder, n) order by u.n) end
$$;

-- A job cannot wait for itself, by however many steps. Circles are possible within one flush only, since a parent must exist before its
-- child. A flush whose parents stand before their children, as Python sends it, is seen to be none at once; others are peeled.
create or replace function trunkline.refuse_circles(p_ids uuid[], p_parents uuid[], p_children uuid[]) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  v_left integer := cardinality(p_parents);
begin
  if not exists (select from unnest(p_parents, p_children) as e (parent, child)
                  where array_position(p_ids, e.parent) >= array_position(p_ids, e.child)) then
    return;
  end if;
  loop
    select array_agg(e.parent), array_agg(e.child) into p_parents, p_children
      from unnest(p_parents, p_children) as e (parent, child) where e.parent in (select c from unnest(p_children) as c);
    exit when p_parents is null;
    if cardinality(p_parents) = v_left then
      raise exception using errcode = 'TL001', message = format('jobs wait for each other in a circle: %s',
        (select string_agg(c, ', ') from (select distinct c::text as c from unnest(p_children) as c order by 1 limit 10) as x));
    end if;
    v_left := cardinality(p_parents);
  end loop;
end $$;

-- A child that stands before its parent in a flush must not do so in their ordering keys: it would wait for its parent, and all behind it, the
-- parent too, for it. Children come right behind their last parent; all else stays in its order. The places of a key's new jobs are given anew.
create or replace function trunkline.seat_children(p_tenant_id bigint, p_ids uuid[], p_parents uuid[], p_children uuid[], p_there uuid[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  v_before bigint[];
  v_places bigint[] := array(select n * (cardinality(p_ids) + 1) from generate_subscripts(p_ids, 1) as n order by n);
begin
  if not exists (select from unnest(p_parents, p_children) as e (parent, child) where array_position(p_ids, e.parent) > array_position(p_ids, e.child))
     or not exists (select from trunkline.ordering as o where o.tenant_id = p_tenant_id and o.job_id = any (p_ids)) then
    return;
  end if;
  while v_places is distinct from v_before loop
    v_before := v_places;
    v_places := array(
      select greatest(u.place, m.place) from unnest(p_ids, v_before) with ordinality as u (id, place, n)
        left join (select e.child, max(p.place) + 1 as place from unnest(p_parents, p_children) as e (parent, child)
                     join unnest(p_ids, v_before) as p (id, place) on p.id = e.parent group by e.child) as m on m.child = u.id
       order by u.n);
  end loop;
  with seated as (
    select o.queue_id, o.key, o.job_id, o.ord, row_number() over (partition by o.queue_id, o.key order by u.place, u.n) as nth,
           row_number() over (partition by o.queue_id, o.key order by o.ord) as seat
      from (select u.id, min(u.place) as place, min(u.n) as n from unnest(p_ids, v_places) with ordinality as u (id, place, n) where u.id <> all (p_there) group by u.id) as u
     cross join lateral (select * from trunkline.ordering as o where o.tenant_id = p_tenant_id and o.job_id = u.id limit 1) as o
  )
  update trunkline.ordering as o set ord = s.ord
    from seated as m join seated as s on s.queue_id = m.queue_id and s.key = m.key and s.seat = m.nth
   where o.tenant_id = p_tenant_id and o.job_id = m.job_id and o.ord <> s.ord;
end $$;

-- Holds parents where they stand and marks them, in job order; answers those that had ended. One that moves meanwhile is looked for again.
-- Who scans the line passes over a row that is held, and the next scan begins behind it: claimers are told to look there again.
create or replace function trunkline.mark_parents(p_tenant_id bigint, p_parents uuid[], out ended uuid[], out states smallint[])
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set jit = off
as $$
declare
  v_left uuid[] := p_parents;
  v_found uuid[];
  v_states smallint[];
  v_line record;
begin
  for v_try in 1 .. 20 loop
    v_found := array(select l.job_id from trunkline.lease as l where l.tenant_id = p_tenant_id and l.job_id = any (v_left) order by l.job_id for key share)
            || array(select d.job_id from trunkline.deferred as d where d.tenant_id = p_tenant_id and d.job_id = any (v_left) order by d.job_id for key share);
    update trunkline.lease as l set traits = l.traits | 4 where l.tenant_id = p_tenant_id and l.job_id = any (v_found) and l.traits & 4 = 0;
    update trunkline.deferred as d set traits = d.traits | 4 where d.tenant_id = p_tenant_id and d.job_id = any (v_found) and d.traits & 4 = 0;
    for v_line in
      select h.queue_id, array_agg(h.job_id) as ids, min(h.ord) filter (where not h.is_ours) as ord
        from (select r.queue_id, r.job_id, r.ord, r.xmin = pg_current_xact_id()::xid as is_ours from trunkline.ready as r
               where r.tenant_id = p_tenant_id and r.job_id = any (v_left) order by r.job_id for key share) as h
       group by h.queue_id
    loop
      update trunkline.ready as r set traits = r.traits | 4 where r.tenant_id = p_tenant_id and r.job_id = any (v_line.ids) and r.traits & 4 = 0;
      if v_line.ord is not null then
        perform pg_notify(trunkline.channel(), 'rewind ' || v_line.queue_id || ' ' || v_line.ord);
      end if;
      v_found := v_found || v_line.ids;
    end loop;
    v_left := array(select u.id from unnest(v_left) as u (id) where u.id <> all (v_found));
    exit when cardinality(v_left) = 0;
    select array_agg(o.job_id), array_agg(o.state) into v_found, v_states from trunkline.outcome as o where o.tenant_id = p_tenant_id and o.job_id = any (v_left);
    ended := ended || v_found;
    states := states || v_states;
    v_left := array(select u.id from unnest(v_left) as u (id) where u.id <> all (coalesce(v_found, '{}')));
    exit when cardinality(v_left) = 0;
    v_found := array(select u.id from unnest(v_left) as u (id) where (select true from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = u.id limit 1) is null);
    if cardinality(v_found) > 0 then
      raise exception using errcode = 'TL004',
        message = format('depends_on names %s: this tenant has no such job. Put parents in before their children, or together', array_to_string(v_found[1:10], ', '));
    end if;
  end loop;
  if cardinality(v_left) > 0 then
    raise serialization_failure using message = 'a parent moved too often: try again';
  end if;
end $$;
