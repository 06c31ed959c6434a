-- How long history is kept, queue by queue, and the deletion of single jobs: where a queue keeps its history for a shorter time
-- than its slice lives, and where a slice is past its time but cannot go because something in it is still needed. The needed
-- ones stay where they are; their neighbours go.

-- Sets how long one queue keeps ended jobs: {"completed": 3600, "failed": null}, seconds by state. A state that is not named
-- stays as it is; null: as long as the installation. Makes the queue if need be. Answers what counts from now on.
create or replace function trunkline.set_retention(p_tenant_id bigint, p_queue text, p_keep jsonb) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_states constant text[] := '{completed,failed,cancelled}';
  v_keep integer[];
  v_bad record;
begin
  if jsonb_typeof(p_keep) is distinct from 'object' then
    raise exception using errcode = 'TL001', message = format('retention is %s: need an object such as {"completed": 86400}', coalesce(left(p_keep::text, 80), 'null'));
  end if;
  for v_bad in
    select e.key, e.value from jsonb_each(p_keep) as e
     where e.key <> all (v_states)
        or case jsonb_typeof(e.value) when 'null' then false
                when 'number' then (e.value #>> '{}')::numeric not between 60 and 315360000 or (e.value #>> '{}')::numeric % 1 <> 0 else true end
  loop
    raise exception using errcode = 'TL001',
      message = format('retention of %s is %s: need completed, failed or cancelled with 60 to 315360000 whole seconds, or null', left(v_bad.key, 80), left(v_bad.value::text, 80));
  end loop;
  perform trunkline.ensure_names(p_tenant_id, array[p_queue], '{}', '{0}');
  select array(select case when p_keep ? u.state then (p_keep ->> u.state)::integer else q.keep_s[u.n] end
                 from unnest(v_states) with ordinality as u (state, n) order by u.n) into v_keep
    from trunkline.queue as q where q.tenant_id = p_tenant_id and q.name = p_queue for update;
  update trunkline.queue as q set keep_s = case when array_remove(v_keep, null) <> '{}' then v_keep end
   where q.tenant_id = p_tenant_id and q.name = p_queue;
  return jsonb_build_object('completed', v_keep[1], 'failed', v_keep[2], 'cancelled', v_keep[3]);
end $$;

-- What goes with jobs that are deleted one by one. A key that an open transaction just asked for is being answered with its
-- job: such jobs stay for now. Answers the jobs that may go; their keys are gone already.
-- Locks: none is waited for.
create or replace function trunkline.forget_keys(p_tenant_id bigint, p_job_ids uuid[]) returns uuid[]
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  v_asked uuid[];
begin
  with free as materialized (
    select i.ctid, i.job_id from trunkline.idempotency as i where i.tenant_id = p_tenant_id and i.job_id = any (p_job_ids) for update skip locked
  ), gone as (
    delete from trunkline.idempotency as i using free as f where i.ctid = f.ctid
  )
  select array_agg(i.job_id) into v_asked from trunkline.idempotency as i
   where i.tenant_id = p_tenant_id and i.job_id = any (p_job_ids) and not exists (select from free as f where f.job_id = i.job_id);
  with free as materialized (
    select u.ctid from trunkline.unique_key as u where u.tenant_id = p_tenant_id and u.job_id = any (p_job_ids) for update skip locked
  )
  delete from trunkline.unique_key as u using free as f where u.ctid = f.ctid;
  return array(select j from unnest(p_job_ids) as j where v_asked is null or j <> all (v_asked));
end $$;

-- Deletes ended jobs and all that was kept of them; those that somebody just retries or asks for stay. Answers how many went.
-- Locks their outcomes, skipping those that others hold: a retry by hand comes too late or wins.
create or replace function trunkline.forget_jobs(p_tenant_id bigint, p_job_ids uuid[], p_low uuid, p_high uuid) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  v_ids uuid[] := array(
    select o.job_id from trunkline.outcome as o
     where o.tenant_id = p_tenant_id and o.job_id = any (p_job_ids) and o.job_id >= p_low and o.job_id < p_high for update skip locked);
begin
  v_ids := trunkline.forget_keys(p_tenant_id, v_ids);
  delete from trunkline.ordering as o where o.tenant_id = p_tenant_id and o.job_id = any (v_ids);
  delete from trunkline.checkpoint as c where c.tenant_id = p_tenant_id and c.job_id = any (v_ids);
  delete from trunkline.job_log as l where l.tenant_id = p_tenant_id and l.job_id = any (v_ids);
  delete from trunkline.attempt as a where a.tenant_id = p_tenant_id and a.job_id = any (v_ids) and a.job_id >= p_low and a.job_id < p_high;
  delete from trunkline.outcome as o where o.tenant_id = p_tenant_id and o.job_id = any (v_ids) and o.job_id >= p_low and o.job_id < p_high;
  delete from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = any (v_ids) and j.id >= p_low and j.id < p_high;
  return cardinality(v_ids);
end $$;

-- Looks at up to `p_most` ended jobs of one tenant behind `p_from`, and deletes those past their time. `p_is_past`: the slice is
-- past the installation's retention, so jobs without a retention of their queue's own go one by one, too.
create or replace function trunkline.sweep_some(
  p_tenant_id bigint, p_from uuid, p_low uuid, p_until uuid, p_most integer, p_is_past boolean, p_retention_s float8,
  out looked integer, out deleted integer, out last uuid)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off as $$
declare
  v_now timestamptz := trunkline.now();
  v_due uuid[];
begin
  with seen as materialized (
    select o.job_id, o.state, o.finished_at from trunkline.outcome as o
     where o.tenant_id = p_tenant_id and o.job_id > p_from and o.job_id >= p_low and o.job_id < p_until
     order by o.job_id limit p_most
  ), due as (
    select s.job_id from seen as s
     cross join lateral (select j.queue_id from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = s.job_id limit 1) as j
     cross join lateral (select q.keep_s[s.state] as own from trunkline.queue as q where q.tenant_id = p_tenant_id and q.queue_id = j.queue_id limit 1) as k
     where (k.own is not null or p_is_past) and s.finished_at < v_now - make_interval(secs => coalesce(k.own, p_retention_s))
  )
  select count(*), (array_agg(s.job_id order by s.job_id desc))[1], (select array_agg(d.job_id) from due as d) into looked, last, v_due from seen as s;
  deleted := case when v_due is null then 0 else trunkline.forget_jobs(p_tenant_id, v_due, p_low, p_until) end;
end $$;

-- The next tenant, from `p_from` on, that may have something to delete in a slice; null: none.
create or replace function trunkline.next_to_sweep(p_from bigint, p_low uuid, p_high uuid, p_is_past boolean) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
begin
  if p_is_past then
    return (select o.tenant_id from trunkline.outcome as o
             where o.tenant_id >= p_from and o.job_id >= p_low and o.job_id < p_high order by o.tenant_id limit 1);
  end if;
  return (select min(q.tenant_id) from trunkline.queue as q where q.tenant_id >= p_from and q.keep_s is not null);
end $$;

-- One bounded piece of deletion: goes on with one slice where it was left, looks at up to `p_most` jobs. looked = 0: nothing is
-- due now. A pass through a slice begins again after an hour, or earlier where a queue keeps its history for less than ten.
create or replace function trunkline.sweep(p_retention_s float8, p_most integer, out looked integer, out deleted integer)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_now timestamptz := trunkline.now();
  v_shortest float8;
  v_slice trunkline.slice;
  v_is_past boolean;
  v_some record;
begin
  looked := 0; deleted := 0;
  select least(min(k), p_retention_s) into v_shortest from trunkline.queue as q cross join lateral unnest(q.keep_s) as k;
  insert into trunkline.slice (suffix, low, high)
  select s.suffix, s.low, s.high from trunkline.slices() as s
   where trunkline.id_time(case when v_shortest < p_retention_s then s.low else s.high end) < v_now - make_interval(secs => v_shortest)
      on conflict (suffix) do nothing;
  select s.* into v_slice from trunkline.slice as s
   where s.look_again_at <= v_now and s.leaving_since is null order by s.look_again_at, s.suffix limit 1 for update skip locked;
  if not found then
    return;
  end if;
  v_is_past := trunkline.id_time(v_slice.high) < v_now - make_interval(secs => p_retention_s);
  while looked < p_most and v_slice.tenant_id is not null loop
    select * into v_some from trunkline.sweep_some(
      v_slice.tenant_id, v_slice.looked_to, v_slice.low, least(v_slice.high, trunkline.id_floor(v_now - make_interval(secs => v_shortest))),
      p_most - looked, v_is_past, p_retention_s);
    looked := looked + greatest(v_some.looked, 1);
    deleted := deleted + v_some.deleted;
    v_slice.looked_to := v_some.last;
    if v_some.looked = 0 then
      v_slice.looked_to := '00000000-0000-0000-0000-000000000000';
      v_slice.tenant_id := trunkline.next_to_sweep(v_slice.tenant_id + 1, v_slice.low, v_slice.high, v_is_past);
    end if;
  end loop;
  update trunkline.slice as s
     set tenant_id = coalesce(v_slice.tenant_id, 0), looked_to = v_slice.looked_to,
         look_again_at = case when v_slice.tenant_id is null then v_now + make_interval(secs => least(3600, v_shortest / 10)) else s.look_again_at end
   where s.suffix = v_slice.suffix;
end $$;
