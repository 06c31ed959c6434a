-- Payloads that are kept before there is a job: those of templates and schedules, and of the callbacks of batches. What a job of that
-- kind could not be is refused when it is saved, not when it is due.

-- Refuses a payload for a kind that is encrypted and a plain one with a secret. Null stands for {}, which is plain, too. Locks: none.
create or replace function trunkline.check_kept(p_tenant_id bigint, p_kind text, p_payload json, p_options jsonb) returns void
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_path text;
begin
  if trunkline.is_sealed(p_payload) then
    return;
  end if;
  if trunkline.sealed_kinds(p_tenant_id, array[p_kind]) <> '{}' then
    raise exception using errcode = 'TL009',
      message = format('kind %L is encrypted and the payload that is to be kept for its jobs is not', left(p_kind, 80)),
      hint = 'Save it from a process with TRUNKLINE_ENCRYPTION_KEYS, or give what app.privacy.seal() made.';
  end if;
  v_path := case when p_payload is not null and not coalesce((p_options ->> 'allow_secrets')::boolean, false) then trunkline.secret_path(p_payload) end;
  if v_path is not null then
    raise exception using errcode = 'TL010',
      message = format('%s looks like a secret, and payloads are stored as they are sent: encrypt the kind (encrypt=True), send a reference to where the secret is kept, or say allow_secrets', left(v_path, 200));
  end if;
end $$;

-- What a schedule makes jobs of: a kind with a payload that such a job may have, or a template that is there and that the payload can
-- go over. The template stays until the schedule is committed: whoever deletes it waits, and finds the schedule.
create or replace function trunkline.check_source(p_tenant_id bigint, p_kind text, p_template text, p_payload json, p_options jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_template trunkline.template;
begin
  if p_template is null then
    perform trunkline.check_kept(p_tenant_id, p_kind, p_payload, p_options);
    return;
  end if;
  select * into v_template from trunkline.template as t where t.tenant_id = p_tenant_id and t.name = p_template for key share;
  if not found then
    raise exception using errcode = 'TL004', message = format('template %L: this tenant has none of that name. Save it first', left(p_template, 80));
  end if;
  if p_payload is not null then
    perform trunkline.check_mergeable(v_template, p_payload);
    perform trunkline.check_kept(p_tenant_id, v_template.kind, p_payload, v_template.options || p_options);
  end if;
end $$;

-- An encrypted payload is one value: it takes the whole place, and nothing can be merged into it.
create or replace function trunkline.check_mergeable(p_template trunkline.template, p_payload json) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  if json_typeof(p_payload) = 'object' and not trunkline.is_sealed(p_payload) and trunkline.is_sealed(p_template.payload) then
    raise exception using errcode = 'TL002',
      message = format('template %L has an encrypted payload, and fields cannot be merged into it: give none, or a whole one that app.privacy.seal() made', left(p_template.name, 80));
  end if;
end $$;

-- Where sealed text is kept, and what plain text a worker that knows the kind should seal: a page of names behind the last.
-- `p_what`: template, schedule, callback (those that were not sent yet). `kept` null: nothing is there to be sealed.
create or replace function trunkline.kept_payloads(p_what text, p_after_tenant bigint, p_after text, p_limit integer)
returns table (tenant_id bigint, name text, kind text, kept text, is_encrypted boolean)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select p.tenant_id, p.name, p.kind, p.kept::text,
         exists (select from trunkline.kind as k where k.tenant_id in (0, p.tenant_id) and k.name = p.kind and k.seals & 1 <> 0)
    from (select t.tenant_id, t.name, t.kind, t.payload as kept from trunkline.template as t where p_what = 'template'
           union all
          select s.tenant_id, s.name, coalesce(s.kind, t.kind), case when s.kind is not null then coalesce(s.payload, '{}') else s.payload end
            from trunkline.schedule as s
            left join trunkline.template as t on t.tenant_id = s.tenant_id and t.name = s.template
           where p_what = 'schedule'
           union all
          select b.tenant_id, b.batch_id || ' ' || c.event, c.spec ->> 'kind', c.spec -> 'payload'
            from trunkline.batch as b
           cross join lateral (values ('complete', b.on_complete, b.complete_job), ('success', b.on_success, b.success_job)) as c (event, spec, sent)
           where p_what = 'callback' and c.spec is not null and c.sent is null) as p
   where (p.tenant_id, p.name) > (p_after_tenant, p_after) order by p.tenant_id, p.name limit p_limit
$$;

-- Puts sealed text in the place of what is kept: sealed with an older key, or plain from before its kind was encrypted. Fenced by the old
-- text: what changed meanwhile is left alone. Answers whether it was replaced.
create or replace function trunkline.reseal_kept(p_tenant_id bigint, p_what text, p_name text, p_old text, p_new text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
begin
  if p_new is null or not trunkline.is_sealed(p_new::json) then
    raise exception using errcode = 'TL001', message = 'reseal_kept puts sealed text in the place of what is kept, and was given something else';
  end if;
  case p_what
    when 'template' then
      update trunkline.template as t set payload = p_new::json where t.tenant_id = p_tenant_id and t.name = p_name and t.payload::text = p_old;
    when 'schedule' then
      update trunkline.schedule as s set payload = p_new::json, revision = s.revision + 1
       where s.tenant_id = p_tenant_id and s.name = p_name and coalesce(s.payload::text, '{}') = p_old;
    when 'callback' then
      update trunkline.batch as b
         set on_complete = case when p_name like '% complete' then trunkline.with_payload(b.on_complete, p_new) else b.on_complete end,
             on_success = case when p_name like '% success' then trunkline.with_payload(b.on_success, p_new) else b.on_success end
       where b.tenant_id = p_tenant_id and b.batch_id = split_part(p_name, ' ', 1)::uuid
         and (case when p_name like '% complete' then b.on_complete else b.on_success end -> 'payload')::text = p_old;
    else
      raise exception using errcode = 'TL001', message = format('what is %L: need template, schedule or callback', left(p_what, 80));
  end case;
  return found;
end $$;

-- A callback with another payload; its other fields keep their text.
create or replace function trunkline.with_payload(p_spec json, p_payload text) returns json
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select json_object_agg(e.key, case e.key when 'payload' then p_payload::json else e.value end) from json_each(p_spec) as e
$$;
