-- What people say about limits: set, remove, block, pause; and what they are told.

-- The limiter of a queue, a kind or a key by name, made if it is new. A limit on a kind may concern every queue of the tenant.
create or replace function trunkline.limiter_of(p_tenant_id bigint, p_scope text, p_name text) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_name text := case p_scope when 'kind' then trunkline.kind_name(p_name) else p_name end;
  v_owner integer := 0;
  v_id bigint;
begin
  if p_scope = 'queue' then
    perform trunkline.ensure_names(p_tenant_id, array[v_name], '{}', '{0}');
    perform trunkline.hold_gates(p_tenant_id);
    update trunkline.queue as q set gates = q.gates | 1::smallint where q.tenant_id = p_tenant_id and q.name = v_name and q.gates & 1 = 0;
    v_owner := (select q.queue_id from trunkline.queue as q where q.tenant_id = p_tenant_id and q.name = v_name);
  elsif p_scope = 'kind' then
    perform trunkline.ensure_names(p_tenant_id, '{}', array[v_name], '{}');
    perform trunkline.gate_tenant(p_tenant_id, 1::smallint, true);
    v_owner := (select k.kind_id from trunkline.kind as k where k.tenant_id = p_tenant_id and k.name = v_name);
  elsif p_scope is distinct from 'key' or v_name is null or length(v_name) not between 1 and 200 then
    raise exception using errcode = 'TL001', message = format('limit on %s %L: need queue, kind or key, and a name (a key has 1 to 200 characters)', p_scope, left(p_name, 80));
  end if;
  insert into trunkline.limiter (tenant_id, scope, owner_id, name, concurrency, every_us, burst)
  select p_tenant_id, p_scope, v_owner, case p_scope when 'key' then v_name else '' end, k.concurrency, k.every_us, coalesce(k.burst, 0)
    from (select 1) as one left join trunkline.kind as k on p_scope = 'kind' and k.tenant_id = p_tenant_id and k.kind_id = v_owner
      on conflict (tenant_id, scope, owner_id, name) do nothing;
  select l.limiter_id into v_id from trunkline.limiter as l
   where l.tenant_id = p_tenant_id and l.scope = p_scope and l.owner_id = v_owner and l.name = case p_scope when 'key' then v_name else '' end;
  return v_id;
end $$;

-- The same where it is there already; null: nobody said anything about it.
create or replace function trunkline.known_limiter(p_tenant_id bigint, p_scope text, p_name text) returns bigint
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
begin
  if p_scope is null or p_scope not in ('queue', 'kind', 'key') or p_name is null then
    raise exception using errcode = 'TL001', message = format('limit on %s %L: need queue, kind or key, and a name', p_scope, left(p_name, 80));
  end if;
  return (select l.limiter_id from trunkline.limiter as l
           where l.tenant_id = p_tenant_id and l.scope = p_scope and l.name = case p_scope when 'key' then p_name else '' end
             and l.owner_id = case p_scope when 'queue' then (select q.queue_id from trunkline.queue as q where q.tenant_id = p_tenant_id and q.name = p_name)
                                           when 'kind' then (select k.kind_id from trunkline.kind as k where k.tenant_id = p_tenant_id and k.name = trunkline.kind_name(p_name))
                                           else 0 end);
end $$;

-- After a limiter lost what somebody had said about it: it goes where it is idle, and the gates that it kept up go down.
create or replace function trunkline.let_limiter_go(p_tenant_id bigint, p_limiter_id bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform trunkline.forget_limiter(p_tenant_id, p_limiter_id);
  perform trunkline.clear_gates(p_tenant_id);
end $$;

-- Microseconds between two starts at `p_rate` starts in `p_per_s` seconds, rounded up, so that the rate is never exceeded.
create or replace function trunkline.every_us(p_rate float8, p_per_s float8) returns bigint
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  if p_rate is null then
    return null;
  end if;
  if not (p_rate > 0 and p_per_s > 0 and p_per_s * 1000000 / p_rate between 1 and 31536000000000) then
    raise exception using errcode = 'TL001', message = format('rate is %s in %s s: need more than none in a year, and at most 1,000,000 a second', p_rate, p_per_s);
  end if;
  return ceil((p_per_s * 1000000 / p_rate)::numeric);
end $$;

-- Sets the bounds of a queue, a kind or a key; what is null is not bounded. Answers the limiter's id.
--   select trunkline.set_limit(trunkline.tenant_id('default'), 'key', 'customer-9', p_concurrency => 2, p_rate => 30, p_per_s => 60);
-- Jobs that run already are counted. A claim that was under way may not have seen it: `await_claims`, then this once more, counts its
-- jobs as well (the application does both).
create or replace function trunkline.set_limit(
  p_tenant_id bigint, p_scope text, p_name text, p_concurrency integer default null, p_rate float8 default null, p_per_s float8 default 1, p_burst integer default 0)
returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_every_us bigint := trunkline.every_us(p_rate, p_per_s);
  v_id bigint;
begin
  if coalesce(p_concurrency, v_every_us) is null or p_concurrency not between 1 and 1000000 or p_burst is null or p_burst not between 0 and 1000000 then
    raise exception using errcode = 'TL001',
      message = format('concurrency is %s, rate %s, burst %s: need a concurrency from 1 to 1000000 or a rate, and a burst from 0 to 1000000',
                       coalesce(p_concurrency::text, 'not given'), coalesce(p_rate::text, 'not given'), coalesce(p_burst::text, 'null'));
  end if;
  v_id := trunkline.limiter_of(p_tenant_id, p_scope, p_name);
  if p_concurrency is not null then
    perform trunkline.count_running(p_tenant_id, v_id);
  end if;
  update trunkline.limiter as l set is_own = true, concurrency = p_concurrency, every_us = v_every_us, burst = p_burst where l.tenant_id = p_tenant_id and l.limiter_id = v_id;
  perform trunkline.refill(p_tenant_id, array[v_id]);
  return v_id;
end $$;

-- Gives a slot to every lease of a limiter's jobs that has none. Leases first, as a report locks them; one that is just being
-- reported or written to is passed over.
create or replace function trunkline.count_running(p_tenant_id bigint, p_limiter_id bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  v_limiter trunkline.limiter;
  v_ids uuid[];
begin
  select l.* into v_limiter from trunkline.limiter as l where l.tenant_id = p_tenant_id and l.limiter_id = p_limiter_id;
  v_ids := array(
    select e.job_id from trunkline.lease as e
     cross join lateral (select j.kind_id, j.options from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = e.job_id limit 1) as j
     where e.tenant_id = p_tenant_id
       and case v_limiter.scope when 'queue' then e.queue_id = v_limiter.owner_id when 'kind' then j.kind_id = v_limiter.owner_id else j.options ->> 'limit_key' = v_limiter.name end
     order by e.job_id for update of e skip locked);
  perform from trunkline.limiter as l where l.tenant_id = p_tenant_id and l.limiter_id = p_limiter_id for update;
  with made as (
    insert into trunkline.slot (tenant_id, job_id, limiter_id) select p_tenant_id, u, p_limiter_id from unnest(v_ids) as u
        on conflict (tenant_id, job_id, limiter_id) do nothing
    returning job_id
  ), marked as (
    update trunkline.lease as e set traits = e.traits | 8::smallint from made as m where e.tenant_id = p_tenant_id and e.job_id = m.job_id
  )
  update trunkline.limiter as l set running = l.running + (select count(*) from made) where l.tenant_id = p_tenant_id and l.limiter_id = p_limiter_id;
end $$;

-- Takes the bounds away; a kind has those of its handler again. False: nobody had set any.
create or replace function trunkline.remove_limit(p_tenant_id bigint, p_scope text, p_name text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_id bigint := trunkline.known_limiter(p_tenant_id, p_scope, p_name);
begin
  update trunkline.limiter as l set is_own = false, concurrency = k.concurrency, every_us = k.every_us, burst = coalesce(k.burst, 0)
    from (select 1) as one left join trunkline.kind as k on p_scope = 'kind' and k.tenant_id = p_tenant_id and k.name = trunkline.kind_name(p_name)
   where l.tenant_id = p_tenant_id and l.limiter_id = v_id and l.is_own;
  if not found then
    return false;
  end if;
  perform trunkline.refill(p_tenant_id, array[v_id]);
  perform trunkline.let_limiter_go(p_tenant_id, v_id);
  return true;
end $$;

-- The bounds that a handler declares for its kind. Where they have changed, the limiters that follow them change as well.
create or replace function trunkline.bound_kind(
  p_tenant_id bigint, p_name text, p_concurrency integer, p_every_us bigint, p_burst integer, p_key_concurrency integer, p_key_every_us bigint, p_key_burst integer) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_kind record;
begin
  for v_kind in
    update trunkline.kind as k
       set concurrency = p_concurrency, every_us = p_every_us, burst = p_burst, key_concurrency = p_key_concurrency, key_every_us = p_key_every_us, key_burst = p_key_burst
     where (p_tenant_id is null or k.tenant_id = p_tenant_id) and k.name = p_name
       and (k.concurrency, k.every_us, k.burst, k.key_concurrency, k.key_every_us, k.key_burst)
           is distinct from (p_concurrency, p_every_us, p_burst, p_key_concurrency, p_key_every_us, p_key_burst)
    returning k.tenant_id, k.kind_id
  loop
    continue when v_kind.tenant_id = 0;
    if coalesce(p_concurrency, p_every_us) is not null then
      perform trunkline.gate_tenant(v_kind.tenant_id, 1::smallint, true);
    end if;
    update trunkline.limiter as l                                    -- lines with new room: mend_limits sees to them
       set concurrency = case l.scope when 'kind' then p_concurrency else p_key_concurrency end, every_us = case l.scope when 'kind' then p_every_us else p_key_every_us end,
           burst = case l.scope when 'kind' then p_burst else p_key_burst end
     where l.tenant_id = v_kind.tenant_id and l.scope in ('kind', 'kind_key') and l.owner_id = v_kind.kind_id and not l.is_own;
  end loop;
end $$;

-- No job with this limit key starts before `p_until`; null: it is open again.
create or replace function trunkline.block_key(p_tenant_id bigint, p_key text, p_until timestamptz) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_id bigint := case when p_until is null then trunkline.known_limiter(p_tenant_id, 'key', p_key) else trunkline.limiter_of(p_tenant_id, 'key', p_key) end;
begin
  if v_id is null then
    return;
  end if;
  if not isfinite(p_until) then
    raise exception using errcode = 'TL001', message = 'until is infinite: need a time, or pause the key';
  end if;
  update trunkline.limiter as l set blocked_until = p_until where l.tenant_id = p_tenant_id and l.limiter_id = v_id;
  perform trunkline.reopen(p_tenant_id, v_id);
  if p_until is null then
    perform trunkline.let_limiter_go(p_tenant_id, v_id);
  end if;
end $$;

-- After a time was changed: those who were given one wait in line again, and heads are chosen anew.
create or replace function trunkline.reopen(p_tenant_id bigint, p_limiter_id bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  v_ids uuid[] := array(
    select d.job_id from trunkline.slot as s
     cross join lateral (select d.job_id from trunkline.deferred as d where d.tenant_id = p_tenant_id and d.job_id = s.job_id and d.traits & 16 <> 0 limit 1 for update skip locked) as d
     where s.promised_at is not null and s.tenant_id = p_tenant_id and s.limiter_id = p_limiter_id);
begin
  update trunkline.deferred as d set run_at = null, traits = d.traits & ~16::smallint, limiter_id = p_limiter_id
   where d.tenant_id = p_tenant_id and d.job_id = any (v_ids);
  perform trunkline.leave_limits(p_tenant_id, v_ids, '{}');
  perform trunkline.refill(p_tenant_id, array[p_limiter_id]);
end $$;

-- Pauses or resumes a kind, a key, a queue or (null name) the tenant. True: it was in the other state. No claim that begins after the
-- commit starts such a job; `await_claims` waits for those that began before.
create or replace function trunkline.pause_limit(p_tenant_id bigint, p_scope text, p_name text, p_paused boolean) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_id bigint;
  v_changed boolean;
begin
  if p_scope = 'tenant' then
    v_changed := trunkline.gate_tenant(p_tenant_id, 2::smallint, p_paused);
    if v_changed and not p_paused then
      perform trunkline.wake(array(select q.queue_id from trunkline.queue as q where q.tenant_id = p_tenant_id limit 200));
    end if;
    return v_changed;
  elsif p_scope = 'queue' then
    return trunkline.pause_queue(p_tenant_id, p_name, p_paused);
  end if;
  v_id := case when p_paused then trunkline.limiter_of(p_tenant_id, p_scope, p_name) else trunkline.known_limiter(p_tenant_id, p_scope, p_name) end;
  update trunkline.limiter as l set paused_at = case when p_paused then trunkline.now() end
   where l.tenant_id = p_tenant_id and l.limiter_id = v_id and (l.paused_at is null) = p_paused;
  v_changed := found;
  if v_changed then
    perform trunkline.refill(p_tenant_id, array[v_id]);
  end if;
  if v_changed and not p_paused then
    perform trunkline.let_limiter_go(p_tenant_id, v_id);
  end if;
  return v_changed;
end $$;

-- Lets the jobs behind a failed one of its ordering key go on without it. False: it did not end failed, or blocks nobody.
create or replace function trunkline.skip_ordered(p_tenant_id bigint, p_job_id uuid) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if not exists (select from trunkline.outcome as o where o.tenant_id = p_tenant_id and o.job_id = p_job_id for update)
     or not exists (select from trunkline.ordering as o where o.tenant_id = p_tenant_id and o.job_id = p_job_id) then
    return false;
  end if;
  perform trunkline.leave_limits(p_tenant_id, '{}', array[p_job_id]);
  return true;
end $$;

-- Waits until every claim that was under way when this was called has ended; false: not within `p_within_s` seconds. Call it in a
-- transaction of its own, after the commit of what claims must know. A claim locks `queue` before it reads whether it may claim, and
-- keeps that lock to its end; enqueues do so too and are known by their lock on `job`. Whoever only reads is waited for 2 s.
create or replace function trunkline.await_claims(p_within_s float8 default 10) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_began timestamptz := clock_timestamp();
  v_all text[];
  v_left text[];
begin
  loop
    select array_agg(distinct h.virtualtransaction) into v_left from pg_locks as h
     where h.locktype = 'relation' and h.relation = 'trunkline.queue'::regclass and h.database = (select d.oid from pg_database as d where d.datname = current_database())
       and h.pid <> pg_backend_pid() and (v_all is null or h.virtualtransaction = any (v_all))
       and not exists (select from pg_locks as j where j.virtualtransaction = h.virtualtransaction and j.relation = 'trunkline.job'::regclass and j.mode = 'RowExclusiveLock')
       and (clock_timestamp() - v_began < interval '2 seconds'
            or exists (select from pg_locks as e where e.virtualtransaction = h.virtualtransaction and e.relation = 'trunkline.lease'::regclass and e.mode = 'RowExclusiveLock'));
    if v_left is null then
      return true;
    end if;
    if clock_timestamp() - v_began > make_interval(secs => p_within_s) then
      return false;
    end if;
    v_all := v_left;
    perform pg_sleep(0.003);
  end loop;
end $$;
