-- The sentence for people and for other languages:
--   select trunkline.enqueue('resize', '{"path": "a.png"}');
--   select trunkline.enqueue('resize', '{"path": "a.png"}', '{"priority": 5, "run_at": "2027-01-01T00:00:00Z", "unique_key": "a.png"}', 'customer-001');
-- Options: queue, priority, run_at, delay, id, user_id, retry_limit, retry_delay, retry_backoff, retry_max_delay, retry_jitter, timeout,
-- expires_at, idempotency_key, idempotency_window, unique_key, unique_for, unique_replace, dead_letter, traceparent, limit_key, ordering_key,
-- depends_on, on_parent_failure, batch_id, allow_secrets; schedule, scheduled_for (which schedule made it, for which due time). Durations are seconds.

-- Refuses a payload that could not be stored, sent or read back. The depth is counted on the text without its strings,
-- by taking away innermost pairs; PostgreSQL has no limit of its own but its stack.
create or replace function trunkline.check_payload(p_payload json, p_max_bytes integer default 1048576, p_max_depth integer default 64) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  v_text text := p_payload::text;
  v_rest text;
begin
  if p_payload is null then
    raise exception using errcode = 'TL002', message = 'payload is null: need a JSON value, {} for nothing';
  end if;
  if octet_length(v_text) > p_max_bytes then
    raise exception using errcode = 'TL002', message = format('payload has %s bytes, at most %s are accepted: store the data elsewhere and send a reference', octet_length(v_text), p_max_bytes);
  end if;
  if v_text ~ '(^|[^\\])(\\\\)*\\u0000' then
    raise exception using errcode = 'TL002', message = 'payload contains \u0000, which PostgreSQL text cannot hold: remove it or encode the value';
  end if;
  if length(v_text) - length(translate(v_text, '[{', '')) > p_max_depth then
    v_rest := regexp_replace(regexp_replace(v_text, '"(\\.|[^"\\])*"', '', 'g'), '[^][{}]', '', 'g');
    for v_depth in 1 .. p_max_depth loop
      v_rest := replace(replace(v_rest, '[]', ''), '{}', '');
    end loop;
    if v_rest <> '' then
      raise exception using errcode = 'TL002', message = format('payload is nested deeper than %s: flatten it or send a reference', p_max_depth);
    end if;
  end if;
end $$;

-- Refuses options that a worker could not read later: each has its JSON type and its range, the same as in Python.
create or replace function trunkline.check_options(p_options jsonb) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  v_rules constant jsonb := '{"priority": [0, 100], "delay": [0, 315360000], "retry_limit": [0, 1000], "retry_delay": [0, 31536000],
    "retry_max_delay": [0, 31536000], "retry_jitter": [0, 1], "timeout": [0.01, 2592000], "idempotency_window": [0.001, 31536000],
    "unique_for": [1, 31536000], "retry_backoff": "boolean", "unique_replace": "boolean", "queue": "name", "dead_letter": "name",
    "user_id": 500, "idempotency_key": 500, "unique_key": 500, "traceparent": 100, "id": 100, "run_at": 60, "expires_at": 60, "limit_key": 200, "ordering_key": 200,
    "schedule": 200, "scheduled_for": 60,
    "on_parent_failure": ["cancel", "fail", "run"], "depends_on": "ids", "batch_id": "id", "allow_secrets": "boolean"}';
  v_name text;
  v_value jsonb;
  v_rule jsonb;
  v_needs text;
begin
  if jsonb_typeof(p_options) <> 'object' then
    raise exception using errcode = 'TL001', message = format('options are %s: need a JSON object', left(p_options::text, 80));
  end if;
  for v_name, v_value in select * from jsonb_each(p_options) loop
    v_rule := v_rules -> v_name;
    v_needs := case
      when v_rule is null then 'to be one of ' || (select string_agg(k, ', ') from jsonb_object_keys(v_rules) as k)
      when v_rule = '"ids"' then case
        when jsonb_typeof(v_value) <> 'array' or jsonb_array_length(v_value) not between 1 and 1000
          or exists (select from jsonb_array_elements(v_value) as e
                      where jsonb_typeof(e) <> 'string' or e #>> '{}' !~ '^[0-9A-Fa-f]{8}-([0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}$') then 'an array of 1 to 1000 job ids' end
      when jsonb_typeof(v_rule) = 'array' and jsonb_typeof(v_rule -> 0) = 'string' then
        case when not v_rule @> v_value or jsonb_typeof(v_value) <> 'string' then 'to be one of ' || v_rule::text end
      when v_rule = '"id"' then case
        when jsonb_typeof(v_value) <> 'string' or v_value #>> '{}' !~ '^[0-9A-Fa-f]{8}-([0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}$' then 'an id' end
      when v_rule = '"name"' then case when jsonb_typeof(v_value) <> 'string' then 'text' end
      when v_rule = '"boolean"' then case when jsonb_typeof(v_value) <> 'boolean' then 'true or false' end
      when jsonb_typeof(v_rule) = 'number' then
        case when jsonb_typeof(v_value) <> 'string' or length(v_value #>> '{}') not between 1 and v_rule::integer then format('text of 1 to %s characters', v_rule) end
      when jsonb_typeof(v_value) <> 'number' then format('a number from %s to %s', v_rule -> 0, v_rule -> 1)
      when v_value not between v_rule -> 0 and v_rule -> 1 then format('a number from %s to %s', v_rule -> 0, v_rule -> 1)
      when v_name in ('priority', 'retry_limit') and (v_value::numeric % 1) <> 0 then 'an integer' end;
    if v_needs is not null then
      raise exception using errcode = 'TL001', message = format('option %s is %s: need %s', left(v_name, 80), left(v_value::text, 80), v_needs);
    end if;
    if v_rule = '"name"' then
      perform trunkline.check_name(replace(v_name, 'dead_letter', 'dead_letter queue'), v_value #>> '{}');
    end if;
  end loop;
end $$;

-- A moment given as text, with a time zone or in UTC.
create or replace function trunkline.option_time(p_name text, p_text text) returns timestamptz
language plpgsql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
begin
  if not isfinite(p_text::timestamptz) then
    raise data_exception;
  end if;
  return p_text::timestamptz;
exception when data_exception then
  raise exception using errcode = 'TL001', message = format('%s is %L: need a time such as 2027-01-31T12:00:00Z', p_name, left(p_text, 80));
end $$;

-- Answers the job's id; where a key already has a holder, the holder's id.
create or replace function trunkline.enqueue(p_kind text, p_payload json default '{}', p_options jsonb default '{}', p_tenant text default 'default') returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_options jsonb := jsonb_strip_nulls(coalesce(p_options, '{}'));
  v_kind text := trunkline.kind_name(p_kind);
  v_run_at timestamptz;
  v_name text;
  v_kept jsonb;
  v_id uuid := trunkline.new_id();
  v_tenant_id bigint := trunkline.tenant_id(p_tenant);
begin
  perform trunkline.check_payload(p_payload, case when trunkline.is_sealed(p_payload) then 1399000 else 1048576 end);
  perform trunkline.check_options(v_options);
  if v_options ? 'run_at' and v_options ? 'delay' then
    raise exception using errcode = 'TL001', message = 'run_at and delay are both given: need one of them';
  end if;
  v_run_at := trunkline.option_time('run_at', v_options ->> 'run_at');
  perform trunkline.check_private(v_tenant_id, v_kind, p_payload, coalesce((v_options ->> 'allow_secrets')::boolean, false));
  v_kept := v_options - '{queue,priority,run_at,id,user_id,idempotency_key,allow_secrets}'::text[];
  foreach v_name in array '{expires_at,scheduled_for}'::text[] loop
    if v_kept ? v_name then                  -- kept in the one form that workers read
      v_kept := v_kept || jsonb_build_object(v_name,
        to_char(trunkline.option_time(v_name, v_kept ->> v_name) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'));
    end if;
  end loop;
  if v_options ? 'id' then
    if v_options ->> 'id' !~ '^[0-9A-Fa-f]{8}-([0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}$' then
      raise exception using errcode = 'TL003', message = format('job id %L: need a UUIDv7', left(v_options ->> 'id', 80));
    end if;
    v_id := (v_options ->> 'id')::uuid;
  end if;
  select e.id into v_id from trunkline.enqueue_jobs(v_tenant_id,
    array[v_id], array[v_kind], array[coalesce(v_options ->> 'queue', v_kind)],
    array[coalesce((v_options ->> 'priority')::numeric, 0)::smallint], array[p_payload], array[v_options ->> 'user_id'],
    array[case when v_kept <> '{}' then v_kept::json end], array[v_run_at], array[v_options ->> 'idempotency_key'], array[v_options ->> 'unique_key']) as e;
  return v_id;
end $$;
