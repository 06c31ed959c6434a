-- Giving room back. Whoever ends a lease that held slots, or takes a waiting job away, comes here in the same transaction: slots go,
-- and as much room as there is now is promised to the heads of the lines. `refill` may be called at any time by anybody.
-- Locks: limiters in the order of their ids, last of all; waiting rows under them with skip locked, so nobody waits for both.

-- The first job of the ordering key that an `ordering` limiter is for.
create or replace function trunkline.head_of(p_limiter trunkline.limiter) returns uuid
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
begin
  return (select o.job_id from trunkline.ordering as o
           where o.tenant_id = p_limiter.tenant_id and o.queue_id = p_limiter.owner_id and o.key = p_limiter.name order by o.ord, o.job_id limit 1);
end $$;

-- How many waiting jobs may be promised a slot now: free slots, but no more than 1,000 promises at once, and with a rate no more than
-- the starts of the next second: whoever takes one up makes room for the next.
create or replace function trunkline.room_of(p_limiter trunkline.limiter, p_now timestamptz) returns integer
language sql immutable as $$
  select case when p_limiter.paused_at is not null then 0
              else greatest(least(p_limiter.concurrency - p_limiter.running,
                                  case when p_limiter.every_us is null then 1000 else least(greatest(ceil(1000000.0 / p_limiter.every_us), 2) + p_limiter.burst, 1000) end
                                  - p_limiter.promised), 0) end::integer
$$;

-- When the `p_nth` promise from now (0 is the next) may start: not while the limiter is blocked, and by its rate.
create or replace function trunkline.permit_at(p_limiter trunkline.limiter, p_nth bigint, p_now timestamptz) returns timestamptz
language sql immutable as $$
  select greatest(p_now, p_limiter.blocked_until,
    case when p_limiter.every_us is not null
         then greatest(p_limiter.tat, p_now, p_limiter.blocked_until) + (p_nth - p_limiter.burst) * p_limiter.every_us * interval '1 microsecond' end)
$$;

-- Claimers of these queues look again from these places, which their marks have passed. Arrays in parallel.
create or replace function trunkline.rewind(p_queue_ids integer[], p_places bigint[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform pg_notify(trunkline.channel(), 'rewind ' || u.queue_id || ' ' || min(u.ord)) from unnest(p_queue_ids, p_places) as u (queue_id, ord) group by u.queue_id;
end $$;

-- Promises room to the heads of one limiter's line: they hold a slot from now on and go back to their places in line, at once or when
-- their permit comes. The limiter is locked. Heads that somebody else holds are passed over; `mend_limits` looks after them.
create or replace function trunkline.promise(p_limiter trunkline.limiter, p_room integer, p_now timestamptz) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_first uuid := case when p_limiter.scope = 'ordering' then trunkline.head_of(p_limiter) end;
  v_heads uuid[];
  v_times timestamptz[];
  v_due integer;
  v_queue_ids integer[];
  v_places bigint[];
begin
  v_heads := case when p_limiter.scope = 'ordering'
    then array(select d.job_id from trunkline.deferred as d
                where d.tenant_id = p_limiter.tenant_id and d.job_id = v_first and d.limiter_id = p_limiter.limiter_id for update skip locked)
    else array(select d.job_id from trunkline.deferred as d where d.tenant_id = p_limiter.tenant_id and d.limiter_id = p_limiter.limiter_id
                order by d.priority desc, d.ord limit p_room for update skip locked) end;
  if v_heads = '{}' then
    return;
  end if;
  v_times := array(select trunkline.permit_at(p_limiter, p_limiter.promised + n, p_now) from generate_series(0, cardinality(v_heads) - 1) as n order by n);
  v_due := (select count(*) from unnest(v_times) as t where t <= p_now);
  insert into trunkline.slot (tenant_id, job_id, limiter_id, promised_at)
  select p_limiter.tenant_id, u.job_id, p_limiter.limiter_id, u.at from unnest(v_heads, v_times) as u (job_id, at);
  update trunkline.limiter as l set running = l.running + cardinality(v_heads), promised = l.promised + cardinality(v_heads)
   where l.tenant_id = p_limiter.tenant_id and l.limiter_id = p_limiter.limiter_id;
  update trunkline.deferred as d set run_at = u.at, traits = d.traits | 16::smallint, limiter_id = null
    from unnest(v_heads[v_due + 1 :], v_times[v_due + 1 :]) as u (job_id, at) where d.tenant_id = p_limiter.tenant_id and d.job_id = u.job_id;
  with back as (
    delete from trunkline.deferred as d where d.tenant_id = p_limiter.tenant_id and d.job_id = any (v_heads[: v_due]) returning d.*
  ), lined as (
    insert into trunkline.ready (tenant_id, ord, job_id, queue_id, attempt, priority, failures, traits)
    select b.tenant_id, b.ord, b.job_id, b.queue_id, b.attempt, b.priority, b.failures, b.traits | 16::smallint from back as b
    returning queue_id, ord
  )
  select array_agg(l.queue_id), array_agg(l.ord) into v_queue_ids, v_places from lined as l;
  perform trunkline.rewind(v_queue_ids, v_places);
  if p_limiter.promised = 0 and v_due < cardinality(v_heads) then    -- from here on each tick knows the times of the next second
    perform pg_notify(trunkline.channel(), 'due ' || extract(epoch from v_times[v_due + 1] - p_now)::float8);
  end if;
end $$;

create or replace function trunkline.refill(p_tenant_id bigint, p_limiter_ids bigint[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  v_limiter trunkline.limiter;
  v_id bigint;
  v_room integer;
begin
  perform from trunkline.limiter as l where l.tenant_id = p_tenant_id and l.limiter_id = any (p_limiter_ids) order by l.limiter_id for update;
  foreach v_id in array p_limiter_ids loop
    select l.* into v_limiter from trunkline.limiter as l where l.tenant_id = p_tenant_id and l.limiter_id = v_id;
    v_room := trunkline.room_of(v_limiter, trunkline.now());
    if v_room > 0 then
      perform trunkline.promise(v_limiter, v_room, trunkline.now());
    end if;
  end loop;
end $$;

-- Jobs leave their limiters: `p_freed` lose their slots (held or promised), `p_gone` their place in their ordering key, and the limit
-- keys of `p_blocked` are shut until `p_until`. One call for a flush, because limiters are locked in one order.
create or replace function trunkline.leave_limits(
  p_tenant_id bigint, p_freed uuid[], p_gone uuid[], p_blocked uuid[] default '{}', p_until timestamptz[] default '{}') returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set enable_nestloop = on set jit = off
as $$
declare
  v_ids bigint[];
  v_keys text[];
begin
  v_keys := array(select j.options ->> 'limit_key' from unnest(p_blocked) with ordinality as u (id, n)
                   cross join lateral (select j.options from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = u.id limit 1) as j order by u.n);
  insert into trunkline.limiter (tenant_id, scope, name) select distinct p_tenant_id, 'key', k from unnest(v_keys) as k order by 3
      on conflict (tenant_id, scope, owner_id, name) do nothing;
  v_ids := array(select s.limiter_id from trunkline.slot as s where s.tenant_id = p_tenant_id and s.job_id = any (p_freed)
                  union
                 select l.limiter_id from trunkline.ordering as o
                  cross join lateral (select l.limiter_id from trunkline.limiter as l
                                       where l.tenant_id = p_tenant_id and l.scope = 'ordering' and l.owner_id = o.queue_id and l.name = o.key limit 1) as l
                  where o.tenant_id = p_tenant_id and o.job_id = any (p_gone)
                  union
                 select l.limiter_id from trunkline.limiter as l where l.tenant_id = p_tenant_id and l.scope = 'key' and l.owner_id = 0 and l.name = any (v_keys));
  perform from trunkline.limiter as l where l.tenant_id = p_tenant_id and l.limiter_id = any (v_ids) order by l.limiter_id for update;
  delete from trunkline.ordering as o where o.tenant_id = p_tenant_id and o.job_id = any (p_gone);
  with gone as (
    delete from trunkline.slot as s where s.tenant_id = p_tenant_id and s.job_id = any (p_freed) returning s.limiter_id, s.promised_at
  ), tally as (
    select g.limiter_id, count(*) as running, count(g.promised_at) as promised from gone as g group by g.limiter_id
  )
  update trunkline.limiter as l set running = l.running - t.running, promised = l.promised - t.promised
    from tally as t where l.tenant_id = p_tenant_id and l.limiter_id = t.limiter_id;
  update trunkline.limiter as l set blocked_until = greatest(l.blocked_until, u.until)
    from (select u.key, max(u.until) as until from unnest(v_keys, p_until) as u (key, until) group by u.key) as u
   where l.tenant_id = p_tenant_id and l.scope = 'key' and l.owner_id = 0 and l.name = u.key;
  perform trunkline.refill(p_tenant_id, v_ids);
end $$;

-- What an enqueue or a retry by hand leaves behind for those of `p_ids` that are new: a place in their ordering key, behind all that
-- are there, and the mark on their queue that its claims must look. Two enqueues that overlap in time have no order between them.
-- `p_rules`: 32, 64 = some have an ordering key, a limit key; 4 = the tenant has a quota.
create or replace function trunkline.enter_limits(p_tenant_id bigint, p_ids uuid[], p_new uuid[], p_ord bigint, p_rules integer) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_queue_ids integer[];
begin
  if p_rules & 4 <> 0 then
    perform trunkline.check_quota(p_tenant_id, cardinality(p_new), 0);
  end if;
  with keyed as materialized (
    select u.id, u.n, j.queue_id, j.options ->> 'ordering_key' as key, j.options ->> 'limit_key' as limit_key
      from (select u.id, min(u.n) as n from unnest(p_ids) with ordinality as u (id, n) where u.id = any (p_new) and p_rules & 96 <> 0 group by u.id) as u
     cross join lateral (select j.queue_id, j.options from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = u.id limit 1) as j
  ), entered as (
    insert into trunkline.ordering (tenant_id, queue_id, key, ord, job_id)
    select p_tenant_id, k.queue_id, k.key,
           greatest(p_ord, coalesce((select o.ord from trunkline.ordering as o where o.tenant_id = p_tenant_id and o.queue_id = k.queue_id and o.key = k.key
                                      order by o.ord desc limit 1), 0)) + k.n, k.id
      from keyed as k
     where k.key is not null and not exists (select from trunkline.ordering as o where o.tenant_id = p_tenant_id and o.job_id = k.id)
  )
  select array_agg(distinct k.queue_id) into v_queue_ids from keyed as k where coalesce(k.key, k.limit_key) is not null;
  if v_queue_ids is not null then
    perform trunkline.hold_gates(p_tenant_id);
  end if;
  if exists (select from trunkline.queue as q where q.tenant_id = p_tenant_id and q.queue_id = any (v_queue_ids) and q.gates & 1 = 0) then
    perform from trunkline.queue as q where q.tenant_id = p_tenant_id and q.queue_id = any (v_queue_ids) order by q.name for no key update;
    update trunkline.queue as q set gates = q.gates | 1::smallint where q.tenant_id = p_tenant_id and q.queue_id = any (v_queue_ids) and q.gates & 1 = 0;
  end if;
end $$;
