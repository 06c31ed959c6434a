-- Gates that are taken down again. Bit 1 of `queue.gates` sends claims the long way (claim_limited). When nothing that limits is left, it is
-- cleared, and plain jobs are claimed as if there had never been a limit.
--
-- Who puts something up that claims must look at (a limit of a queue or a kind, a pause of a kind, a job with a limit or ordering key)
-- first takes the tenant's advisory lock shared, then looks at the bit with a new snapshot, and keeps the lock to its commit. Who clears takes it
-- alone and never waits for it, nor for a row: whoever came before is seen, whoever comes later finds the bit cleared and sets it.

create or replace function trunkline.hold_gates(p_tenant_id bigint) returns void
language sql volatile as $$ select pg_advisory_xact_lock_shared(1953653352, hashint8(p_tenant_id)) $$;

-- Whether a kind of the tenant is bounded or paused, which concerns every queue.
create or replace function trunkline.has_kind_limits(p_tenant_id bigint) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
  select exists (select from trunkline.kind as k where k.tenant_id = p_tenant_id and coalesce(k.concurrency, k.every_us) is not null)
      or exists (select from trunkline.limiter as l where l.tenant_id = p_tenant_id and l.scope = 'kind')
$$;

-- Whether claims of this queue must look: it has a limiter, or a job with a key or a promise, live in one place or another (one
-- snapshot, as it may be moving). More than 100,000 live jobs are not searched: the answer is yes, until there are fewer.
create or replace function trunkline.must_look(p_tenant_id bigint, p_queue_id integer) returns boolean
language sql volatile security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off as $$
  select exists (select from trunkline.limiter as l where l.tenant_id = p_tenant_id and l.scope = 'queue' and l.owner_id = p_queue_id)
      or coalesce((select bit_or(r.traits) & 112 <> 0 or count(*) > 100000
                     from (select r.traits from trunkline.ready as r where r.tenant_id = p_tenant_id and r.queue_id = p_queue_id limit 100001) as r), false)
      or coalesce((select bit_or(d.traits) filter (where d.queue_id = p_queue_id) & 112 <> 0 or count(*) > 100000
                     from (select d.queue_id, d.traits from trunkline.deferred as d where d.tenant_id = p_tenant_id limit 100001) as d), false)
      or coalesce((select bit_or(e.traits) filter (where e.queue_id = p_queue_id) & 112 <> 0 or count(*) > 100000
                     from (select e.queue_id, e.traits from trunkline.lease as e where e.tenant_id = p_tenant_id limit 100001) as e), false)
$$;

-- Clears what can be cleared in one tenant; answers how many queues. Up to 100 queues a call.
create or replace function trunkline.clear_gates(p_tenant_id bigint) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_queue_id integer;
  v_ids integer[];
  v_count integer := 0;
begin
  -- A look without the lock first: while there is nothing to clear, nobody waits for us.
  if trunkline.has_kind_limits(p_tenant_id) then
    return 0;
  end if;
  v_ids := array(select q.queue_id from trunkline.queue as q where q.tenant_id = p_tenant_id and q.gates & 1 <> 0 order by random() limit 100);
  v_ids := array(select u from unnest(v_ids) as u where not trunkline.must_look(p_tenant_id, u));
  if v_ids = '{}' and not exists (select from trunkline.tenant as t where t.tenant_id = p_tenant_id and t.gates & 1 <> 0)
     or not pg_try_advisory_xact_lock(1953653352, hashint8(p_tenant_id)) then
    return 0;
  end if;
  if trunkline.has_kind_limits(p_tenant_id) then
    return 0;
  end if;
  update trunkline.tenant as t set gates = t.gates & ~1::smallint
   where t.tenant_id = (select f.tenant_id from trunkline.tenant as f where f.tenant_id = p_tenant_id and f.gates & 1 <> 0 for no key update skip locked);
  for v_queue_id in
    select q.queue_id from trunkline.queue as q where q.tenant_id = p_tenant_id and q.queue_id = any (v_ids) and q.gates & 1 <> 0 order by q.name for no key update skip locked
  loop
    if not trunkline.must_look(p_tenant_id, v_queue_id) then
      update trunkline.queue as q set gates = q.gates & ~1::smallint where q.tenant_id = p_tenant_id and q.queue_id = v_queue_id;
      v_count := v_count + 1;
    end if;
  end loop;
  return v_count;
end $$;

-- A limiter that nobody set and nobody uses, right after a person made it so; whoever uses it just now keeps it.
create or replace function trunkline.forget_limiter(p_tenant_id bigint, p_limiter_id bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
begin
  delete from trunkline.limiter as l
   where l.tenant_id = p_tenant_id and l.limiter_id in (
     select c.limiter_id from trunkline.limiter as c where c.tenant_id = p_tenant_id and c.limiter_id = p_limiter_id and trunkline.is_idle(c) for update skip locked);
end $$;

-- Whether a limiter says nothing and holds nobody. With a rate, only when its past is forgotten.
create or replace function trunkline.is_idle(p_limiter trunkline.limiter) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
  select not p_limiter.is_own and p_limiter.running = 0 and p_limiter.paused_at is null
     and coalesce(p_limiter.blocked_until <= trunkline.now(), true) and coalesce(p_limiter.tat <= trunkline.now(), true)
     and not exists (select from trunkline.deferred as d where d.tenant_id = p_limiter.tenant_id and d.limiter_id = p_limiter.limiter_id)
$$;
