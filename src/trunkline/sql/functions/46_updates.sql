-- What handlers and applications say about jobs, the history of a job, and how old events go.

-- Writes progress of attempts as events; the caller has checked the fence. Arrays in parallel.
create or replace function trunkline.note_progress(p_tenant_id bigint, p_job_ids uuid[], p_attempts integer[], p_progress json[], p_is_watched boolean) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_hashjoin = off set enable_mergejoin = off set enable_nestloop = on set jit = off
as $$
begin
  insert into trunkline.event (tenant_id, job_id, queue_id, kind_id, attempt, is_said, what, user_id, data)
  select p_tenant_id, u.id, j.queue_id, j.kind_id, u.attempt, true, 'progress', j.user_id, u.progress
    from unnest(p_job_ids, p_attempts, p_progress) with ordinality as u (id, attempt, progress, n)
   cross join lateral (select j.queue_id, j.kind_id, j.user_id from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = u.id limit 1) as j
   order by u.n;
  if p_is_watched then
    perform trunkline.tell_readers(p_tenant_id);
  end if;
  if random() < 0.02 then
    perform trunkline.trim_events(p_tenant_id, p_job_ids);
  end if;
end $$;

-- Says something about a job to whoever watches it, and keeps it for its history: `p_what` is update (with a word of the application's own as
-- `p_status`), progress, completed or failed. It changes nothing about the job. Seen when the caller's transaction commits.
create or replace function trunkline.emit(p_tenant_id bigint, p_job_id uuid, p_what text, p_data json, p_status text default null) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
begin
  if p_what is null or p_what not in ('update', 'progress', 'completed', 'failed') then
    raise exception using errcode = 'TL001', message = format('event %L: need one of update, progress, completed, failed', left(p_what, 80));
  end if;
  if p_what = 'update' and (p_status is null or length(p_status) not between 1 and 100) then
    raise exception using errcode = 'TL001', message = format('status %L: need 1 to 100 characters', left(p_status, 80));
  end if;
  perform trunkline.check_payload(coalesce(p_data, 'null'), 65536);
  insert into trunkline.event (tenant_id, job_id, queue_id, kind_id, is_said, what, status, user_id, data)
  select p_tenant_id, j.id, j.queue_id, j.kind_id, true, p_what, case p_what when 'update' then p_status end, j.user_id, coalesce(p_data, 'null')
    from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = p_job_id;
  if not found then
    raise exception using errcode = 'TL004', message = format('job %s: this tenant has no such job', p_job_id);
  end if;
  if trunkline.is_watched(p_tenant_id) then
    perform trunkline.tell_readers(p_tenant_id);
  end if;
  if random() < 0.02 then
    perform trunkline.trim_events(p_tenant_id, array[p_job_id]);
  end if;
end $$;

-- An event of the application's own to all watchers of a tenant, or to those of one user. Nothing is written where nobody watches.
create or replace function trunkline.broadcast(p_tenant_id bigint, p_event text, p_data json, p_user_id text default null) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if p_event is null or length(p_event) not between 1 and 100 then
    raise exception using errcode = 'TL001', message = format('event %L: need a name of 1 to 100 characters', left(p_event, 80));
  end if;
  if length(p_user_id) not between 1 and 500 then
    raise exception using errcode = 'TL001', message = format('user id %L: need 1 to 500 characters', left(p_user_id, 80));
  end if;
  perform trunkline.check_payload(coalesce(p_data, 'null'), 65536);
  if trunkline.is_watched(p_tenant_id) then
    insert into trunkline.event (tenant_id, is_said, what, status, user_id, data) values (p_tenant_id, true, 'broadcast', p_event, p_user_id, coalesce(p_data, 'null'));
    perform trunkline.tell_readers(p_tenant_id);
  end if;
end $$;

-- Whether somebody watches a tenant, or did within the recovery window.
create or replace function trunkline.is_watched(p_tenant_id bigint) returns boolean
language sql volatile security definer set search_path = pg_catalog, pg_temp as
$$ select exists (select from trunkline.watched as w where w.tenant_id = p_tenant_id and w.until > trunkline.now()) $$;

-- The life of a job, newest first: moves from where the job stands and stood, and what was said about it within `p_kept_s`. The same for
-- jobs that were watched and jobs that were not. A claim that was handed back or put off left no trace.
create or replace function trunkline.job_history(p_tenant_id bigint, p_job_id uuid, p_limit integer default 100, p_kept_s float8 default 86400)
returns table (at timestamptz, what text, is_said boolean, attempt integer, status text, data json, kind text, source uuid)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_hashjoin = off set enable_mergejoin = off set enable_nestloop = on set jit = off
as $$
#variable_conflict use_column
declare
  v_limit integer := least(greatest(p_limit, 1), 1000);
begin
  return query
  with told as (
    (select j.created_at as at, 'queued' as what, false as is_said, null::integer as attempt, null as status, null::json as data, 0 as rank, 0::bigint as seq
       from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = p_job_id)
    union all
    (select s.at, s.what, false, a.attempt, null, s.data, s.rank, 0
       from (select a.* from trunkline.attempt as a where a.tenant_id = p_tenant_id and a.job_id = p_job_id order by a.attempt desc, a.ended_at desc limit v_limit) as a
      cross join lateral (values (a.started_at, 'started', null::json, 1), (a.ended_at, case a.ending when 'cancelled' then 'cancelled' else 'retrying' end, a.error, 3)) as s (at, what, data, rank)
      where s.at is not null
        and not exists (select from trunkline.outcome as o where o.tenant_id = p_tenant_id and o.job_id = p_job_id and o.attempt = a.attempt))
    union all
    (select l.claimed_at, 'started', false, l.attempt, null, null, 1, 0 from trunkline.lease as l where l.tenant_id = p_tenant_id and l.job_id = p_job_id)
    union all
    (select s.at, s.what, false, nullif(o.attempt, 0), null, s.data, s.rank, 0
       from trunkline.outcome as o
      cross join lateral (values (o.started_at, 'started', null::json, 1),
                                 (o.finished_at, (array['completed', 'failed', 'cancelled'])[o.state], case o.state when 1 then o.result else o.detail -> 'error' end, 3)) as s (at, what, data, rank)
      where o.tenant_id = p_tenant_id and o.job_id = p_job_id and s.at is not null)
    union all
    (select e.happened_at, e.what, true, e.attempt, e.status, e.data, 2, e.seq from trunkline.event as e
      where e.tenant_id = p_tenant_id and e.job_id = p_job_id and e.is_said and e.happened_at > clock_timestamp() - make_interval(secs => p_kept_s)
      order by e.seq desc limit v_limit)
  )
  select t.at, t.what, t.is_said, t.attempt, t.status, t.data, k.name, (j.options ->> 'dead_letter_of')::uuid
    from told as t
   cross join (select j.kind_id, j.options from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = p_job_id limit 1) as j
   cross join lateral (select k.name from trunkline.kind as k where k.tenant_id = p_tenant_id and k.kind_id = j.kind_id limit 1) as k
   order by t.at desc, t.rank desc, t.seq desc limit v_limit;
end $$;

-- Forgets what was said about these jobs beyond the newest 100 and longer than ten minutes ago (a watcher may still ask for those), and in
-- any case beyond 2,000: more than a replay answers. Called now and then by those who write.
create or replace function trunkline.trim_events(p_tenant_id bigint, p_job_ids uuid[]) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_hashjoin = off set enable_mergejoin = off set enable_nestloop = on
as $$
declare
  v_gone integer;
begin
  with bound as (
    select u.id, (select e.seq from trunkline.event as e where e.tenant_id = p_tenant_id and e.job_id = u.id and e.is_said order by e.seq desc offset 99 limit 1) as hundredth,
           (select e.seq from trunkline.event as e where e.tenant_id = p_tenant_id and e.job_id = u.id and e.is_said order by e.seq desc offset 1999 limit 1) as last
      from (select distinct unnest(p_job_ids) as id) as u
  )
  delete from trunkline.event as e using bound as b
   where e.tenant_id = p_tenant_id and e.job_id = b.id and e.is_said and e.seq < b.hundredth
     and (e.seq < b.last or e.happened_at < clock_timestamp() - interval '10 minutes');
  get diagnostics v_gone = row_count;
  return v_gone;
end $$;

-- Forgets a tenant that nobody watches any more. Its gates last, and only where nobody says it is watched meanwhile: the row is locked.
create or replace function trunkline.close_gates(p_tenant_id bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
begin
  delete from trunkline.watched as w where w.tenant_id = p_tenant_id and w.until < trunkline.now() - interval '1 hour';
  if found then
    perform trunkline.gate_tenant(p_tenant_id, 8::smallint, false);
  end if;
exception when lock_not_available or deadlock_detected then null;
end $$;

-- The duty, part of the minute's round: empties the slot whose turn is tomorrow (its day was the one before yesterday), and forgets
-- tenants that nobody watches any more. A lock that does not come at once is for the next minute.
create or replace function trunkline.sweep_events() returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '300ms' as $$
declare
  v_slot integer := (extract(epoch from clock_timestamp())::bigint / 86400 + 1) % 3;
  v_gone integer := 0;
  v_is_empty boolean;
begin
  perform trunkline.close_gates(w.tenant_id) from trunkline.watched as w where w.until < trunkline.now() - interval '1 hour';
  execute format('select not exists (select from trunkline.%I)', 'event_' || v_slot) into v_is_empty;
  if not v_is_empty then
    execute format('lock table trunkline.%I in access exclusive mode', 'event_' || v_slot);
    if (extract(epoch from clock_timestamp())::bigint / 86400 + 1) % 3 = v_slot then      -- midnight did not pass meanwhile
      execute format('truncate trunkline.%I', 'event_' || v_slot);
      v_gone := 1;
    end if;
  end if;
  return v_gone;
exception when lock_not_available or deadlock_detected then
  return 0;
end $$;
