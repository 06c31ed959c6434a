-- What worker processes do with schedules: learn that one is due, plan it, fire it. Everything is fenced by `revision`.

-- Seconds until a schedule needs somebody: null: never, as things stand; not above zero: now. Asked with every tick; an empty
-- index costs one page.
create or replace function trunkline.schedules_due_in() returns float8
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  v_next timestamptz := (select min(s.next_run_at) from trunkline.schedule as s where s.next_run_at is not null);
  v_now timestamptz;
begin
  if v_next is null then
    return null;
  end if;
  v_now := trunkline.now();
  return case when v_next <= v_now then 0 else extract(epoch from v_next - v_now) end;
end $$;

-- Those that need somebody now, longest due first; `next_run_at` null: to be planned from `plan_from` on.
create or replace function trunkline.due_schedules(p_limit integer)
returns table (now timestamptz, tenant_id bigint, schedule_id integer, revision bigint, name text, cron text, every_s float8, run_at timestamptz,
               starts_at timestamptz, time_zone text, missed text, missed_limit integer, plan_from timestamptz, next_run_at timestamptz)
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
#variable_conflict use_column
declare
  v_now timestamptz := trunkline.now();
begin
  return query select v_now, s.tenant_id, s.schedule_id, s.revision, s.name, s.cron, s.every_s, s.run_at, s.starts_at, s.time_zone, s.missed, s.missed_limit,
                      s.plan_from, case when isfinite(s.next_run_at) then s.next_run_at end
                 from trunkline.schedule as s where s.next_run_at <= v_now order by s.next_run_at limit p_limit;
end $$;

-- Notes when a schedule is due next (null: never again), without firing; false: it changed meanwhile, somebody else saw to it.
create or replace function trunkline.plan_schedule(p_tenant_id bigint, p_schedule_id integer, p_revision bigint, p_next_run_at timestamptz, p_error text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update trunkline.schedule as s set next_run_at = p_next_run_at, error = left(p_error, 2000), revision = s.revision + 1
   where s.tenant_id = p_tenant_id and s.schedule_id = p_schedule_id and s.revision = p_revision and s.next_run_at is not null;
  return found;
end $$;

-- One job for each due time that has none yet, and the schedule moves on: all of it or nothing. Answers how many jobs are new, null
-- where the schedule changed meanwhile or somebody is just firing it. A key that an open transaction holds is not waited for
-- longer than a second: others are due too.
create or replace function trunkline.fire(p_tenant_id bigint, p_schedule_id integer, p_revision bigint, p_due_ats timestamptz[], p_next_run_at timestamptz) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '1s' as $$
declare
  v_schedule trunkline.schedule;
  v_due_at timestamptz;
  v_made integer := 0;
begin
  select * into v_schedule from trunkline.schedule as s
   where s.tenant_id = p_tenant_id and s.schedule_id = p_schedule_id and s.revision = p_revision and s.next_run_at is not null for update skip locked;
  if not found then
    return null;
  end if;
  foreach v_due_at in array p_due_ats loop
    v_made := v_made + (trunkline.fire_once(v_schedule, v_due_at, false) is not null)::integer;
  end loop;
  update trunkline.schedule as s
     set next_run_at = p_next_run_at, last_run_at = greatest(s.last_run_at, (select max(d) from unnest(p_due_ats) as d)), error = null, revision = s.revision + 1
   where s.tenant_id = p_tenant_id and s.schedule_id = p_schedule_id;
  return v_made;
end $$;

-- The job of one due time; null: there is a firing for it already, or a live job holds its unique key (the firing says which).
create or replace function trunkline.fire_once(p_schedule trunkline.schedule, p_due_at timestamptz, p_by_hand boolean) returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_id uuid := trunkline.new_id();
  v_stands uuid;
  v_job record;
begin
  insert into trunkline.firing (tenant_id, schedule_id, due_at, fired_at, job_id, is_new, by_hand)
  values (p_schedule.tenant_id, p_schedule.schedule_id, p_due_at, trunkline.now(), v_id, true, p_by_hand) on conflict do nothing;
  if not found then
    return null;
  end if;
  if p_schedule.template is null then
    select p_schedule.kind as kind, coalesce(p_schedule.payload, '{}') as payload, p_schedule.options as options into v_job;
  else
    select * into v_job from trunkline.expand_template(p_schedule.tenant_id, p_schedule.template, p_schedule.payload, p_schedule.options);
  end if;
  v_stands := trunkline.enqueue(v_job.kind, v_job.payload,
    v_job.options || jsonb_build_object('id', v_id, 'schedule', p_schedule.name,
      'scheduled_for', to_char(p_due_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')),
    (select t.name from trunkline.tenant as t where t.tenant_id = p_schedule.tenant_id));
  if v_stands = v_id then
    return v_id;
  end if;
  update trunkline.firing as f set job_id = v_stands, is_new = false
   where f.tenant_id = p_schedule.tenant_id and f.schedule_id = p_schedule.schedule_id and f.due_at = p_due_at;
  return null;
end $$;

-- By hand, now, whatever the rule says, also while it is paused. Answers the job that stands for it and whether it is new.
create or replace function trunkline.run_schedule(p_tenant_id bigint, p_name text, out id uuid, out created boolean)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_schedule trunkline.schedule;
  v_now timestamptz := trunkline.now();
begin
  select * into v_schedule from trunkline.schedule as s where s.tenant_id = p_tenant_id and s.name = p_name for update;
  if not found then
    raise exception using errcode = 'TL004', message = format('schedule %L: this tenant has none of that name', left(p_name, 80));
  end if;
  perform trunkline.fire_once(v_schedule, v_now, true);
  select f.job_id, f.is_new into id, created from trunkline.firing as f
   where f.tenant_id = p_tenant_id and f.schedule_id = v_schedule.schedule_id and f.due_at = v_now;
end $$;

-- Firings are remembered as long as history, and one-off schedules that are over. Bounded: the hourly round comes again.
create or replace function trunkline.drop_firings(p_retention_s float8) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_before timestamptz := trunkline.now() - make_interval(secs => p_retention_s);
  v_dropped integer;
begin
  delete from trunkline.firing as f
   where f.ctid = any (array(select o.ctid from trunkline.firing as o where o.fired_at < v_before order by o.fired_at limit 50000));
  get diagnostics v_dropped = row_count;
  delete from trunkline.schedule as s
   where s.run_at < v_before and s.next_run_at is null and s.paused_at is null and s.error is null and s.last_run_at < v_before;
  return v_dropped;
end $$;

-- What people read: the rule, where it stands, and what it last did.
create or replace view trunkline.schedules with (security_invoker = true) as
select s.tenant_id, s.schedule_id, s.name, s.kind, s.template, s.payload, s.options, s.cron, s.every_s, s.run_at, s.starts_at, s.time_zone, s.missed, s.missed_limit,
       case when isfinite(s.next_run_at) then s.next_run_at end as next_run_at, s.last_run_at, s.paused_at, s.error,
       case when s.paused_at is not null then 'paused' when s.next_run_at = '-infinity' then 'unplanned' when s.next_run_at is not null then 'active'
            when s.error is not null then 'broken' else 'over' end as state,
       s.declared_by_code, s.revision, s.created_at, s.updated_at
  from trunkline.schedule as s;
