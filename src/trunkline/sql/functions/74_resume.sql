-- A worker's client that comes back on another gateway keeps the jobs it had started: the leases change their session.

-- Moves leases from one live session to another; answers those that moved. Fenced by (job, attempt) and by the session that gives
-- them away: a lease that was lost, or ended, or moved before stays where it is. `attempt` does not rise: the same attempt goes on.
-- Locks the leases in job order, as a report does.
create or replace function trunkline.move_leases(
  p_tenant_id bigint, p_job_ids uuid[], p_attempts integer[], p_from_session integer, p_to_session integer) returns setof uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
begin
  if not exists (select from trunkline.session as s where s.session_id = p_to_session and s.dead_at is null) then
    return;
  end if;
  return query
  with held as (
    select l.job_id, l.attempt from trunkline.lease as l
     where l.tenant_id = p_tenant_id and l.job_id = any (p_job_ids) and l.session_id = p_from_session
       and ((l.job_id, l.attempt) in (select a.job_id, a.attempt from unnest(p_job_ids, p_attempts) as a (job_id, attempt))) is true
     order by l.job_id
       for update
  )
  update trunkline.lease as l set session_id = p_to_session
    from held as h where l.tenant_id = p_tenant_id and l.job_id = h.job_id and l.attempt = h.attempt
  returning l.job_id;
end $$;

-- What one session says to another: a word and ids.
create or replace function trunkline.tell_session(p_word text, p_arguments text) returns void
language sql security definer set search_path = pg_catalog, pg_temp as
$$ select pg_notify(trunkline.channel(), p_word || ' ' || p_arguments) $$;

-- Jobs whose leases a session was given, as claim() would have answered them, with queue and the seconds that are left.
create or replace function trunkline.leased(p_tenant_id bigint, p_session_id integer, p_job_ids uuid[])
returns table (job_id uuid, attempt integer, failures smallint, priority smallint, ord bigint, kind_id integer, payload json, options json, user_id text,
               queue text, left_s float8)
language sql volatile security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
  select l.job_id, l.attempt, l.failures, l.priority, l.ord, j.kind_id, j.payload, j.options, j.user_id, q.name,
         extract(epoch from l.deadline - trunkline.now())::float8
    from trunkline.lease as l
   cross join lateral (select * from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = l.job_id limit 1) as j
    join trunkline.queue as q on q.tenant_id = p_tenant_id and q.queue_id = l.queue_id
   where l.tenant_id = p_tenant_id and l.job_id = any (p_job_ids) and l.session_id = p_session_id
$$;
