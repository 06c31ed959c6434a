-- Putting batches together: open, add, seal; or all of it in one call. How they end: 44_batches.sql.
-- Jobs may join until the batch is done, also from its own running children; sealing only says that it may end.

-- Makes an open batch; false: it is there already, because the answer to this very call was lost.
-- The callbacks' names are made now, so that the last child's report, which sends them, need not wait for anybody who makes names.
create or replace function trunkline.open_batch(
  p_tenant_id bigint, p_batch_id uuid, p_name text default null, p_on_success json default null, p_on_complete json default null) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_spec json;
begin
  perform trunkline.check_ids(array[p_batch_id]);
  if length(p_name) not between 1 and 200 then
    raise exception using errcode = 'TL001', message = format('batch name %L: need 1 to 200 characters', left(p_name, 80));
  end if;
  foreach v_spec in array array[p_on_success, p_on_complete] loop
    if v_spec is not null then
      perform trunkline.ensure_names(p_tenant_id, array[v_spec ->> 'queue'], array[v_spec ->> 'kind'], array[(v_spec ->> 'priority')::smallint]);
      if trunkline.sealed_kinds(p_tenant_id, array[v_spec ->> 'kind']) <> '{}' then
        perform trunkline.must_be_sealed(v_spec ->> 'kind', v_spec -> 'payload');
      end if;
    end if;
  end loop;
  insert into trunkline.batch (tenant_id, batch_id, created_at, name, on_success, on_complete)
  values (p_tenant_id, p_batch_id, trunkline.now(), p_name, p_on_success, p_on_complete)
      on conflict (tenant_id, batch_id) do nothing;
  return found;
end $$;

-- Jobs that were just put in with the option batch_id become children of their batches. Called by enqueue_jobs, in its transaction.
-- The shared lock keeps a batch from ending until these children are there to be counted; many may add at once.
create or replace function trunkline.join_batches(p_tenant_id bigint, p_job_ids uuid[], p_batch_ids uuid[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_batch_id uuid;
  v_batch trunkline.batch;
begin
  for v_batch_id in select distinct b from unnest(p_batch_ids) as b order by 1 loop
    select * into v_batch from trunkline.batch as b where b.tenant_id = p_tenant_id and b.batch_id = v_batch_id for share;
    if v_batch.batch_id is null then
      raise exception using errcode = 'TL004', message = format('batch %s: this tenant has no such batch', v_batch_id);
    elsif v_batch.done_at is not null or v_batch.cancelled_at is not null then
      raise exception using errcode = 'TL001', message = format('batch %s takes no more jobs: it is %s. Open another one',
        v_batch_id, case when v_batch.cancelled_at is null then 'done' else 'cancelled' end);
    end if;
  end loop;
  with kept as (
    insert into trunkline.batch_job (tenant_id, batch_id, job_id)
    select p_tenant_id, u.batch_id, u.job_id from unnest(p_job_ids, p_batch_ids) as u (job_id, batch_id)
        on conflict (tenant_id, batch_id, job_id) do nothing          -- said twice at the same moment: counted once
    returning batch_id
  )
  insert into trunkline.batch_delta (tenant_id, batch_id, total) select p_tenant_id, k.batch_id, count(*) from kept as k group by k.batch_id;
end $$;

-- No more jobs will come from outside. A batch whose children have all ended is done at once.
create or replace function trunkline.seal_batch(p_tenant_id bigint, p_batch_id uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update trunkline.batch as b set sealed_at = coalesce(b.sealed_at, trunkline.now()) where b.tenant_id = p_tenant_id and b.batch_id = p_batch_id;
  if not found then
    raise exception using errcode = 'TL004', message = format('batch %s: this tenant has no such batch', p_batch_id);
  end if;
  perform trunkline.finish_batch(p_tenant_id, p_batch_id);
end $$;

-- Up to 10,000 jobs in one transaction, all or none; answers as enqueue_jobs does. Slices, because its work grows with their square.
create or replace function trunkline.enqueue_together(
  p_tenant_id bigint, p_ids uuid[], p_kinds text[], p_queues text[], p_priorities smallint[], p_payloads json[], p_users text[],
  p_options json[], p_run_ats timestamptz[], p_idempotency_keys text[], p_unique_keys text[])
returns table (id uuid, created boolean)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_slice constant integer := 500;
  v_at integer := 1;
  v_to integer;
begin
  if cardinality(p_ids) > 10000 then
    raise exception using errcode = 'TL001', message = format('%s jobs in one call: need 10,000 at most. Open a batch and add them in parts', cardinality(p_ids));
  end if;
  while v_at <= cardinality(p_ids) loop
    v_to := v_at + v_slice - 1;
    return query select e.id, e.created from trunkline.enqueue_jobs(p_tenant_id, p_ids[v_at:v_to], p_kinds[v_at:v_to], p_queues[v_at:v_to],
      p_priorities[v_at:v_to], p_payloads[v_at:v_to], p_users[v_at:v_to], p_options[v_at:v_to], p_run_ats[v_at:v_to],
      p_idempotency_keys[v_at:v_to], p_unique_keys[v_at:v_to]) as e;
    v_at := v_to + 1;
  end loop;
end $$;

-- A whole batch in one call: the batch, its jobs (each with the option batch_id), and the seal. A repeat with the same ids (the answer
-- was lost) changes nothing and answers the same.
create or replace function trunkline.send_batch(
  p_tenant_id bigint, p_batch_id uuid, p_name text, p_on_success json, p_on_complete json,
  p_ids uuid[], p_kinds text[], p_queues text[], p_priorities smallint[], p_payloads json[], p_users text[],
  p_options json[], p_run_ats timestamptz[], p_idempotency_keys text[], p_unique_keys text[])
returns table (id uuid, created boolean)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform trunkline.open_batch(p_tenant_id, p_batch_id, p_name, p_on_success, p_on_complete);
  return query select * from trunkline.enqueue_together(
    p_tenant_id, p_ids, p_kinds, p_queues, p_priorities, p_payloads, p_users, p_options, p_run_ats, p_idempotency_keys, p_unique_keys);
  perform trunkline.seal_batch(p_tenant_id, p_batch_id);
end $$;

-- What a callback of a batch is kept as, from {"kind": ..., "payload": ..., "options": {...}}.
create or replace function trunkline.callback(p_what text, p_given json) returns json
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  v_kind text := trunkline.kind_name(p_given ->> 'kind');
  v_options jsonb := coalesce((p_given -> 'options')::jsonb, '{}');
begin
  if p_given is null then
    return null;
  end if;
  perform trunkline.check_name('kind', v_kind), trunkline.check_payload(coalesce(p_given -> 'payload', '{}')), trunkline.check_options(v_options);
  if v_options ?| '{id,run_at,idempotency_key,unique_key,batch_id,depends_on}'::text[] then
    raise exception using errcode = 'TL001', message = format('%s has id, run_at, a key, a batch or a parent: a callback is sent when the batch is done, and needs none', p_what);
  end if;
  return json_build_object('kind', v_kind, 'queue', coalesce(v_options ->> 'queue', v_kind), 'priority', coalesce(v_options -> 'priority', '0'),
    'payload', coalesce(p_given -> 'payload', '{}'), 'user_id', v_options ->> 'user_id', 'options', nullif(v_options - '{queue,priority,user_id}'::text[], '{}'));
end $$;

-- The sentence for people and for other languages; all or nothing:
--   select trunkline.batch('[{"kind": "resize", "payload": {"path": "a.png"}, "options": {"priority": 5}}]', '{"name": "album", "on_success": {"kind": "publish"}}');
create or replace function trunkline.batch(p_jobs json, p_options json default '{}', p_tenant text default 'default') returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_tenant_id bigint := trunkline.tenant_id(p_tenant);
  v_batch_id uuid := trunkline.new_id();
  v_job record;
begin
  if json_typeof(p_jobs) is distinct from 'array' or json_array_length(p_jobs) > 10000 then
    raise exception using errcode = 'TL001', message = 'jobs: need a JSON array of at most 10,000 objects {"kind", "payload", "options"}';
  end if;
  perform trunkline.open_batch(v_tenant_id, v_batch_id, p_options ->> 'name',
    trunkline.callback('on_success', p_options -> 'on_success'), trunkline.callback('on_complete', p_options -> 'on_complete'));
  for v_job in select j.value, j.ordinality - 1 as at from json_array_elements(p_jobs) with ordinality as j loop
    begin
      perform trunkline.enqueue(v_job.value ->> 'kind', coalesce(v_job.value -> 'payload', '{}'),
        coalesce((v_job.value -> 'options')::jsonb, '{}') || jsonb_build_object('batch_id', v_batch_id), p_tenant);
    exception when sqlstate 'TL001' or sqlstate 'TL002' or sqlstate 'TL003' or sqlstate 'TL004' then
      raise exception using errcode = sqlstate, message = format('job %s of the batch: %s', v_job.at, sqlerrm);
    end;
  end loop;
  perform trunkline.seal_batch(v_tenant_id, v_batch_id);
  return v_batch_id;
end $$;
