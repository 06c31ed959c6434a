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

-- Whether a job of this slice is still live, or finished at or after `p_before`.
create or replace function trunkline.is_slice_busy(p_low uuid, p_high uuid, p_before timestamptz) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select exists (select from trunkline.ready as r where r.job_id >= p_low and r.job_id < p_high)
      or exists (select from trunkline.deferred as d where d.job_id >= p_low and d.job_id < p_high)
      or exists (select from trunkline.lease as l where l.job_id >= p_low and l.job_id < p_high)
      or exists (select from trunkline.outcome as o where o.job_id >= p_low and o.job_id < p_high and o.finished_at >= p_before)
$$;

-- Slices past retention: every job in them was created before `p_retention_s` ago, none is still live and none finished later.
create or replace function trunkline.old_partitions(p_retention_s float8) returns table (name text, suffix text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_before timestamptz := trunkline.now() - make_interval(secs => p_retention_s);
  v_part record;
  v_busy boolean;
begin
  for v_part in
    select c.relname, b.bound[1]::uuid as low, b.bound[2]::uuid as high
      from pg_inherits as i join pg_class as c on c.oid = i.inhrelid
     cross join lateral (select regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([0-9a-f-]+)''\) TO \(''([0-9a-f-]+)''\)') as bound) as b
     where i.inhparent = 'trunkline.job'::regclass and trunkline.id_time(b.bound[2]::uuid) < v_before
  loop
    v_busy := trunkline.is_slice_busy(v_part.low, v_part.high, v_before);
    if not v_busy then
      name := v_part.relname;
      suffix := substr(v_part.relname, 4);
      return next;
    end if;
  end loop;
end $$;

-- Drops one slice of job, outcome and attempt and what the keys and logs kept of its jobs; false: it is in use after all, the
-- duty comes again. Locks first and looks again then: a job retried by hand meanwhile must keep its body. A lock that does not
-- come within 2 s is given up rather than queue everybody behind it.
create or replace function trunkline.drop_partition(p_suffix text, p_retention_s float8) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms' as $$
declare
  v_low uuid;
  v_high uuid;
begin
  begin
    execute format('lock table trunkline.%I, trunkline.%I, trunkline.%I in access exclusive mode', 'outcome' || p_suffix, 'job' || p_suffix, 'attempt' || p_suffix);
  exception when lock_not_available or deadlock_detected then
    return false;
  end;
  select b.bound[1]::uuid, b.bound[2]::uuid into v_low, v_high from pg_class as c
   cross join lateral (select regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([0-9a-f-]+)''\) TO \(''([0-9a-f-]+)''\)') as bound) as b
   where c.oid = format('trunkline.%I', 'job' || p_suffix)::regclass;
  if trunkline.is_slice_busy(v_low, v_high, trunkline.now() - make_interval(secs => p_retention_s)) then
    return false;
  end if;
  delete from trunkline.idempotency as i where i.job_id >= v_low and i.job_id < v_high;
  delete from trunkline.unique_key as u where u.job_id >= v_low and u.job_id < v_high;
  delete from trunkline.ordering as o where o.job_id >= v_low and o.job_id < v_high;
  delete from trunkline.checkpoint as c where c.job_id >= v_low and c.job_id < v_high;
  delete from trunkline.job_log as l where l.job_id >= v_low and l.job_id < v_high;
  execute format('drop table trunkline.%I', 'attempt' || p_suffix);
  execute format('drop table trunkline.%I', 'outcome' || p_suffix);
  execute format('drop table trunkline.%I', 'job' || p_suffix);
  return true;
end $$;

-- The hourly round: slices ahead, old slices away, keys whose window is over. Answers what it did, for the log.
create or replace function trunkline.keep_history(p_session_id integer, p_retention_s float8, p_days integer)
returns table (made integer, dropped integer, keys integer)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_old record;
begin
  made := 0; dropped := 0; keys := 0;
  if not trunkline.take_duty('retention', 3600, p_session_id) then
    return;
  end if;
  made := trunkline.make_partitions(p_days);
  for v_old in select * from trunkline.old_partitions(p_retention_s) loop
    dropped := dropped + trunkline.drop_partition(v_old.suffix, p_retention_s)::integer;
  end loop;
  delete from trunkline.idempotency as i where i.expires_at <= trunkline.now();
  get diagnostics keys = row_count;
  delete from trunkline.unique_key as u where u.expires_at <= trunkline.now();
  perform trunkline.drop_firings(p_retention_s);
  perform trunkline.forget_batches(p_retention_s);
  return next;
end $$;
