-- Schedules. People say `schedule_job` and `unschedule`; worker processes plan and fire (engine/scheduler.py computes the times).
--   select trunkline.schedule_job('nightly', 'report', '0 3 * * *', '{"path": "/all"}', '{"tz": "Europe/Berlin", "missed": "skip"}');
--   select trunkline.schedule_job('pulse', 'ping', 'every 90 seconds');
--   select trunkline.schedule_job('launch', 'open-shop', 'at 2027-01-31T09:00:00+01:00');
-- Lock order: the template's row, the schedule's, then whatever its jobs' enqueue takes.

-- Refuses what can be refused without computing cron: the rest is found when it is planned, and stands in `error` then.
create or replace function trunkline.check_rule(p_cron text, p_every_s float8, p_at timestamptz, p_time_zone text, p_missed text, p_missed_limit integer) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if num_nonnulls(p_cron, p_every_s, p_at) <> 1 then
    raise exception using errcode = 'TL001', message = 'a schedule needs one rule: cron, every or at';
  elsif length(p_cron) > 200 or p_cron !~ '^\s*([-0-9A-Za-z*,/#]+\s+){4,5}[-0-9A-Za-z*,/#]+\s*$' then
    raise exception using errcode = 'TL001', message = format('cron expression %L: need 5 fields (minute hour day month weekday), or 6 with seconds first', left(p_cron, 80));
  elsif p_every_s not between 1 and 315360000 then
    raise exception using errcode = 'TL001', message = format('every is %s s: need 1 second to 10 years', p_every_s);
  elsif not isfinite(p_at) then
    raise exception using errcode = 'TL001', message = format('at is %s: need a moment', p_at);
  elsif p_missed is null or p_missed not in ('skip', 'once', 'all') then
    raise exception using errcode = 'TL001', message = format('missed is %L: need skip, once or all', p_missed);
  elsif p_missed_limit is null or p_missed_limit not between 1 and 1000 then
    raise exception using errcode = 'TL001', message = format('missed_limit is %s: need 1 to 1000', p_missed_limit);
  elsif p_time_zone is null or p_time_zone <> 'UTC' and not exists (select from pg_timezone_names as z where z.name = p_time_zone) then
    raise exception using errcode = 'TL001', message = format('time zone %L: need an IANA name such as Europe/Berlin', left(p_time_zone, 80));
  end if;
end $$;

-- Makes a schedule or changes the one of that name: created, changed, unchanged; or `moved` where `p_revision` is not its
-- revision any more. Its next time is planned anew only if the rule changed; a paused one stays paused.
create or replace function trunkline.save_schedule(
  p_tenant_id bigint, p_name text, p_kind text, p_template text, p_payload json, p_options jsonb, p_cron text, p_every_s float8, p_at timestamptz,
  p_starts_at timestamptz, p_time_zone text, p_missed text, p_missed_limit integer, p_declared boolean, p_revision bigint default null) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_now timestamptz := trunkline.now();
  v_old trunkline.schedule;
  v_is_same boolean;
begin
  perform trunkline.check_work(p_name, p_kind, p_template, p_payload, p_options);
  p_kind := trunkline.kind_name(p_kind);
  perform trunkline.check_source(p_tenant_id, p_kind, p_template, p_payload, p_options);
  select * into v_old from trunkline.schedule as s where s.tenant_id = p_tenant_id and s.name = p_name for update;
  if p_revision is not null and p_revision is distinct from v_old.revision then
    return 'moved';
  end if;
  v_is_same := v_old.name is not null and (v_old.cron, v_old.every_s, v_old.run_at, v_old.time_zone) is not distinct from (p_cron, p_every_s, p_at, p_time_zone)
           and (p_starts_at is null or p_starts_at = v_old.starts_at);
  if not v_is_same or (v_old.missed, v_old.missed_limit) is distinct from (p_missed, p_missed_limit) then
    perform trunkline.check_rule(p_cron, p_every_s, p_at, p_time_zone, p_missed, p_missed_limit);
  end if;
  if not v_is_same and p_at <= v_now then
    raise exception using errcode = 'TL001', message = format('at is %s, which is past (it is %s): give a time to come', p_at, v_now);
  end if;
  if v_old.name is null then
    insert into trunkline.schedule (tenant_id, name, kind, template, payload, options, cron, every_s, run_at, starts_at, time_zone, missed, missed_limit,
                                    plan_from, next_run_at, declared_by_code, created_at, updated_at)
    values (p_tenant_id, p_name, p_kind, p_template, p_payload, p_options, p_cron, p_every_s, p_at, coalesce(p_starts_at, v_now), p_time_zone, p_missed,
            p_missed_limit, v_now, '-infinity', p_declared, v_now, v_now)
        on conflict (tenant_id, name) do nothing;
    return case when found then 'created'           -- else somebody made it at the same moment: look again
                else trunkline.save_schedule(p_tenant_id, p_name, p_kind, p_template, p_payload, p_options, p_cron, p_every_s, p_at, p_starts_at,
                                             p_time_zone, p_missed, p_missed_limit, p_declared, p_revision) end;
  end if;
  if v_is_same and (v_old.kind, v_old.template, v_old.payload::text, v_old.options, v_old.missed, v_old.missed_limit, v_old.declared_by_code)
       is not distinct from (p_kind, p_template, p_payload::text, p_options, p_missed, p_missed_limit, p_declared) then
    return 'unchanged';
  end if;
  update trunkline.schedule as s
     set kind = p_kind, template = p_template, payload = p_payload, options = p_options, cron = p_cron, every_s = p_every_s, run_at = p_at,
         starts_at = coalesce(p_starts_at, case when v_is_same or s.every_s = p_every_s then s.starts_at else v_now end), time_zone = p_time_zone,
         missed = p_missed, missed_limit = p_missed_limit, declared_by_code = p_declared, updated_at = v_now, revision = s.revision + 1,
         plan_from = case when v_is_same then s.plan_from else v_now end,
         error = case when v_is_same then s.error end,
         next_run_at = case when v_is_same then s.next_run_at when s.paused_at is null then '-infinity' end
   where s.tenant_id = p_tenant_id and s.schedule_id = v_old.schedule_id;
  return 'changed';
end $$;

-- Refuses what no job could be made of.
create or replace function trunkline.check_work(p_name text, p_kind text, p_template text, p_payload json, p_options jsonb) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  perform trunkline.check_name('schedule', p_name);
  if num_nonnulls(p_kind, p_template) <> 1 then
    raise exception using errcode = 'TL001', message = format('schedule %L: need a kind or a template, one of them', p_name);
  end if;
  perform trunkline.check_name(case when p_kind is null then 'template' else 'kind' end, coalesce(p_kind, p_template));
  perform trunkline.check_payload(coalesce(p_payload, '{}'));
  perform trunkline.check_kept_options(p_options);
end $$;

-- The sentence for people. `p_rule`: a cron expression, 'every <interval>' or 'at <time>'. `p_options`: tz, missed, missed_limit,
-- start, template (then the kind is null), overlap ('skip': no second job while one is live), and what trunkline.enqueue takes.
create or replace function trunkline.schedule_job(
  p_name text, p_kind text, p_rule text, p_payload json default null, p_options jsonb default '{}', p_tenant text default 'default') returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
  v_options jsonb := coalesce(p_options, '{}');
  v_word text := lower(split_part(ltrim(p_rule), ' ', 1));
  v_rest text := ltrim(substr(ltrim(p_rule), length(v_word) + 1));
  v_every_s float8;
  v_kept jsonb;
begin
  if jsonb_typeof(v_options) <> 'object' then
    perform trunkline.check_options(v_options);
  end if;
  if coalesce(v_options ->> 'overlap', 'allow') not in ('allow', 'skip') then
    raise exception using errcode = 'TL001', message = format('overlap is %L: need allow or skip', v_options ->> 'overlap');
  end if;
  if v_word = 'every' then
    begin
      v_every_s := case when v_rest ~ '^[0-9.]+$' then v_rest::float8 else extract(epoch from v_rest::interval) end;
    exception when data_exception then
      raise exception using errcode = 'TL001', message = format('rule %L: need every and an interval, such as every 15 minutes', left(p_rule, 80));
    end;
  end if;
  v_kept := v_options - '{tz,missed,missed_limit,start,template,overlap}'::text[];
  if v_options ->> 'overlap' = 'skip' and not v_kept ? 'unique_key' then
    v_kept := v_kept || jsonb_build_object('unique_key', 'schedule:' || p_name);
  end if;
  return trunkline.save_schedule(trunkline.tenant_id(p_tenant), p_name, p_kind, v_options ->> 'template', p_payload, v_kept,
    case when v_word not in ('every', 'at') then p_rule end, v_every_s, case when v_word = 'at' then trunkline.option_time('at', v_rest) end,
    trunkline.option_time('start', v_options ->> 'start'), coalesce(v_options ->> 'tz', 'UTC'), coalesce(v_options ->> 'missed', 'once'),
    coalesce((v_options ->> 'missed_limit')::integer, 100), false);
exception when invalid_text_representation or numeric_value_out_of_range then
  raise exception using errcode = 'TL001', message = format('missed_limit is %L: need 1 to 1000', v_options ->> 'missed_limit');
end $$;

-- Takes a schedule away with the memory of its firings; the jobs it made stay. False: there was none.
create or replace function trunkline.delete_schedule(p_tenant_id bigint, p_name text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_id integer;
begin
  delete from trunkline.schedule as s where s.tenant_id = p_tenant_id and s.name = p_name returning s.schedule_id into v_id;
  delete from trunkline.firing as f where f.tenant_id = p_tenant_id and f.schedule_id = v_id;
  return v_id is not null;
end $$;

create or replace function trunkline.unschedule(p_name text, p_tenant text default 'default') returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as
$$ select trunkline.delete_schedule(trunkline.tenant_id(p_tenant), p_name) $$;

-- Takes away what the code once declared and does not any more; never what was made at run time. Answers the names.
create or replace function trunkline.prune_schedules(p_tenant_id bigint, p_keep text[]) returns setof text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_name text;
begin
  for v_name in select s.name from trunkline.schedule as s
                 where s.tenant_id = p_tenant_id and s.declared_by_code and s.name <> all (p_keep) order by s.name for update loop
    perform trunkline.delete_schedule(p_tenant_id, v_name);
    return next v_name;
  end loop;
end $$;

-- Exact at commit: a firing that commits later finds another revision. What falls due while it is paused is not missed, it is not
-- wanted. False: it was so already.
create or replace function trunkline.pause_schedule(p_tenant_id bigint, p_name text, p_paused boolean) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_now timestamptz := trunkline.now();
begin
  update trunkline.schedule as s
     set paused_at = case when p_paused then v_now end, next_run_at = case when not p_paused then '-infinity'::timestamptz end,
         plan_from = v_now, error = null, revision = s.revision + 1
   where s.tenant_id = p_tenant_id and s.name = p_name and p_paused = (s.paused_at is null);
  if not found and not exists (select from trunkline.schedule as s where s.tenant_id = p_tenant_id and s.name = p_name) then
    raise exception using errcode = 'TL004', message = format('schedule %L: this tenant has none of that name', left(p_name, 80));
  end if;
  return found;
end $$;
