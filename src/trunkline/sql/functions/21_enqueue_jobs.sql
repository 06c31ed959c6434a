-- Putting in jobs that carry keys, a time or options. Set-based; each step is one statement, in key order, so that two
-- flushes with the same keys wait for each other and never deadlock.

-- Who holds each idempotency key of a flush: the job that took it within its window, whatever became of it. Waits for a
-- transaction that is just taking the same key. Elements without a key hold themselves.
create or replace function trunkline.take_idempotency(p_tenant_id bigint, p_ids uuid[], p_kinds text[], p_keys text[], p_options json[])
returns uuid[]
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz := trunkline.now();
begin
  if not exists (select from unnest(p_keys) as k where k is not null) then
    return p_ids;
  end if;
  insert into trunkline.idempotency as i (tenant_id, kind_id, key, job_id, expires_at)
  select distinct on (k.kind_id, u.key) p_tenant_id, k.kind_id, u.key, u.id, v_now + make_interval(secs => (u.options ->> 'idempotency_window')::float8)
    from unnest(p_ids, p_kinds, p_keys, p_options) with ordinality as u (id, kind, key, options, n)
    join trunkline.kind as k on k.tenant_id = p_tenant_id and k.name = u.kind
   where u.key is not null
   order by k.kind_id, u.key, u.n
      on conflict (tenant_id, kind_id, key) do update set job_id = excluded.job_id, expires_at = excluded.expires_at where i.expires_at <= v_now;
  return array(
    select case when u.key is null then u.id
                else (select i.job_id from trunkline.idempotency as i join trunkline.kind as k on k.tenant_id = i.tenant_id and k.kind_id = i.kind_id
                       where i.tenant_id = p_tenant_id and k.name = u.kind and i.key = u.key) end
      from unnest(p_ids, p_kinds, p_keys) with ordinality as u (id, kind, key, n) order by u.n);
end $$;

-- A unique key with a time slot is one key per slot.
create or replace function trunkline.slot_key(p_key text, p_slot_s float8, p_now timestamptz) returns text
language sql immutable parallel safe as
$$ select case when p_slot_s is null then p_key else p_key || '@' || (floor(extract(epoch from p_now)::float8 / p_slot_s) * p_slot_s)::bigint end $$;

-- Who holds each unique key of a flush: the live job with that key, else the asking job. `unique_replace` first removes a
-- holder that has not started (it ends cancelled, "replaced") and takes the key over from one that runs; of several in one
-- flush the last stays, as if they had come one by one, also when the flush is sent again.
-- First all keys that are free, then those that are taken over: whoever waits for a free key has taken over none. Otherwise two
-- flushes, each replacing what the other asks for, would wait for each other.
-- Keys are looked up one by one through their index (lateral, limit 1): a join would be planned by statistics that are wrong.
create or replace function trunkline.take_unique(p_tenant_id bigint, p_ids uuid[], p_queues text[], p_keys text[], p_options json[])
returns uuid[]
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz := trunkline.now();
  v_lines integer[];
  v_slots text[];
  v_ends timestamptz[];
  v_replaces boolean[];
  v_replaced uuid[];
  v_holders uuid[];
begin
  if not exists (select from unnest(p_keys) as k where k is not null) then
    return p_ids;
  end if;
  select array_agg(q.queue_id order by a.n), array_agg(trunkline.slot_key(a.key, o.slot_s, v_now) order by a.n),
         array_agg(to_timestamp((floor(extract(epoch from v_now)::float8 / o.slot_s) + 1) * o.slot_s) order by a.n), array_agg(o.replaces order by a.n)
    into v_lines, v_slots, v_ends, v_replaces
    from unnest(p_queues, p_keys, p_options) with ordinality as a (queue, key, options, n)
   cross join lateral (select q.queue_id from trunkline.queue as q where q.tenant_id = p_tenant_id and q.name = a.queue limit 1) as q
   cross join lateral (select (a.options ->> 'unique_for')::float8 as slot_s, coalesce((a.options ->> 'unique_replace')::boolean, false) as replaces) as o;

  -- A key that is held is not locked: an enqueue in somebody's long transaction must not stop the ack that frees the key.
  -- So the holder may go before it is read; then the key is asked for again.
  for v_try in 1 .. 20 loop
    insert into trunkline.unique_key (tenant_id, queue_id, key, job_id, expires_at)
    select distinct on (a.line, a.slot) p_tenant_id, a.line, a.slot, a.id, a.ends
      from unnest(p_ids, v_lines, v_slots, v_ends, v_replaces) with ordinality as a (id, line, slot, ends, replaces, n)
     where a.slot is not null
     order by a.line, a.slot, a.replaces desc, case when a.replaces then -a.n else a.n end
        on conflict (tenant_id, queue_id, key) do nothing;
    with over as materialized (
      select a.*, h.job_id as holder
        from (select distinct on (a.line, a.slot) a.* from unnest(p_ids, v_lines, v_slots, v_ends, v_replaces) with ordinality as a (id, line, slot, ends, replaces, n)
               where a.slot is not null and (a.replaces or a.ends is not null)
               order by a.line, a.slot, a.replaces desc, case when a.replaces then -a.n else a.n end) as a
       cross join lateral (select u.job_id from trunkline.unique_key as u
                            where u.tenant_id = p_tenant_id and u.queue_id = a.line and u.key = a.slot
                              and (a.replaces and u.job_id <> all (p_ids) or u.expires_at <= v_now) limit 1 for update) as h
    ), taken as (
      update trunkline.unique_key as u set job_id = o.id, expires_at = o.ends
        from over as o where u.tenant_id = p_tenant_id and u.queue_id = o.line and u.key = o.slot
    )
    select array_agg(o.holder) filter (where o.replaces and o.holder <> all (p_ids)) into v_replaced from over as o;
    if v_replaced is not null then
      perform trunkline.cancel_queued(p_tenant_id, v_replaced, 'replaced by a newer job with its unique key');
    end if;
    v_holders := array(
      select case when a.slot is null then a.id
                  else (select h.job_id from trunkline.unique_key as h where h.tenant_id = p_tenant_id and h.queue_id = a.line and h.key = a.slot) end
        from unnest(p_ids, v_lines, v_slots) with ordinality as a (id, line, slot, n) order by a.n);
    if array_position(v_holders, null) is null then
      return v_holders;
    end if;
  end loop;
  raise serialization_failure using message = 'a unique key changed hands too often: try again';
end $$;

-- Jobs with everything. Answers for each element, in order, the job that now stands for it, and whether it is the new one:
-- `created` is false where a key already had a holder, and `id` is then the holder's.
-- A repeat of the same call with the same ids (an answer was lost) finds its jobs there and answers as the first time.
create or replace function trunkline.enqueue_jobs(
  p_tenant_id bigint, p_ids uuid[], p_kinds text[], p_queues text[], p_priorities smallint[], p_payloads json[], p_users text[],
  p_options json[], p_run_ats timestamptz[], p_idempotency_keys text[], p_unique_keys text[])
returns table (id uuid, created boolean)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
  v_now timestamptz := trunkline.now();
  v_ord bigint;
  v_firsts uuid[]; v_holders uuid[];
  v_queue_ids integer[]; v_rules integer;
  v_there uuid[]; v_made uuid[];
begin
  perform trunkline.check_ids(p_ids);
  perform trunkline.ensure_names(p_tenant_id, p_queues, p_kinds, p_priorities);
  -- A job that is there already may have ended and freed its keys: it asks for none again, and replaces nobody.
  v_there := array(select u.id from unnest(p_ids) as u (id)   -- one by one: before 17, `= any` may become a filter of the whole index
                    cross join lateral (select from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = u.id limit 1) as j);
  v_firsts := trunkline.take_idempotency(p_tenant_id, p_ids, p_kinds,
    array(select case when u.id <> all (v_there) then u.key end from unnest(p_ids, p_idempotency_keys) with ordinality as u (id, key, n) order by u.n), p_options);
  -- A job that lost its idempotency key is an old job: it asks for no unique key.
  v_holders := trunkline.take_unique(p_tenant_id, p_ids, p_queues,
    array(select case when u.first = u.id and u.id <> all (v_there) then u.key end
            from unnest(p_ids, v_firsts, p_unique_keys) with ordinality as u (id, first, key, n) order by u.n), p_options);
  -- Nothing was created under an idempotency key whose job then lost its unique key.
  delete from trunkline.idempotency as i using unnest(p_ids, v_firsts, v_holders) as u (id, first, holder), trunkline.kind as k
   where u.first = u.id and u.holder <> u.id and k.tenant_id = p_tenant_id
     and i.tenant_id = p_tenant_id and i.kind_id = k.kind_id and i.job_id = u.id and i.key = any (p_idempotency_keys);
  perform pg_current_xact_id();
  v_ord := trunkline.ord_now();
  with body as (
    select distinct on (u.id) u.id, u.n, u.priority, u.user_id, u.options, q.queue_id, q.gates, k.kind_id,
           case when k.seals & 1 = 0 then u.payload else trunkline.must_be_sealed(u.kind, u.payload) end as payload,
           trunkline.traits_of(u.options, u.unique_key) as traits,
           coalesce(u.run_at, v_now + make_interval(secs => (u.options ->> 'delay')::float8)) as run_at
      from unnest(p_ids, p_kinds, p_queues, p_priorities, p_payloads, p_users, p_options, p_run_ats, p_unique_keys, v_firsts, v_holders)
             with ordinality as u (id, kind, queue, priority, payload, user_id, options, run_at, unique_key, first, holder, n)
      join trunkline.queue as q on q.tenant_id = p_tenant_id and q.name = u.queue
      join trunkline.kind as k on k.tenant_id = p_tenant_id and k.name = u.kind
     where u.first = u.id and u.holder = u.id
     order by u.id, u.n                                                                            -- an id said twice is one job
  ), kept as (
    insert into trunkline.job (tenant_id, id, created_at, queue_id, kind_id, payload, user_id, options)
    select p_tenant_id, b.id, clock_timestamp(), b.queue_id, b.kind_id, b.payload, b.user_id, b.options from body as b
        on conflict (tenant_id, id) do nothing
    returning id
  ), later as (
    insert into trunkline.deferred (tenant_id, job_id, run_at, queue_id, attempt, priority, failures, traits, reason)
    select p_tenant_id, b.id, b.run_at, b.queue_id, 0, b.priority, 0, b.traits, 'scheduled' from body as b join kept as x on x.id = b.id where b.run_at > v_now
  ), lined as (
    insert into trunkline.ready (tenant_id, ord, job_id, queue_id, attempt, priority, failures, traits)
    select p_tenant_id, v_ord + b.n, b.id, b.queue_id, 0, b.priority, 0, b.traits from body as b join kept as x on x.id = b.id where b.run_at is null or b.run_at <= v_now
    returning queue_id
  )
  select (select array_agg(distinct l.queue_id) from lined as l), (select array_agg(x.id) from kept as x), bit_or((b.traits & 96) | (b.gates & 12)) into v_queue_ids, v_made, v_rules from body as b;
  if v_rules <> 0 then
    perform trunkline.after_made(p_tenant_id, p_ids, v_made, v_ord, v_rules);                                    -- before a child may end with its parents
  end if;
  perform trunkline.after_enqueued(p_tenant_id, p_ids, p_options, p_run_ats, v_firsts, v_holders, v_there);     -- batches and parents
  perform trunkline.wake(v_queue_ids);
  -- The holder of an idempotency key may be of this very flush and have lost its own unique key.
  return query select case when u.first <> u.id then coalesce((select f.holder from unnest(p_ids, v_holders) as f (id, holder) where f.id = u.first limit 1), u.first)
                           else u.holder end, u.first = u.id and u.holder = u.id
                 from unnest(p_ids, v_firsts, v_holders) with ordinality as u (id, first, holder, n) order by u.n;
end $$;
