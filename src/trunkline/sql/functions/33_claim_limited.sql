-- The claim of a queue with gates, put together from 32. Signature and answer are those of `claim`.

-- Moves the judged: into `lease`, or into the line of the limiter that refused. The rows are locked, so the candidates are what they were.
create or replace function trunkline.move_judged(
  p_tenant_id bigint, p_queue_id integer, p_session_id integer, p_now timestamptz, p_batch trunkline.candidate[], p_verdicts bigint[]) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set enable_mergejoin = off set enable_hashjoin = off set jit = off
as $$
begin
  delete from trunkline.ready as r
   where r.tenant_id = p_tenant_id and r.job_id = any (array(select c.job_id from unnest(p_batch, p_verdicts)
             as c (job_id, ord, priority, attempt, failures, traits, kind_id, limit_key, ordering_key, slots, limiters, verdict) where c.verdict is not null));
  with judged as (
    select c.* from unnest(p_batch, p_verdicts) as c (job_id, ord, priority, attempt, failures, traits, kind_id, limit_key, ordering_key, slots, limiters, verdict)
  ), later as (
    insert into trunkline.deferred (tenant_id, job_id, queue_id, attempt, priority, failures, traits, reason, ord, limiter_id)
    select p_tenant_id, c.job_id, p_queue_id, c.attempt, c.priority, c.failures, c.traits & ~16::smallint, 'limited', c.ord, c.verdict
      from judged as c where c.verdict > 0
  )
  insert into trunkline.lease (tenant_id, job_id, ord, claimed_at, deadline, session_id, attempt, queue_id, priority, failures, traits)
  select p_tenant_id, c.job_id, c.ord, p_now, p_now + make_interval(secs => coalesce((j.options ->> 'timeout')::float8, k.timeout_s)), p_session_id,
         c.attempt + 1, p_queue_id, c.priority, c.failures,
         ((c.traits & ~16::smallint) | 128::smallint
          | case when exists (select from trunkline.slot as s where s.tenant_id = p_tenant_id and s.job_id = c.job_id) then 8::smallint else 0::smallint end)
    from judged as c
   cross join lateral (select j.options from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = c.job_id limit 1) as j
   cross join lateral (select k.timeout_s from trunkline.kind as k where k.tenant_id = p_tenant_id and k.kind_id = c.kind_id limit 1) as k
   where c.verdict = 0;
end $$;

-- Rounds go on while jobs are refused, so that jobs of other keys behind them are found; at most 20, and 2,000 moves. A job is moved
-- into a line once. What is left after that is for the next claim: its claimers are told to look from here again.
create or replace function trunkline.claim_limited(
  p_tenant_id bigint, p_queue_id integer, p_session_id integer, p_limit integer, p_floor bigint, p_priorities smallint[], p_marks bigint[], p_used smallint[])
returns table (job_id uuid, attempt integer, failures smallint, priority smallint, ord bigint, kind_id integer, payload json, options json, user_id text)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
  v_now timestamptz;
  v_batch trunkline.candidate[];
  v_verdicts bigint[];
  v_won trunkline.candidate[] := '{}';
  v_locked bigint[] := '{}';
  v_size integer := p_limit;
  v_moved integer := 0;
  v_more boolean := false;
begin
  for v_round in 1 .. 20 loop
    v_batch := trunkline.candidates(p_tenant_id, p_queue_id, p_used, p_floor, p_priorities, p_marks, v_size);
    exit when v_batch is null;
    v_batch := trunkline.with_limiters(p_tenant_id, p_queue_id, v_batch, v_round = 1);
    v_locked := trunkline.lock_limiters(p_tenant_id, v_batch, v_locked, v_round = 1);
    v_now := trunkline.now();                                          -- after the locks: what was waited for has happened
    v_verdicts := trunkline.judge(p_tenant_id, v_now, v_batch, v_locked, p_limit - cardinality(v_won));
    perform trunkline.charge(p_tenant_id, v_now, v_batch, v_verdicts);
    perform trunkline.move_judged(p_tenant_id, p_queue_id, p_session_id, v_now, v_batch, v_verdicts);
    v_won := v_won || array(select v_batch[u.n] from unnest(v_verdicts) with ordinality as u (verdict, n) where u.verdict = 0);
    v_moved := v_moved + (select count(*) from unnest(v_verdicts) as u where u > 0);
    v_more := array_position(v_verdicts, null) is not null;
    exit when v_more or cardinality(v_won) = p_limit or cardinality(v_batch) < v_size;
    v_more := true;
    exit when v_moved >= 2000;
    v_size := least(2 * v_size, 500);
  end loop;
  if v_more and (cardinality(v_won) < p_limit or array_position(v_verdicts, null) is not null) and v_batch is not null then
    perform pg_notify(trunkline.channel(), 'rewind ' || p_queue_id || ' ' || (select least(p_floor, min(m)) + 1 from unnest(p_marks) as m));
  end if;
  perform trunkline.refill(p_tenant_id, array(
    select l.limiter_id from trunkline.limiter as l where l.tenant_id = p_tenant_id and l.limiter_id = any (v_locked) and trunkline.room_of(l, v_now) > 0
       and exists (select from trunkline.deferred as d where d.tenant_id = p_tenant_id and d.limiter_id = l.limiter_id)));
  if cardinality(v_won) > 0 and trunkline.is_watched(p_tenant_id) then
    perform trunkline.note(p_tenant_id, 'started', array(select c.job_id from unnest(v_won) as c), array(select c.attempt + 1 from unnest(v_won) as c));
  end if;
  return query
  select c.job_id, c.attempt + 1, c.failures, c.priority, c.ord, c.kind_id, j.payload, j.options, j.user_id
    from unnest(v_won) as c
   cross join lateral (select * from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = c.job_id limit 1) as j
   order by c.priority desc, c.ord;
end $$;
