-- The net under the lines of limiters. Room is given on by whoever frees it; what slips through (a head that somebody held locked at that
-- moment, a promise nobody takes up, an ordering key whose history was dropped) is found here within seconds.

-- Every 5 s, in some process's tick. Cheap while nobody waits for a limiter. Skips limiters that are in use: who uses them looks
-- after them, and this must not wait while it holds those of other tenants.
create or replace function trunkline.mend_limits(p_session_id integer) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
declare
  v_found record;
  v_count integer := 0;
begin
  if not trunkline.take_duty('limits', 5, p_session_id) then
    return 0;
  end if;
  v_count := trunkline.take_promises_back(interval '15 seconds');
  for v_found in
    select w.tenant_id, array_agg(w.limiter_id) as ids
      from (select l.tenant_id, l.limiter_id from trunkline.waiting_lines() as w join trunkline.limiter as l on l.tenant_id = w.tenant_id and l.limiter_id = w.limiter_id
             where trunkline.room_of(l, trunkline.now()) > 0 for update of l skip locked) as w
     group by w.tenant_id
  loop
    perform trunkline.refill(v_found.tenant_id, v_found.ids);
    v_count := v_count + cardinality(v_found.ids);
  end loop;
  if trunkline.take_duty('limits_gone', 60, p_session_id) then
    perform trunkline.drop_idle_limiters();
    perform trunkline.clear_gates(q.tenant_id) from (select distinct q.tenant_id from trunkline.queue as q where q.gates & 1 <> 0) as q;
  end if;
  return v_count;
exception when others then
  raise warning 'trunkline mend_limits: % (%)', sqlerrm, sqlstate;
  return 0;
end $$;

-- The limiters that somebody waits for, one index probe each.
create or replace function trunkline.waiting_lines() returns table (tenant_id bigint, limiter_id bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off as $$
  with recursive line as (
    (select d.tenant_id, d.limiter_id from trunkline.deferred as d where d.limiter_id is not null order by d.tenant_id, d.limiter_id limit 1)
    union all
    select n.* from line as l
     cross join lateral (select d.tenant_id, d.limiter_id from trunkline.deferred as d
                          where d.limiter_id is not null and (d.tenant_id, d.limiter_id) > (l.tenant_id, l.limiter_id)
                          order by d.tenant_id, d.limiter_id limit 1) as n
  )
  select l.tenant_id, l.limiter_id from line as l limit 10000
$$;

-- A job that was promised a slot and that no worker takes (its queue is paused, or has no worker any more) must not keep the others of
-- its key waiting: it loses the promise and is a newcomer again when it is claimed, with its place.
create or replace function trunkline.take_promises_back(p_after interval) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off as $$
declare
  v_found record;
  v_count integer := 0;
begin
  for v_found in
    select s.tenant_id, array_agg(distinct s.job_id) as ids
      from (select s.tenant_id, s.job_id from trunkline.slot as s
              join trunkline.limiter as l on l.tenant_id = s.tenant_id and l.limiter_id = s.limiter_id
              join trunkline.ready as r on r.tenant_id = s.tenant_id and r.job_id = s.job_id and r.traits & 16 <> 0
             where s.promised_at <= trunkline.now() - p_after
               and exists (select from trunkline.deferred as d where d.tenant_id = s.tenant_id and d.limiter_id = s.limiter_id)
             limit 1000
               for update of l, r skip locked) as s
     group by s.tenant_id
  loop
    update trunkline.ready as r set traits = r.traits & ~16::smallint where r.tenant_id = v_found.tenant_id and r.job_id = any (v_found.ids);
    perform trunkline.leave_limits(v_found.tenant_id, v_found.ids, '{}');
    v_count := v_count + cardinality(v_found.ids);
  end loop;
  return v_count;
end $$;

-- Limiters that nobody set and nobody uses: they are made again when they are needed.
create or replace function trunkline.drop_idle_limiters() returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_count integer;
begin
  delete from trunkline.limiter as l
   where (l.tenant_id, l.limiter_id) in (
     select c.tenant_id, c.limiter_id from trunkline.limiter as c
      where not c.is_own and c.running = 0 and c.paused_at is null and trunkline.is_idle(c) limit 10000 for update skip locked);
  get diagnostics v_count = row_count;
  return v_count;
end $$;
