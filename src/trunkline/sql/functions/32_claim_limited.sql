-- Taking work where limits may apply. `claim` (30) comes here for queues with gates; plain queues never do.
-- Locks: rows of `ready` (skip locked), then limiters in the order of their ids. The first round waits for limiters and makes those
-- that are missing; later rounds take what is free and leave the rest to the next claim, because to wait there would be out of order.

-- Jobs of one queue, locked: highest priority first, then place; those that were promised a slot come first in the answer.
create or replace function trunkline.candidates(
  p_tenant_id bigint, p_queue_id integer, p_used smallint[], p_floor bigint, p_priorities smallint[], p_marks bigint[], p_limit integer)
returns trunkline.candidate[]
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
begin
  return (
    select array_agg((c.job_id, c.ord, c.priority, c.attempt, c.failures, c.traits, j.kind_id, j.limit_key, j.ordering_key,
                      case when c.traits & 16 = 0 then '{}' else array(select s.limiter_id from trunkline.slot as s where s.tenant_id = p_tenant_id and s.job_id = c.job_id) end,
                      null)::trunkline.candidate order by c.traits & 16 desc, c.priority desc, c.ord)
      from (select r.*
              from (select u.priority, u.n, coalesce(m.mark, p_floor) as mark
                      from unnest(p_used) with ordinality as u (priority, n)
                      left join unnest(p_priorities, p_marks) as m (priority, mark) on m.priority = u.priority
                     order by u.n) as line
             cross join lateral (
                   select r.* from trunkline.ready as r
                    where r.tenant_id = p_tenant_id and r.queue_id = p_queue_id and r.priority = line.priority and r.ord > line.mark
                    order by r.ord
                    limit p_limit
                      for update skip locked) as r
             limit p_limit) as c
     cross join lateral (select j.kind_id, case when c.traits & 64 <> 0 then j.options ->> 'limit_key' end as limit_key,
                                case when c.traits & 32 <> 0 then j.options ->> 'ordering_key' end as ordering_key
                           from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = c.job_id limit 1) as j);
end $$;

-- The limiters that nobody sets but rules imply: one at a time for an ordering key, and what the handler declared for its kind and
-- for each limit key, unless the key has bounds of its own. Plain SQL, so that it becomes part of the statements that ask.
create or replace function trunkline.implied_limiters(p_tenant_id bigint, p_queue_id integer, p_kind_id integer, p_limit_key text, p_ordering_key text)
returns table (n integer, scope text, owner_id integer, name text, concurrency integer, every_us bigint, burst integer)
language sql stable as $$
  select 1, 'ordering', p_queue_id, p_ordering_key, 1, null::bigint, 0 where p_ordering_key is not null
  union all
  select 3, 'kind', p_kind_id, '', k.concurrency, k.every_us, k.burst from trunkline.kind as k
   where k.tenant_id = p_tenant_id and k.kind_id = p_kind_id and coalesce(k.concurrency, k.every_us) is not null
  union all
  select 5, 'kind_key', p_kind_id, p_limit_key, k.key_concurrency, k.key_every_us, k.key_burst from trunkline.kind as k
   where k.tenant_id = p_tenant_id and k.kind_id = p_kind_id and p_limit_key is not null and coalesce(k.key_concurrency, k.key_every_us) is not null
     and not exists (select from trunkline.limiter as l where l.tenant_id = p_tenant_id and l.scope = 'key' and l.owner_id = 0 and l.name = p_limit_key and l.is_own)
$$;

-- The same candidates with the limiters that apply to each: ordering key, queue, kind, limit key, limit key of the kind.
create or replace function trunkline.with_limiters(p_tenant_id bigint, p_queue_id integer, p_batch trunkline.candidate[], p_may_make boolean)
returns trunkline.candidate[]
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set enable_mergejoin = off set enable_hashjoin = on set jit = off
as $$
begin
  if p_may_make then
    insert into trunkline.limiter (tenant_id, scope, owner_id, name, concurrency, every_us, burst)
    select p_tenant_id, i.scope, i.owner_id, i.name, i.concurrency, i.every_us, i.burst
      from (select distinct i.* from (select distinct c.kind_id, c.limit_key, c.ordering_key from unnest(p_batch) as c) as c
             cross join lateral trunkline.implied_limiters(p_tenant_id, p_queue_id, c.kind_id, c.limit_key, c.ordering_key) as i) as i
     where not exists (select from trunkline.limiter as l where l.tenant_id = p_tenant_id and l.scope = i.scope and l.owner_id = i.owner_id and l.name = i.name)
     order by i.scope, i.owner_id, i.name
        on conflict (tenant_id, scope, owner_id, name) do nothing;
  end if;
  return (
    with applies as materialized (
      select c.kind_id, c.limit_key, c.ordering_key, a.limiters
        from (select distinct c.kind_id, c.limit_key, c.ordering_key from unnest(p_batch) as c) as c
       cross join lateral (
             select coalesce(array_agg(coalesce(l.limiter_id, 0) order by w.n), '{}') as limiters
               from (select i.n, i.scope, i.owner_id, i.name, true as must from trunkline.implied_limiters(p_tenant_id, p_queue_id, c.kind_id, c.limit_key, c.ordering_key) as i
                      union all
                     select w.n, w.scope, w.owner_id, w.name, false from (values (2, 'queue', p_queue_id, ''), (3, 'kind', c.kind_id, ''), (4, 'key', 0, c.limit_key)) as w (n, scope, owner_id, name)
                      where w.name is not null) as w
               left join lateral (select l.limiter_id from trunkline.limiter as l
                                   where l.tenant_id = p_tenant_id and l.scope = w.scope and l.owner_id = w.owner_id and l.name = w.name limit 1) as l on true
              where l.limiter_id is not null or w.must) as a
    )
    select array_agg((c.job_id, c.ord, c.priority, c.attempt, c.failures, c.traits, c.kind_id, c.limit_key, c.ordering_key, c.slots, a.limiters)::trunkline.candidate order by c.n)
      from unnest(p_batch) with ordinality as c (job_id, ord, priority, attempt, failures, traits, kind_id, limit_key, ordering_key, slots, limiters, n)
      join applies as a on a.kind_id = c.kind_id and coalesce(a.limit_key, '') = coalesce(c.limit_key, '') and coalesce(a.ordering_key, '') = coalesce(c.ordering_key, ''));
end $$;

-- Locks what the candidates need and is not locked yet; answers all that is.
create or replace function trunkline.lock_limiters(p_tenant_id bigint, p_batch trunkline.candidate[], p_locked bigint[], p_may_wait boolean) returns bigint[]
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  v_wanted bigint[] := array(select distinct u.id from unnest(p_batch) as c cross join unnest(c.limiters || c.slots) as u (id) where u.id <> 0 and u.id <> all (p_locked));
begin
  if p_may_wait then
    return p_locked || array(select l.limiter_id from trunkline.limiter as l where l.tenant_id = p_tenant_id and l.limiter_id = any (v_wanted) order by l.limiter_id for update);
  end if;
  return p_locked || array(select l.limiter_id from trunkline.limiter as l where l.tenant_id = p_tenant_id and l.limiter_id = any (v_wanted) for update skip locked);
end $$;

-- Starts that a limiter permits at this moment, in a row; null: it has no rate. A start is permitted while tat <= now + burst x every.
create or replace function trunkline.permits_of(p_limiter trunkline.limiter, p_now timestamptz) returns integer
language sql immutable as $$
  select case when p_limiter.every_us is not null then
    greatest(floor(p_limiter.burst - extract(epoch from greatest(p_limiter.tat, p_now) - p_now) * 1000000 / p_limiter.every_us) + 1, 0)::integer end
$$;

-- Who of the candidates may start, in their order: 0 = starts, an id = waits for that limiter, null = left where it is (a limiter
-- of it is not locked, or enough have started). Whoever was promised a slot needs no room, and passes those who wait in line.
create or replace function trunkline.judge(p_tenant_id bigint, p_now timestamptz, p_batch trunkline.candidate[], p_locked bigint[], p_limit integer) returns bigint[]
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off as $$
declare
  v_ids bigint[]; v_rooms integer[]; v_permits integer[]; v_shut boolean[]; v_lines boolean[]; v_heads uuid[];
  v_c trunkline.candidate;
  v_id bigint;
  v_at integer;
  v_verdict bigint;
  v_verdicts bigint[] := '{}';
  v_started integer := 0;
begin
  select array_agg(l.limiter_id order by l.limiter_id), array_agg(l.concurrency - l.running order by l.limiter_id), array_agg(trunkline.permits_of(l, p_now) order by l.limiter_id),
         array_agg(l.paused_at is not null or coalesce(l.blocked_until > p_now, false) order by l.limiter_id),
         array_agg(l.scope <> 'ordering' and exists (select from trunkline.deferred as d where d.tenant_id = p_tenant_id and d.limiter_id = l.limiter_id) order by l.limiter_id),
         array_agg(case when l.scope = 'ordering' then (
           select o.job_id from trunkline.ordering as o where o.tenant_id = p_tenant_id and o.queue_id = l.owner_id and o.key = l.name order by o.ord, o.job_id limit 1) end order by l.limiter_id)
    into v_ids, v_rooms, v_permits, v_shut, v_lines, v_heads
    from trunkline.limiter as l where l.tenant_id = p_tenant_id and l.limiter_id = any (p_locked);
  foreach v_c in array p_batch loop
    v_verdict := case when v_started < p_limit and v_c.limiters || v_c.slots <@ coalesce(v_ids, '{}') then 0 end;
    if v_verdict = 0 then
      foreach v_id in array v_c.limiters loop
        v_at := array_position(v_ids, v_id);
        if v_shut[v_at] or v_permits[v_at] < 1 or v_rooms[v_at] < (v_id <> all (v_c.slots))::integer
           or v_lines[v_at] and v_c.traits & 16 = 0 or v_heads[v_at] <> v_c.job_id then
          v_verdict := v_id;
          v_lines[v_at] := v_heads[v_at] is null;
          exit;
        end if;
      end loop;
      v_started := v_started + (v_verdict = 0)::integer;
      foreach v_id in array case when v_verdict = 0 then v_c.limiters else v_c.slots end loop
        v_at := array_position(v_ids, v_id);
        v_rooms[v_at] := v_rooms[v_at] + case when v_verdict <> 0 then 1 when v_id = any (v_c.slots) then 0 else -1 end;
        v_permits[v_at] := v_permits[v_at] - (v_verdict = 0)::integer;
      end loop;
    end if;
    v_verdicts := v_verdicts || v_verdict;
  end loop;
  return v_verdicts;
end $$;

-- Writes what `judge` decided to slots and limiters: those who start hold a slot of each limiter that counts leases and have used up
-- a permit of each that has a rate; those who do not have lost what was promised to them.
create or replace function trunkline.charge(p_tenant_id bigint, p_now timestamptz, p_batch trunkline.candidate[], p_verdicts bigint[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set enable_mergejoin = off set enable_hashjoin = off set jit = off
as $$
begin
  with judged as materialized (
    select c.job_id, c.slots, c.limiters, c.verdict = 0 as starts
      from unnest(p_batch, p_verdicts) as c (job_id, ord, priority, attempt, failures, traits, kind_id, limit_key, ordering_key, slots, limiters, verdict)
     where c.verdict is not null and c.limiters || c.slots <> '{}'
  ), pair as materialized (
    select j.job_id, u.id, j.starts and l.concurrency is not null and u.id = any (j.limiters) as holds, u.id = any (j.slots) as was_promised,
           j.starts and u.id = any (j.limiters) as starts
      from judged as j
     cross join lateral (select distinct x as id from unnest(j.limiters || j.slots) as x) as u
     cross join lateral (select l.concurrency from trunkline.limiter as l where l.tenant_id = p_tenant_id and l.limiter_id = u.id limit 1) as l
  ), lost as (
    delete from trunkline.slot as s using pair as p
     where p.was_promised and not p.holds and s.tenant_id = p_tenant_id and s.job_id = p.job_id and s.limiter_id = p.id
  ), kept as (
    update trunkline.slot as s set promised_at = null from pair as p
     where p.was_promised and p.holds and s.tenant_id = p_tenant_id and s.job_id = p.job_id and s.limiter_id = p.id
  ), made as (
    insert into trunkline.slot (tenant_id, job_id, limiter_id) select p_tenant_id, p.job_id, p.id from pair as p where p.holds and not p.was_promised
  ), tally as (
    select p.id, sum(p.holds::integer - p.was_promised::integer) as running, sum(p.was_promised::integer) as promised, sum(p.starts::integer) as starts from pair as p group by p.id
  )
  update trunkline.limiter as l
     set running = l.running + t.running, promised = l.promised - t.promised,
         tat = case when l.every_us is not null and t.starts > 0 then greatest(l.tat, p_now) + l.every_us * t.starts * interval '1 microsecond' else l.tat end
    from tally as t
   where l.tenant_id = p_tenant_id and l.limiter_id = t.id and (t.running <> 0 or t.promised <> 0 or t.starts > 0 and l.every_us is not null);
end $$;
