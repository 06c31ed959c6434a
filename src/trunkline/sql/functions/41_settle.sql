-- Reporting every ending but success. The policy is read here, so psql, Python and remote workers follow the same one.

-- Seconds before retry number `p_failures` (1 is the first): doubled each time where asked, capped, then jittered.
create or replace function trunkline.retry_delay_s(
  p_failures integer, p_delay_s float8, p_backoff boolean, p_max_delay_s float8, p_jitter float8) returns float8
language sql volatile parallel safe as
$$ select least(p_delay_s * case when p_backoff then power(2, least(p_failures - 1, 40)) else 1 end, p_max_delay_s) * (1 + p_jitter * random()) $$;

-- The same for a job with its options and the policy of its kind.
create or replace function trunkline.retry_delay_of(p_failures integer, p_options json, p_policy trunkline.kind) returns float8
language sql volatile as $$
  select trunkline.retry_delay_s(p_failures,
    coalesce((p_options ->> 'retry_delay')::float8, p_policy.retry_delay_s), coalesce((p_options ->> 'retry_backoff')::boolean, p_policy.retry_backoff),
    coalesce((p_options ->> 'retry_max_delay')::float8, p_policy.retry_max_delay_s), coalesce((p_options ->> 'retry_jitter')::float8, p_policy.retry_jitter))
$$;

-- One flush of endings of one tenant, arrays in parallel. Ending -> what becomes of the job:
--   failed, timed_out   one failure counted; retried after the policy's delay, or ended `failed` when the limit is passed
--   lost                the same, but offered again at once: its worker is gone, nothing was wrong with the job
--   fatal               ended `failed`, whatever the limit
--   snoozed, retry_after, no_handler   runs again after `p_delays` seconds; no failure counted
--   blocked             the same, and nothing else with its limit key starts before
--   released            back to its place in line; no failure counted
--   cancelled           ended `cancelled`; so is every ending but success once a cancel was asked for
-- Answers a row for each lease that still held and for each report that was written before (its answer was lost); a job
-- that is missing there is no longer the reporter's.
-- Locks in job order and is planner-proof, as ack_completed is.
create or replace function trunkline.settle(
  p_tenant_id bigint, p_job_ids uuid[], p_attempts integer[], p_endings text[], p_errors json[], p_delays float8[])
returns table (job_id uuid, attempt integer, next text, run_at timestamptz)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_nestloop = off set enable_mergejoin = off set jit = off set lock_timeout = '2s'
as $$
#variable_conflict use_column
declare
  v_now timestamptz := trunkline.now();
  v_ord bigint;
  v_settled trunkline.settled[];
begin
  perform trunkline.check_endings(p_endings), pg_current_xact_id();
  v_ord := trunkline.ord_now();
  with report as materialized (
    select distinct on (a.job_id, a.attempt) a.job_id, a.attempt, a.ending, a.error, coalesce(a.delay_s, 0) as delay_s
      from unnest(p_job_ids, p_attempts, p_endings, p_errors, p_delays) with ordinality as a (job_id, attempt, ending, error, delay_s, n)
     order by a.job_id, a.attempt, a.n                                                             -- said twice: the first counts
  ), taken as (
    delete from trunkline.lease as l
     where l.tenant_id = p_tenant_id and l.job_id = any (p_job_ids)
       and ((l.job_id, l.attempt) in (select a.job_id, a.attempt from report as a)) is true        -- the fence
    returning l.*
  ), gone as (
    select l.*, a.error, a.delay_s, case when l.cancel_requested_at is null then a.ending else 'cancelled' end as ending
      from taken as l join report as a on a.job_id = l.job_id and a.attempt = l.attempt
  ), judged as (
    select g.*, j.options, d.failures_now, coalesce(j.options ->> 'dead_letter', (k.policy).dead_letter) as dead_letter,
           row_number() over (order by g.ord) as n,
           case when g.ending = 'released' then 'ready'
                when g.ending in ('snoozed', 'retry_after', 'blocked', 'no_handler') then 'deferred' when g.ending = 'cancelled' then 'cancelled'
                when g.ending = 'fatal' or d.failures_now > coalesce((j.options ->> 'retry_limit')::float8, (k.policy).retry_limit) then 'failed'
                when g.ending = 'lost' then 'ready' else 'deferred' end as next,
           v_now + make_interval(secs => case when g.ending in ('failed', 'timed_out')
                                              then trunkline.retry_delay_of(d.failures_now, j.options, k.policy) else g.delay_s end) as run_at
      from gone as g
     cross join lateral (select j.options, j.kind_id from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = g.job_id limit 1) as j
     cross join lateral (select k as policy from trunkline.kind as k where k.tenant_id = p_tenant_id and k.kind_id = j.kind_id limit 1) as k
     cross join lateral (select g.failures + case when g.ending in ('failed', 'timed_out', 'lost', 'fatal') then 1 else 0 end as failures_now) as d
  ), again as (
    insert into trunkline.ready (tenant_id, ord, job_id, queue_id, attempt, priority, failures, traits)
    select p_tenant_id, case when g.ending = 'released' then g.ord else v_ord + g.n end, g.job_id, g.queue_id, g.attempt, g.priority, g.failures_now, g.traits & ~152::smallint
      from judged as g where g.next = 'ready'
  ), later as (
    insert into trunkline.deferred (tenant_id, job_id, run_at, queue_id, attempt, priority, failures, traits, reason)
    select p_tenant_id, g.job_id, g.run_at, g.queue_id, g.attempt, g.priority, g.failures_now, g.traits & ~152::smallint,
           case g.ending when 'no_handler' then 'no_handler' when 'snoozed' then 'scheduled' else 'retrying' end
      from judged as g where g.next = 'deferred'
  ), noted as (
    insert into trunkline.attempt (tenant_id, job_id, attempt, ended_at, started_at, session_id, ending, error)
    select p_tenant_id, g.job_id, g.attempt, v_now, g.claimed_at, g.session_id, case g.ending when 'fatal' then 'failed' else g.ending end, g.error
      from judged as g where g.ending in ('failed', 'fatal', 'timed_out', 'lost', 'cancelled')
  ), ended as (
    insert into trunkline.outcome (tenant_id, job_id, started_at, finished_at, attempt, state, detail)
    select p_tenant_id, g.job_id, g.claimed_at, v_now, g.attempt, case g.next when 'failed' then 2 else 3 end,
           json_build_object('error', g.error, 'failures', g.failures_now, 'priority', g.priority, 'progress', g.progress)
      from judged as g where g.next in ('failed', 'cancelled')
  )
  select array_agg((g.job_id, g.attempt, g.next, g.run_at, g.queue_id, g.ord, g.ending, g.dead_letter, g.traits)::trunkline.settled order by g.job_id)
    into v_settled from judged as g;
  perform trunkline.after_settle(p_tenant_id, v_settled);
  return query select s.job_id, s.attempt, s.next, case when s.next = 'deferred' then s.run_at end from unnest(v_settled) as s
     union all select b.* from trunkline.settled_before(p_tenant_id, p_job_ids, p_attempts, p_endings, p_errors) as b
                where cardinality(p_job_ids) > coalesce(cardinality(v_settled), 0)                 -- else it is not even called
                  and (b.job_id, b.attempt) not in (select s.job_id, s.attempt from unnest(v_settled) as s);
end $$;

create or replace function trunkline.check_endings(p_endings text[]) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  v_known constant text[] := '{failed,timed_out,lost,fatal,snoozed,retry_after,blocked,no_handler,released,cancelled}';
  v_bad text;
begin
  select coalesce(e, 'null') into v_bad from unnest(p_endings) as e where e is null or e <> all (v_known) limit 1;
  if found then
    raise exception using errcode = 'TL001', message = format('ending %L: need one of %s', left(v_bad, 80), array_to_string(v_known, ', '));
  end if;
end $$;

-- Which of these reports were written before, and where their jobs stand: an attempt that was noted with the same ending and
-- error (a rescue writes other words), or a job that waits since this very attempt and has no note of it. Reads only.
create or replace function trunkline.settled_before(p_tenant_id bigint, p_job_ids uuid[], p_attempts integer[], p_endings text[], p_errors json[])
returns table (job_id uuid, attempt integer, next text, run_at timestamptz)
language sql stable security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
  select distinct on (a.job_id, a.attempt) a.job_id, a.attempt,
         case when o.job_id is not null then (array['completed', 'failed', 'cancelled'])[o.state] when r.job_id is not null then 'ready' else 'deferred' end, d.run_at
    from unnest(p_job_ids, p_attempts, p_endings, p_errors) as a (job_id, attempt, ending, error)
    left join trunkline.attempt as n on n.tenant_id = p_tenant_id and n.job_id = a.job_id and n.attempt = a.attempt
    left join trunkline.outcome as o on o.tenant_id = p_tenant_id and o.job_id = a.job_id and o.attempt = a.attempt
    left join trunkline.ready as r on r.tenant_id = p_tenant_id and r.job_id = a.job_id and r.attempt = a.attempt
    left join trunkline.deferred as d on d.tenant_id = p_tenant_id and d.job_id = a.job_id and d.attempt = a.attempt
   where (n.ending in ('cancelled', case a.ending when 'fatal' then 'failed' else a.ending end) and n.error::text is not distinct from a.error::text)
      or (n.ending is null and a.ending = 'released' and r.job_id is not null)
      or (n.ending is null and a.ending in ('snoozed', 'retry_after', 'blocked', 'no_handler') and coalesce(r.job_id, d.job_id) is not null)
$$;

-- Signals, freed keys and dead-letter copies of a settled flush. A released job returns to a place that marks have passed: every
-- claimer of its queue is told to look there again (a scan from the front, once a minute, finds it if the signal is lost).
-- Copies before keys: a copy may make its queue, and an enqueue makes names before it takes keys.
create or replace function trunkline.after_settle(p_tenant_id bigint, p_settled trunkline.settled[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_released record;
  v_ended uuid[];
  v_queues integer[];
  v_special uuid[];
  v_traits smallint[];
  v_states smallint[];
begin
  for v_released in select s.queue_id, min(s.ord) as ord from unnest(p_settled) as s where s.ending = 'released' and s.next = 'ready' group by s.queue_id loop
    perform pg_notify(trunkline.channel(), 'rewind ' || v_released.queue_id || ' ' || v_released.ord);
  end loop;
  select array_agg(s.queue_id) filter (where s.next = 'ready'), coalesce(array_agg(s.job_id) filter (where s.next in ('failed', 'cancelled')), '{}')
    into v_queues, v_ended from unnest(p_settled) as s;
  if trunkline.tell_watchers(p_tenant_id, v_ended) then
    perform trunkline.note_settled(p_tenant_id, p_settled);            -- before the events of what follows
  end if;
  perform trunkline.dead_letter(p_tenant_id,
    array(select s.job_id from unnest(p_settled) as s where s.next = 'failed' and s.dead_letter is not null),
    array(select s.dead_letter from unnest(p_settled) as s where s.next = 'failed' and s.dead_letter is not null));
  select coalesce(array_agg(s.job_id), '{}'), coalesce(array_agg(s.traits), '{}'), coalesce(array_agg(case s.next when 'failed' then 2 else 3 end), '{}')
    into v_special, v_traits, v_states from unnest(p_settled) as s where s.next in ('failed', 'cancelled') and s.traits <> 0;
  if v_special <> '{}' or exists (select from unnest(p_settled) as s where s.traits & 72 <> 0) then
    perform trunkline.after_ended(p_tenant_id, v_special, v_traits, v_states,
      array(select s.job_id from unnest(p_settled) as s where s.traits & 8 <> 0 and s.next not in ('failed', 'cancelled')),
      array(select s.job_id from unnest(p_settled) as s where s.traits & 64 <> 0 and s.ending = 'blocked'),
      array(select s.run_at from unnest(p_settled) as s where s.traits & 64 <> 0 and s.ending = 'blocked'));
  end if;
  if v_queues is not null then
    perform trunkline.wake(v_queues);
  end if;
end $$;

-- Copies of failed jobs into the queues that were named for them, in the transaction that failed them. A copy has an id
-- of its own, the same kind and body, and says of which job it was first made; it is a plain job there and retried by its kind's policy.
create or replace function trunkline.dead_letter(p_tenant_id bigint, p_job_ids uuid[], p_queues text[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_ord bigint := trunkline.ord_now();
  v_queue_ids integer[];
  v_copies uuid[];
begin
  if cardinality(p_job_ids) = 0 then
    return;
  end if;
  perform trunkline.ensure_names(p_tenant_id, p_queues, '{}', array_fill(0::smallint, array[cardinality(p_queues)]));
  with copy as (
    select trunkline.new_id() as id, j.kind_id, q.queue_id, j.payload, j.user_id, coalesce((j.options ->> 'dead_letter_of')::uuid, j.id) as source, u.n
      from unnest(p_job_ids, p_queues) with ordinality as u (job_id, queue, n)
      join trunkline.job as j on j.tenant_id = p_tenant_id and j.id = u.job_id
      join trunkline.queue as q on q.tenant_id = p_tenant_id and q.name = u.queue
     where q.queue_id <> j.queue_id                    -- a copy that fails in the dead-letter queue stays there
  ), kept as (
    insert into trunkline.job (tenant_id, id, created_at, queue_id, kind_id, payload, user_id, options)
    select p_tenant_id, c.id, clock_timestamp(), c.queue_id, c.kind_id, c.payload, c.user_id, json_build_object('dead_letter_of', c.source) from copy as c
  ), lined as (
    insert into trunkline.ready (tenant_id, ord, job_id, queue_id, attempt, priority, failures, traits)
    select p_tenant_id, v_ord + c.n, c.id, c.queue_id, 0, 0, 0, 0 from copy as c
    returning queue_id, job_id
  )
  select array_agg(distinct l.queue_id), array_agg(l.job_id) into v_queue_ids, v_copies from lined as l;
  if v_copies is not null and trunkline.is_watched(p_tenant_id) then
    perform trunkline.note(p_tenant_id, 'queued', v_copies);
  end if;
  perform trunkline.wake(v_queue_ids);
end $$;
