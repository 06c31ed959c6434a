-- What a running handler writes. Every write matches (tenant, job, attempt): an attempt that lost its lease changes nothing.

-- Progress of many jobs, the latest of each; answers those whose fence held. It never moves a deadline. Each is an event, watched or not:
-- a job's history shows it.
create or replace function trunkline.save_progress(p_tenant_id bigint, p_job_ids uuid[], p_attempts integer[], p_progress json[]) returns setof uuid
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set enable_nestloop = off set enable_mergejoin = off
as $$
declare
  v_ids uuid[];
  v_attempts integer[];
  v_progress json[];
begin
  with saved as (
    update trunkline.lease as l set progress = a.progress
      from unnest(p_job_ids, p_attempts, p_progress) as a (job_id, attempt, progress)
     where l.tenant_id = p_tenant_id and l.job_id = any (p_job_ids) and l.job_id = a.job_id and l.attempt = a.attempt
    returning l.job_id, l.attempt, l.progress
  )
  select array_agg(s.job_id), array_agg(s.attempt), array_agg(s.progress) into v_ids, v_attempts, v_progress from saved as s;
  if v_ids is not null then
    perform trunkline.note_progress(p_tenant_id, v_ids, v_attempts, v_progress, trunkline.tell_watchers(p_tenant_id, v_ids));
  end if;
  return query select unnest(v_ids);
end $$;

-- Keeps a value that the next attempt of the same job reads. False: the lease is lost.
create or replace function trunkline.save_checkpoint(p_tenant_id bigint, p_job_id uuid, p_attempt integer, p_value json) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
begin
  perform from trunkline.lease as l where l.tenant_id = p_tenant_id and l.job_id = p_job_id and l.attempt = p_attempt for key share;
  if not found then
    return false;
  end if;
  insert into trunkline.checkpoint (tenant_id, job_id, attempt, saved_at, value) values (p_tenant_id, p_job_id, p_attempt, trunkline.now(), p_value)
      on conflict (tenant_id, job_id) do update set attempt = excluded.attempt, saved_at = excluded.saved_at, value = excluded.value;
  return true;
end $$;

create or replace function trunkline.checkpoint(p_tenant_id bigint, p_job_id uuid) returns json
language sql stable security definer set search_path = pg_catalog, pg_temp as
$$ select c.value from trunkline.checkpoint as c where c.tenant_id = p_tenant_id and c.job_id = p_job_id $$;

-- How many attempts of a job have been made; null when there is no such job.
create or replace function trunkline.attempts_of(p_tenant_id bigint, p_job_id uuid) returns integer
language sql stable security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
  select l.attempt from trunkline.lease as l where l.tenant_id = p_tenant_id and l.job_id = p_job_id
  union all select o.attempt from trunkline.outcome as o where o.tenant_id = p_tenant_id and o.job_id = p_job_id
  union all select r.attempt from trunkline.ready as r where r.tenant_id = p_tenant_id and r.job_id = p_job_id
  union all select d.attempt from trunkline.deferred as d where d.tenant_id = p_tenant_id and d.job_id = p_job_id
$$;

-- Lines a handler logged for people; kept with the job. At most 1,000 a job: further ones are dropped. A line may arrive
-- after its attempt has ended (it waited in a buffer) and says which attempt wrote it, so it needs no lease; lines of attempts
-- that never were are dropped.
create or replace function trunkline.add_log(p_tenant_id bigint, p_job_ids uuid[], p_attempts integer[], p_levels text[], p_messages text[], p_fields json[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
  insert into trunkline.job_log (tenant_id, job_id, attempt, logged_at, level, message, fields)
  select p_tenant_id, u.job_id, u.attempt, trunkline.now(), u.level, left(u.message, 10000), u.fields
    from (select u.*, row_number() over (partition by u.job_id order by u.n) as nth
            from unnest(p_job_ids, p_attempts, p_levels, p_messages, p_fields) with ordinality as u (job_id, attempt, level, message, fields, n)) as u
    join (select k.job_id, trunkline.attempts_of(p_tenant_id, k.job_id) as attempts,
                 (select count(*) from trunkline.job_log as l where l.tenant_id = p_tenant_id and l.job_id = k.job_id) as kept
            from (select distinct unnest(p_job_ids) as job_id) as k) as k on k.job_id = u.job_id
   where k.kept + u.nth <= 1000 and u.attempt between 1 and k.attempts
   order by u.n
$$;

-- The policy of a kind, as its handler declares it; upserted at worker start. Null tenant: for every tenant, present and future.
-- Bounds hold from the next claims on; limiters that follow the kind follow at once.
drop function if exists trunkline.declare_kind(bigint, text, integer, float8, boolean, float8, float8, float8, text);
create or replace function trunkline.declare_kind(
  p_tenant_id bigint, p_name text, p_retry_limit integer, p_retry_delay_s float8, p_retry_backoff boolean,
  p_retry_max_delay_s float8, p_retry_jitter float8, p_timeout_s float8, p_dead_letter text,
  p_concurrency integer default null, p_rate float8 default null, p_burst integer default 0,
  p_key_concurrency integer default null, p_key_rate float8 default null, p_key_burst integer default 0) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_name text := trunkline.kind_name(p_name);
begin
  perform trunkline.check_name('kind', v_name);
  insert into trunkline.kind as k (tenant_id, name, retry_limit, retry_delay_s, retry_backoff, retry_max_delay_s, retry_jitter, timeout_s, dead_letter, declared_at)
  values (coalesce(p_tenant_id, 0), v_name, p_retry_limit, p_retry_delay_s, p_retry_backoff, p_retry_max_delay_s, p_retry_jitter, p_timeout_s, p_dead_letter, trunkline.now())
      on conflict (tenant_id, name) do nothing;
  update trunkline.kind as k
     set retry_limit = p_retry_limit, retry_delay_s = p_retry_delay_s, retry_backoff = p_retry_backoff, retry_max_delay_s = p_retry_max_delay_s,
         retry_jitter = p_retry_jitter, timeout_s = p_timeout_s, dead_letter = p_dead_letter, declared_at = coalesce(k.declared_at, trunkline.now())
   where (p_tenant_id is null or k.tenant_id = p_tenant_id) and k.name = v_name
     and (k.retry_limit, k.retry_delay_s, k.retry_backoff, k.retry_max_delay_s, k.retry_jitter, k.timeout_s, k.dead_letter, k.declared_at is not null)
         is distinct from (p_retry_limit::smallint, p_retry_delay_s::real, p_retry_backoff, p_retry_max_delay_s::real, p_retry_jitter::real, p_timeout_s::real, p_dead_letter, true);
  perform trunkline.bound_kind(p_tenant_id, v_name, p_concurrency, trunkline.every_us(p_rate, 1), p_burst, p_key_concurrency, trunkline.every_us(p_key_rate, 1), p_key_burst);
end $$;

-- The lines a worker serves: its queues by name, in one tenant or (null) in all; made where the tenant is named.
create or replace function trunkline.open_lines(p_tenant_id bigint, p_queues text[]) returns table (tenant_id bigint, queue_id integer, queue text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
  if p_tenant_id is not null then
    perform trunkline.ensure_names(p_tenant_id, p_queues, '{}', array_fill(0::smallint, array[cardinality(p_queues)]));
  end if;
  return query select q.tenant_id, q.queue_id, q.name from trunkline.queue as q
                where q.name = any (p_queues) and (p_tenant_id is null or q.tenant_id = p_tenant_id) and q.tenant_id <> 0;
end $$;
