-- History in slices of time. job, outcome and attempt are cut at the same UUIDv7 times, so a job and its outcome live and
-- go together. Slices are made ahead by a duty; there is no default slice, because rows in it would block new ones.

-- Makes the slices from the one holding `now - 2 days` to `p_ahead` slices past now, each `p_days` wide; answers how many tables.
create or replace function trunkline.make_partitions(p_days integer default 7, p_ahead integer default 2) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_width interval := make_interval(days => p_days);
  v_from timestamptz;
  v_latest timestamptz;
  v_parent text;
  v_name text;
  v_made integer := 0;
begin
  perform pg_advisory_xact_lock(hashtext('trunkline:partitions'));
  foreach v_parent in array '{job,outcome,attempt}'::text[] loop
    -- Go on where the last slice ends: a changed width must not overlap what is there.
    select max(trunkline.id_time((regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''([0-9a-f-]+)''\)'))[1]::uuid)) into v_latest
      from pg_inherits as i join pg_class as c on c.oid = i.inhrelid where i.inhparent = format('trunkline.%I', v_parent)::regclass;
    v_from := coalesce(v_latest, date_trunc('day', clock_timestamp() at time zone 'UTC') at time zone 'UTC' - interval '2 days');
    while v_from < clock_timestamp() + v_width * p_ahead + interval '1 day' loop
      v_name := format('%s_p%s', v_parent, to_char(v_from at time zone 'UTC', 'YYYYMMDD'));
      execute format('create table trunkline.%I (like trunkline.%I including all)', v_name, v_parent);
      execute format('alter table trunkline.%I enable row level security', v_name);
      execute format('alter table trunkline.%I attach partition trunkline.%I for values from (%L) to (%L)',
                     v_parent, v_name, trunkline.id_floor(v_from), trunkline.id_floor(v_from + v_width));
      v_made := v_made + 1;
      v_from := v_from + v_width;
    end loop;
  end loop;
  return v_made;
end $$;

-- From and to of a slice: of its partition of `job`, or as they were noted when it began to leave.
create or replace function trunkline.slice_bounds(p_suffix text, out low uuid, out high uuid)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  select b.bound[1]::uuid, b.bound[2]::uuid into low, high from pg_class as c
   cross join lateral (select regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([0-9a-f-]+)''\) TO \(''([0-9a-f-]+)''\)') as bound) as b
   where c.oid = to_regclass(format('trunkline.%I', 'job' || p_suffix));
  if low is null then
    select s.low, s.high into low, high from trunkline.slice as s where s.suffix = p_suffix;
  end if;
end $$;

-- Every slice that jobs are read from.
create or replace function trunkline.slices() returns table (suffix text, low uuid, high uuid)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select substr(c.relname, 4), b.low, b.high
    from pg_inherits as i join pg_class as c on c.oid = i.inhrelid
   cross join lateral trunkline.slice_bounds(substr(c.relname, 4)) as b
   where i.inhparent = 'trunkline.job'::regclass and not i.inhdetachpending
   order by b.low
$$;

-- Whether a job of this slice is still to be done.
create or replace function trunkline.is_slice_live(p_low uuid, p_high uuid) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select exists (select from trunkline.ready as r where r.job_id >= p_low and r.job_id < p_high)
      or exists (select from trunkline.deferred as d where d.job_id >= p_low and d.job_id < p_high)
      or exists (select from trunkline.lease as l where l.job_id >= p_low and l.job_id < p_high)
$$;

-- Whether a slice is still needed: one of its jobs is live, or ended too lately for its queue or the installation.
create or replace function trunkline.is_slice_needed(p_low uuid, p_high uuid, p_retention_s float8) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_now timestamptz := trunkline.now();
  v_longest float8;
begin
  if trunkline.is_slice_live(p_low, p_high) then
    return true;
  end if;
  select greatest(max(k), p_retention_s) into v_longest from trunkline.queue as q cross join lateral unnest(q.keep_s) as k;
  if not exists (select from trunkline.outcome as o
                  where o.job_id >= p_low and o.job_id < p_high and o.finished_at >= v_now - make_interval(secs => v_longest)) then
    return false;                                       -- without looking up any job's queue
  end if;
  return exists (
    select from trunkline.outcome as o
      join trunkline.job as j on j.tenant_id = o.tenant_id and j.id = o.job_id
      join trunkline.queue as q on q.tenant_id = j.tenant_id and q.queue_id = j.queue_id
     where o.job_id >= p_low and o.job_id < p_high and j.id >= p_low and j.id < p_high
       and o.finished_at >= v_now - make_interval(secs => coalesce(q.keep_s[o.state], p_retention_s)));
end $$;
drop function if exists trunkline.is_slice_busy(uuid, uuid, timestamptz);

-- Slices past retention: every job in them was created before `p_retention_s` ago, and none is needed.
drop function if exists trunkline.old_partitions(float8);
create or replace function trunkline.old_slices(p_retention_s float8) returns setof text
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select s.suffix from trunkline.slices() as s
   where trunkline.id_time(s.high) < trunkline.now() - make_interval(secs => p_retention_s)
     and not trunkline.is_slice_needed(s.low, s.high, p_retention_s)
$$;

-- The hourly round for those who have SQL alone; a worker does the same by `begin_history`, statement by statement.
-- Slices ahead, old slices away, rows past a shorter retention away (20,000 looked at), keys whose window is over.
drop function if exists trunkline.keep_history(integer, float8, integer);
create or replace function trunkline.keep_history(p_session_id integer, p_retention_s float8, p_days integer)
returns table (made integer, dropped integer, keys integer, deleted integer)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_suffix text;
begin
  dropped := 0;
  if not trunkline.take_duty('retention', 3600, p_session_id) then
    return;
  end if;
  made := trunkline.make_partitions(p_days);
  for v_suffix in select s.suffix from trunkline.slice as s where s.leaving_since is not null union select trunkline.old_slices(p_retention_s) loop
    dropped := dropped + trunkline.drop_partition(v_suffix, p_retention_s)::integer;
  end loop;
  perform trunkline.sweep_events();
  deleted := (trunkline.sweep(p_retention_s, 20000)).deleted;
  keys := trunkline.sweep_keys(p_retention_s);
  return next;
end $$;

-- What a worker asks each minute; one caller of all gets an answer. `leaving`: slices to let go, step by step (82).
create or replace function trunkline.begin_history(p_session_id integer, p_retention_s float8, p_days integer)
returns table (made integer, keys integer, leaving text[])
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if not trunkline.take_duty('history', 50, p_session_id) then
    return;
  end if;
  made := 0; keys := 0;
  perform trunkline.sweep_events();
  leaving := array(select s.suffix from trunkline.slice as s where s.leaving_since is not null);
  if trunkline.take_duty('retention', 3600, p_session_id) then
    made := trunkline.make_partitions(p_days);
    keys := trunkline.sweep_keys(p_retention_s);
    leaving := array(select unnest(leaving) union select trunkline.old_slices(p_retention_s));
  end if;
  return next;
end $$;

-- Frees keys whose window is over, and forgets firings and batches that are long over; answers how many idempotency keys.
create or replace function trunkline.sweep_keys(p_retention_s float8) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_count integer;
begin
  delete from trunkline.idempotency as i where i.expires_at <= trunkline.now();
  get diagnostics v_count = row_count;
  delete from trunkline.unique_key as u where u.expires_at <= trunkline.now();
  perform trunkline.drop_firings(p_retention_s);
  perform trunkline.forget_batches(p_retention_s);
  return v_count;
end $$;
