-- The sentence for people and for other languages:
--   select trunkline.enqueue('resize', '{"path": "a.png"}');
--   select trunkline.enqueue('resize', '{"path": "a.png"}', '{"priority": 5, "run_at": "2027-01-01T00:00:00Z", "unique_key": "a.png"}', 'customer-001');
-- Options: queue, priority, run_at, delay, id, user_id, retry_limit, retry_delay, retry_backoff, retry_max_delay, retry_jitter, timeout,
-- expires_at, idempotency_key, idempotency_window, unique_key, unique_for, unique_replace, dead_letter, traceparent. Durations are seconds.

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

create or replace function trunkline.check_options(p_options jsonb) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  v_known constant text[] := '{queue,priority,run_at,delay,id,user_id,retry_limit,retry_delay,retry_backoff,retry_max_delay,retry_jitter,timeout,expires_at,idempotency_key,idempotency_window,unique_key,unique_for,unique_replace,dead_letter,traceparent}';
  v_bad text;
  v_low float8;
begin
  select k into v_bad from jsonb_object_keys(p_options) as k where k <> all (v_known) limit 1;
  if found then
    raise exception using errcode = 'TL001', message = format('option %L is unknown: need one of %s', left(v_bad, 80), array_to_string(v_known, ', '));
  end if;
  if (p_options ->> 'priority')::numeric not between 0 and 100 then
    raise exception using errcode = 'TL001', message = format('priority is %s: need 0 to 100, higher first', p_options ->> 'priority');
  end if;
  foreach v_bad in array '{delay,retry_limit,retry_delay,retry_max_delay,retry_jitter}'::text[] loop
    v_low := (p_options ->> v_bad)::float8;
    if v_low < 0 or v_low > 31536000 or v_low = 'NaN' then
      raise exception using errcode = 'TL001', message = format('%s is %s: need 0 to 31536000', v_bad, v_low);
    end if;
  end loop;
  foreach v_bad in array '{timeout,idempotency_window,unique_for}'::text[] loop
    v_low := (p_options ->> v_bad)::float8;
    if v_low <= 0 or v_low > 31536000 or v_low = 'NaN' then
      raise exception using errcode = 'TL001', message = format('%s is %s: need more than 0, at most 31536000 seconds', v_bad, v_low);
    end if;
  end loop;
  if p_options ? 'dead_letter' then
    perform trunkline.check_name('dead_letter queue', p_options ->> 'dead_letter');
  end if;
exception when invalid_text_representation or numeric_value_out_of_range then
  raise exception using errcode = 'TL001', message = format('options %s: %s', left(p_options::text, 200), sqlerrm);
end $$;

-- Answers the job's id; where a key already has a holder, the holder's id.
create or replace function trunkline.enqueue(p_kind text, p_payload json default '{}', p_options jsonb default '{}', p_tenant text default 'default') returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_tenant_id bigint := trunkline.tenant_id(p_tenant);
  v_kind text := trunkline.kind_name(p_kind);
  v_run_at timestamptz := coalesce((p_options ->> 'run_at')::timestamptz, trunkline.now() + make_interval(secs => (p_options ->> 'delay')::float8));
  v_rest jsonb := p_options - '{queue,priority,run_at,delay,id,user_id,idempotency_key}'::text[];
  v_id uuid;
begin
  perform trunkline.check_payload(p_payload);
  perform trunkline.check_options(p_options);
  select e.id into v_id from trunkline.enqueue_jobs(v_tenant_id,
    array[coalesce((p_options ->> 'id')::uuid, trunkline.new_id())], array[v_kind], array[coalesce(p_options ->> 'queue', v_kind)],
    array[coalesce((p_options ->> 'priority')::smallint, 0::smallint)], array[p_payload], array[p_options ->> 'user_id'],
    array[case when v_rest <> '{}' then v_rest::json end], array[v_run_at], array[p_options ->> 'idempotency_key'], array[p_options ->> 'unique_key']) as e;
  return v_id;
end $$;
