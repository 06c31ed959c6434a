-- Putting jobs in. `enqueue_plain` is the hot path for jobs without keys, delay or options; `enqueue_jobs` (21) knows
-- every rule; `enqueue` (22) is the sentence for people and other languages. All end with `wake`, their last step.

-- Wakes sleepers, and only sleepers: NOTIFY takes a lock of the whole server at commit, so a busy system must not send any.
-- A worker commits "asleep" and looks once more before it sleeps; what slips between costs one poll.
create or replace function trunkline.wake(p_queue_ids integer[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from trunkline.session as s where s.asleep_on && p_queue_ids and s.expires_at > clock_timestamp()) then
    perform pg_notify(trunkline.channel(), 'wake ' || array_to_string((select array_agg(distinct q) from unnest(p_queue_ids[1:200]) as q), ' '));
  end if;
end $$;

-- A caller's ids are UUIDv7 within 24 h of the database clock: outside, no partition would be there to hold them.
create or replace function trunkline.check_ids(p_ids uuid[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_low uuid := trunkline.id_floor(clock_timestamp() - interval '24 hours');
  v_high uuid := trunkline.id_floor(clock_timestamp() + interval '24 hours');
  v_bad uuid;
begin
  select u.id into v_bad from unnest(p_ids) as u (id)
   where u.id is null or u.id < v_low or u.id >= v_high or get_byte(uuid_send(u.id), 6) >> 4 <> 7 limit 1;
  if found then
    raise exception using errcode = 'TL003',
      message = format('job id %s: need a UUIDv7 within 24 hours of the database clock (%s)', coalesce(v_bad::text, 'null'), clock_timestamp());
  end if;
end $$;

-- Jobs with nothing but a body. Arrays run in parallel, one element per job; order in is order in line.
-- Locks: none but the new rows and, the first time a name or priority is used, its reference row.
create or replace function trunkline.enqueue_plain(
  p_tenant_id bigint, p_ids uuid[], p_kinds text[], p_queues text[], p_priorities smallint[], p_payloads json[], p_users text[])
returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_ord bigint;
  v_queue_ids integer[];
  v_gates smallint;
begin
  perform trunkline.check_ids(p_ids);
  perform trunkline.ensure_names(p_tenant_id, p_queues, p_kinds, p_priorities);
  perform pg_current_xact_id();          -- an xid first, then the place in line
  v_ord := trunkline.ord_now();
  with body as (
    select u.n, u.id, q.queue_id, q.gates, k.kind_id, u.priority, u.user_id,
           case when k.seals & 1 = 0 then u.payload else trunkline.must_be_sealed(u.kind, u.payload) end as payload
      from unnest(p_ids, p_kinds, p_queues, p_priorities, p_payloads, p_users)
             with ordinality as u (id, kind, queue, priority, payload, user_id, n)
      join trunkline.queue as q on q.tenant_id = p_tenant_id and q.name = u.queue
      join trunkline.kind as k on k.tenant_id = p_tenant_id and k.name = u.kind
  ), kept as (
    insert into trunkline.job (tenant_id, id, created_at, queue_id, kind_id, payload, user_id)
    select p_tenant_id, b.id, clock_timestamp(), b.queue_id, b.kind_id, b.payload, b.user_id from body as b
  ), lined as (
    insert into trunkline.ready (tenant_id, ord, job_id, queue_id, attempt, priority, failures, traits)
    select p_tenant_id, v_ord + b.n, b.id, b.queue_id, 0, b.priority, 0, 0 from body as b
    returning queue_id
  )
  select array_agg(distinct l.queue_id), (select bit_or(b.gates) from body as b) into v_queue_ids, v_gates from lined as l;
  if v_gates & 4 <> 0 then
    perform trunkline.check_quota(p_tenant_id, cardinality(p_ids), 0);
  end if;
  if v_gates & 8 <> 0 and trunkline.is_watched(p_tenant_id) then
    perform trunkline.note(p_tenant_id, 'queued', p_ids);
  end if;
  perform trunkline.wake(v_queue_ids);
end $$;

-- One plain job: the same as enqueue_plain for an array of one, in a third of its time, because a single enqueue is mostly
-- this function and a commit.
create or replace function trunkline.enqueue_one(
  p_tenant_id bigint, p_id uuid, p_kind text, p_queue text, p_priority smallint, p_payload json, p_user text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_at timestamptz := clock_timestamp();
  v_queue_id integer;
  v_kind_id integer;
  v_gates smallint;
begin
  if p_id < trunkline.id_floor(v_at - interval '24 hours') or p_id >= trunkline.id_floor(v_at + interval '24 hours') then
    perform trunkline.check_ids(array[p_id]);
  end if;
  select q.queue_id, k.kind_id, q.gates into v_queue_id, v_kind_id, v_gates
    from trunkline.queue as q, trunkline.kind as k
   where q.tenant_id = p_tenant_id and q.name = p_queue and p_priority = any (q.priorities) and k.tenant_id = p_tenant_id and k.name = p_kind and k.seals & 1 = 0;
  if v_kind_id is null then
    perform trunkline.enqueue_plain(p_tenant_id, array[p_id], array[p_kind], array[p_queue], array[p_priority], array[p_payload], array[p_user]);
    return;
  end if;
  insert into trunkline.job (tenant_id, id, created_at, queue_id, kind_id, payload, user_id)
  values (p_tenant_id, p_id, v_at, v_queue_id, v_kind_id, p_payload, p_user);
  insert into trunkline.ready (tenant_id, ord, job_id, queue_id, attempt, priority, failures, traits)
  values (p_tenant_id, trunkline.ord_now(), p_id, v_queue_id, 0, p_priority, 0, 0);
  if v_gates & 4 <> 0 then
    perform trunkline.check_quota(p_tenant_id, 1, 0);
  end if;
  if v_gates & 8 <> 0 and trunkline.is_watched(p_tenant_id) then
    perform trunkline.note(p_tenant_id, 'queued', array[p_id]);
  end if;
  if exists (select from trunkline.session as s where v_queue_id = any (s.asleep_on) and s.expires_at > v_at) then
    perform pg_notify(trunkline.channel(), 'wake ' || v_queue_id);
  end if;
end $$;

-- Before a COPY of plain jobs into `job` and `ready` in the same transaction: makes the names, gives the transaction its
-- xid and answers the ids of queue and kind, the place in line to count from, and whether there is a quota to ask before rows are sent.
-- Encrypted kinds do not go by COPY: nobody would look at what is copied.
drop function if exists trunkline.begin_copy(bigint, text[], text[], smallint[]);
create or replace function trunkline.begin_copy(
  p_tenant_id bigint, p_queues text[], p_kinds text[], p_priorities smallint[],
  out queue_ids integer[], out kind_ids integer[], out ord bigint, out has_quota boolean)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform trunkline.ensure_names(p_tenant_id, p_queues, p_kinds, p_priorities);
  perform pg_current_xact_id();
  select array_agg(q.queue_id order by u.n),
         array_agg(case when k.seals & 1 <> 0 and trunkline.must_be_sealed(k.name, null) is null then null else k.kind_id end order by u.n),
         bit_or(q.gates) & 4 <> 0
    into queue_ids, kind_ids, has_quota
    from unnest(p_queues, p_kinds) with ordinality as u (queue, kind, n)
    join trunkline.queue as q on q.tenant_id = p_tenant_id and q.name = u.queue
    join trunkline.kind as k on k.tenant_id = p_tenant_id and k.name = u.kind;
  ord := trunkline.ord_now();
end $$;

-- After it: wakes sleepers as every enqueue does; answers whether somebody watches the tenant, so that `note` is to be told the ids.
create or replace function trunkline.end_copy(p_tenant_id bigint, p_queue_ids integer[]) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform trunkline.wake(p_queue_ids);
  return trunkline.is_watched(p_tenant_id);
end $$;
