-- Templates: a named kind with payload and options; `enqueue_template` makes a job of one.
--   select trunkline.save_template(1, 'nightly', 'report', '{"path": "/all"}', '{"priority": 5}');
--   select trunkline.enqueue_template('nightly', '{"day": "2027-01-31"}');

-- Options that templates and schedules keep are for many jobs: those that mean one job, or one moment, are refused.
create or replace function trunkline.check_kept_options(p_options jsonb) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  v_name text;
begin
  perform trunkline.check_options(case when jsonb_typeof(p_options) = 'object' then jsonb_strip_nulls(p_options) else coalesce(p_options, 'null') end);
  select o into v_name from jsonb_object_keys(p_options) as o
   where o in ('id', 'run_at', 'expires_at', 'idempotency_key', 'depends_on', 'batch_id', 'schedule', 'scheduled_for') limit 1;
  if v_name is not null then
    raise exception using errcode = 'TL001', message = format('option %s belongs to one job: a template or schedule makes many. Give it at enqueue', v_name);
  end if;
end $$;

-- Makes a template (true), or replaces the one of that name (false); jobs that were made from it stay as they are.
create or replace function trunkline.save_template(p_tenant_id bigint, p_name text, p_kind text, p_payload json default '{}', p_options jsonb default '{}') returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_is_new boolean;
begin
  perform trunkline.check_name('template', p_name);
  perform trunkline.check_name('kind', p_kind);
  perform trunkline.check_payload(p_payload);
  perform trunkline.check_kept_options(p_options);
  perform trunkline.check_kept(p_tenant_id, trunkline.kind_name(p_kind), p_payload, p_options);
  insert into trunkline.template as t (tenant_id, name, kind, payload, options, updated_at)
  values (p_tenant_id, p_name, trunkline.kind_name(p_kind), p_payload, jsonb_strip_nulls(p_options), trunkline.now())
      on conflict (tenant_id, name) do update
     set kind = excluded.kind, payload = excluded.payload, options = excluded.options, updated_at = excluded.updated_at
  returning t.xmax = 0 into v_is_new;                                            -- a row that was there has been locked by this statement
  return v_is_new;
end $$;

-- False: there was none. Refused while a schedule makes jobs of it. Locks: the template, as whoever saves such a schedule does.
create or replace function trunkline.delete_template(p_tenant_id bigint, p_name text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_users text[];
begin
  perform from trunkline.template as t where t.tenant_id = p_tenant_id and t.name = p_name for update;
  if not found then
    return false;
  end if;
  v_users := array(select s.name from trunkline.schedule as s where s.tenant_id = p_tenant_id and s.template = p_name order by s.name limit 6);
  if v_users <> '{}' then
    raise exception using errcode = 'TL001', message = format('template %L makes the jobs of the schedule%s %s%s: delete or change %s first', left(p_name, 80),
      case when cardinality(v_users) > 1 then 's' else '' end,
      (select string_agg(quote_literal(left(u, 80)), ', ') from unnest(v_users[:5]) as u), case when cardinality(v_users) > 5 then ', ...' else '' end,
      case when cardinality(v_users) > 1 then 'them' else 'it' end);
  end if;
  delete from trunkline.template as t where t.tenant_id = p_tenant_id and t.name = p_name;
  return true;
end $$;

-- Two objects are merged field by field, `p_over` wins; anything else replaces. Values keep their text: a number that no float
-- holds goes through.
create or replace function trunkline.merged_payload(p_under json, p_over json) returns json
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select case
    when p_over is null then p_under
    when json_typeof(p_under) <> 'object' or json_typeof(p_over) <> 'object' then p_over
    else (select coalesce(json_object_agg(m.key, m.value), '{}') from (
            select u.key, u.value from json_each(p_under) as u where not exists (select from json_object_keys(p_over) as k where k = u.key)
            union all
            select o.key, o.value from json_each(p_over) as o) as m) end
$$;

-- What a job made from a template is: its kind, the payload with `p_payload` over it, the options with `p_options` over them (null
-- takes one away).
create or replace function trunkline.expand_template(
  p_tenant_id bigint, p_name text, p_payload json, p_options jsonb, out kind text, out payload json, out options jsonb)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if p_payload is not null then
    perform trunkline.check_payload(p_payload);
  end if;
  if jsonb_typeof(p_options) <> 'object' then
    perform trunkline.check_options(p_options);
  end if;
  perform trunkline.check_mergeable(t, p_payload) from trunkline.template as t where t.tenant_id = p_tenant_id and t.name = p_name;
  select t.kind, case when trunkline.is_sealed(p_payload) then p_payload else trunkline.merged_payload(t.payload, p_payload) end, jsonb_strip_nulls(t.options || coalesce(p_options, '{}'))
    into kind, payload, options
    from trunkline.template as t where t.tenant_id = p_tenant_id and t.name = p_name;
  if kind is null then
    raise exception using errcode = 'TL004', message = format('template %L: this tenant has none of that name', left(p_name, 80));
  end if;
end $$;

-- Answers the job's id; where a key already has a holder, the holder's id.
create or replace function trunkline.enqueue_template(p_name text, p_payload json default null, p_options jsonb default '{}', p_tenant text default 'default') returns uuid
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select trunkline.enqueue(t.kind, t.payload, t.options, p_tenant)
    from trunkline.expand_template(trunkline.tenant_id(p_tenant), p_name, p_payload, p_options) as t
$$;

-- What people read: each template, and how many schedules make jobs of it.
create or replace view trunkline.templates with (security_invoker = true) as
select t.tenant_id, t.name, t.kind, t.payload, t.options, t.updated_at,
       (select count(*) from trunkline.schedule as s where s.tenant_id = t.tenant_id and s.template = t.name) as schedules
  from trunkline.template as t;
