-- How batches end. Who notices that the last child has ended, when nobody sees what others have not committed yet?
--
-- Each flush of endings appends its delta, then looks at what remains with a new snapshot. What it cannot see are deltas of
-- transactions that are open at that moment, of which there are at most one flush (1,000 children) per process. If more remains
-- than all of them could hide, it cannot be the last and goes on without touching anything shared. Otherwise it takes the lock of
-- the batch's row and counts again: whoever holds that lock keeps it until its commit, so these flushes follow each other, each sees
-- all before it, and the last sees zero. Nobody waits long for that lock: a transaction of somebody's own that holds it must not stop
-- the reports of other children. Who gives up, and a flush larger than was said here, are caught by the duty, which folds every
-- delta within a second and finishes what adds up.
-- Lock order: batches come last, in the order of their ids.

-- What counts are at this moment, the row's and those of its deltas, in one snapshot.
create or replace function trunkline.batch_counts(
  p_tenant_id bigint, p_batch_id uuid, out total integer, out completed integer, out failed integer, out cancelled integer, out remaining integer)
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
begin
  select c.total, c.completed, c.failed, c.cancelled, c.total - c.completed - c.failed - c.cancelled into total, completed, failed, cancelled, remaining
    from (select (b.total + coalesce(sum(d.total), 0))::integer as total, (b.completed + coalesce(sum(d.completed), 0))::integer as completed,
                 (b.failed + coalesce(sum(d.failed), 0))::integer as failed, (b.cancelled + coalesce(sum(d.cancelled), 0))::integer as cancelled
            from trunkline.batch as b
            left join trunkline.batch_delta as d on d.tenant_id = b.tenant_id and d.batch_id = b.batch_id
           where b.tenant_id = p_tenant_id and b.batch_id = p_batch_id
           group by b.tenant_id, b.batch_id) as c;
end $$;

-- Children that ended, or (p_sign -1) that were put back by hand: one delta per batch, then a look at each. Arrays in parallel.
create or replace function trunkline.leave_batches(p_tenant_id bigint, p_job_ids uuid[], p_states smallint[], p_sign integer default 1) returns uuid[]
language plpgsql security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set enable_hashjoin = off set enable_mergejoin = off set enable_nestloop = on set jit = off
as $$
declare
  v_batches uuid[];
  v_batch_id uuid;
begin
  with child as (
    select (j.options ->> 'batch_id')::uuid as batch_id, u.state
      from unnest(p_job_ids, p_states) as u (id, state)
     cross join lateral (select j.options from trunkline.job as j where j.tenant_id = p_tenant_id and j.id = u.id limit 1) as j
  ), said as (
    insert into trunkline.batch_delta (tenant_id, batch_id, completed, failed, cancelled)
    select p_tenant_id, c.batch_id, p_sign * count(*) filter (where c.state = 1), p_sign * count(*) filter (where c.state = 2), p_sign * count(*) filter (where c.state = 3)
      from child as c
     where (select true from trunkline.batch as b where b.tenant_id = p_tenant_id and b.batch_id = c.batch_id)      -- it may be forgotten
     group by c.batch_id
    returning batch_id
  )
  select array_agg(s.batch_id order by s.batch_id) into v_batches from said as s;
  if p_sign = 1 then
    foreach v_batch_id in array coalesce(v_batches, '{}') loop
      perform trunkline.end_batch(p_tenant_id, v_batch_id);
    end loop;
  end if;
  return v_batches;
end $$;

-- Finishes a batch if nothing remains; after a report, so it neither fails nor waits long. See above for the bound.
create or replace function trunkline.end_batch(p_tenant_id bigint, p_batch_id uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms' as $$
begin
  if not exists (select from trunkline.batch as b where b.tenant_id = p_tenant_id and b.batch_id = p_batch_id and b.sealed_at is not null and b.done_at is null)
     or (trunkline.batch_counts(p_tenant_id, p_batch_id)).remaining > 1000 * (1 + (select count(*) from trunkline.session as s where s.dead_at is null)) then
    return;
  end if;
  perform trunkline.finish_batch(p_tenant_id, p_batch_id);
exception
  when lock_not_available or deadlock_detected then null;             -- the duty comes within a second
  when others then raise warning 'trunkline batch %: %', p_batch_id, sqlerrm;
end $$;

-- Under the row's lock, with a snapshot taken after it: sets done_at and sends the callbacks, each once in the batch's life.
create or replace function trunkline.finish_batch(p_tenant_id bigint, p_batch_id uuid) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  v_batch trunkline.batch;
  v_complete uuid;
  v_success uuid;
begin
  select * into v_batch from trunkline.batch as b where b.tenant_id = p_tenant_id and b.batch_id = p_batch_id for update;
  if v_batch.sealed_at is null or v_batch.done_at is not null or (trunkline.batch_counts(p_tenant_id, p_batch_id)).remaining > 0 then
    return false;
  end if;
  v_batch := trunkline.fold_batch(p_tenant_id, p_batch_id);
  if v_batch.on_complete is not null and v_batch.complete_job is null then
    v_complete := trunkline.call_back(v_batch, v_batch.on_complete, 'complete');
  end if;
  if v_batch.on_success is not null and v_batch.success_job is null and v_batch.completed = v_batch.total then
    v_success := trunkline.call_back(v_batch, v_batch.on_success, 'success');
  end if;
  update trunkline.batch as b
     set done_at = trunkline.now(), complete_job = coalesce(b.complete_job, v_complete), success_job = coalesce(b.success_job, v_success)
   where b.tenant_id = p_tenant_id and b.batch_id = p_batch_id;
  if trunkline.tell_watchers(p_tenant_id, array[p_batch_id]) then
    perform trunkline.note_batch(v_batch);
  end if;
  return true;
end $$;

-- Sends a callback; its option `batch` says what became of the batch. One that was accepted before its kind was encrypted is sent as it is:
-- a refusal here would be one of the last job's report.
create or replace function trunkline.call_back(p_batch trunkline.batch, p_spec json, p_event text) returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_id uuid;
begin
  update trunkline.batch as b set calling = true where b.tenant_id = p_batch.tenant_id and b.batch_id = p_batch.batch_id;
  perform set_config('trunkline.accepted_before', p_batch.tenant_id || ' ' || p_batch.batch_id, true);
  select e.id into v_id from trunkline.enqueue_jobs(p_batch.tenant_id, array[trunkline.new_id()], array[p_spec ->> 'kind'], array[p_spec ->> 'queue'],
    array[(p_spec ->> 'priority')::smallint], array[p_spec -> 'payload'], array[p_spec ->> 'user_id'],
    array[(coalesce((p_spec ->> 'options')::jsonb, '{}') || jsonb_build_object('batch', jsonb_build_object('id', p_batch.batch_id, 'name', p_batch.name, 'event', p_event,
      'total', p_batch.total, 'completed', p_batch.completed, 'failed', p_batch.failed, 'cancelled', p_batch.cancelled)))::json],
    array[null::timestamptz], array[null::text], array[null::text]) as e;
  perform set_config('trunkline.accepted_before', '', true);
  update trunkline.batch as b set calling = false where b.tenant_id = p_batch.tenant_id and b.batch_id = p_batch.batch_id;
  return v_id;
end $$;

-- Whether what is being put in is such a callback. The setting only says where to look: anybody may set it, and nobody but call_back
-- makes `calling` true, which no other transaction ever sees.
create or replace function trunkline.is_accepted() returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  v_said text := coalesce(current_setting('trunkline.accepted_before', true), '');
begin
  return v_said ~ '^[0-9]{1,18} [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
     and exists (select from trunkline.batch as b where b.tenant_id = split_part(v_said, ' ', 1)::bigint and b.batch_id = split_part(v_said, ' ', 2)::uuid and b.calling);
end $$;

-- Adds the deltas of a batch to its row, which the caller has locked; the row as it is then.
create or replace function trunkline.fold_batch(p_tenant_id bigint, p_batch_id uuid) returns trunkline.batch
language sql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
  with gone as (
    delete from trunkline.batch_delta as d where d.tenant_id = p_tenant_id and d.batch_id = p_batch_id returning d.*
  ), more as (
    select coalesce(sum(g.total), 0) as total, coalesce(sum(g.completed), 0) as completed, coalesce(sum(g.failed), 0) as failed, coalesce(sum(g.cancelled), 0) as cancelled
      from gone as g
  )
  update trunkline.batch as b
     set total = b.total + m.total, completed = b.completed + m.completed, failed = b.failed + m.failed, cancelled = b.cancelled + m.cancelled
    from more as m where b.tenant_id = p_tenant_id and b.batch_id = p_batch_id
  returning b.*
$$;

-- One batch of the duty. A row that somebody holds is left for the next round.
create or replace function trunkline.keep_batch(p_tenant_id bigint, p_batch_id uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
begin
  perform from trunkline.batch as b where b.tenant_id = p_tenant_id and b.batch_id = p_batch_id for update skip locked;
  if found and not trunkline.finish_batch(p_tenant_id, p_batch_id) then
    perform trunkline.fold_batch(p_tenant_id, p_batch_id);
  end if;
exception when others then
  raise warning 'trunkline batch %: %', p_batch_id, sqlerrm;         -- a callback that is refused now is sent later
end $$;

-- The duty, part of each tick: folds what was said within the last second and finishes what adds up; then children of parents
-- that had too many for one transaction. Reads two empty tables when there is nothing to do.
create or replace function trunkline.follow_up(p_session_id integer) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_batch record;
begin
  if not exists (select from trunkline.batch_delta) and not exists (select from trunkline.ended_parent) or not trunkline.take_duty('batches', 0.9, p_session_id) then
    return;
  end if;
  for v_batch in select d.tenant_id, d.batch_id from trunkline.batch_delta as d group by 1, 2 order by min(d.seq) loop
    perform trunkline.keep_batch(v_batch.tenant_id, v_batch.batch_id);
    exit when clock_timestamp() - statement_timestamp() > interval '1 second';         -- the rest is for the next round
  end loop;
  perform trunkline.end_more_children(10);
end $$;

-- Cancels what is left of a batch. The first call (`p_after` null) closes it: no job can join any more, and when all have ended it is
-- done, with its on_complete. Each further one cancels a slice of its children, behind the `last` of the call before; null: that was all.
-- The batch's lock is not held while children are: reports take it last.
create or replace function trunkline.cancel_batch(
  p_tenant_id bigint, p_batch_id uuid, p_reason text, p_after uuid, p_limit integer, out last uuid, out cancelled integer, out requested integer)
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  v_ids uuid[];
begin
  cancelled := 0; requested := 0;
  if p_after is null then
    update trunkline.batch as b set cancelled_at = trunkline.now(), sealed_at = coalesce(b.sealed_at, trunkline.now())
     where b.tenant_id = p_tenant_id and b.batch_id = p_batch_id and b.done_at is null and b.cancelled_at is null;
    if not found and not exists (select from trunkline.batch as b where b.tenant_id = p_tenant_id and b.batch_id = p_batch_id) then
      raise exception using errcode = 'TL004', message = format('batch %s: this tenant has no such batch', p_batch_id);
    end if;
    last := '00000000-0000-0000-0000-000000000000';
    return;
  end if;
  v_ids := array(select c.job_id from trunkline.batch_job as c where c.tenant_id = p_tenant_id and c.batch_id = p_batch_id and c.job_id > p_after
                  order by c.job_id limit p_limit);
  select count(*) filter (where c.answer = 'cancelled'), count(*) filter (where c.answer = 'requested') into cancelled, requested
    from trunkline.cancel(p_tenant_id, v_ids, p_reason) as c;
  last := case when cardinality(v_ids) = p_limit then v_ids[p_limit] end;
  if last is null then
    perform trunkline.finish_batch(p_tenant_id, p_batch_id);
  end if;
end $$;

-- Children that were put back by hand: the batch counts them as not ended, and is not done until they have ended again.
-- Locks the batches as those do that finish them.
create or replace function trunkline.rejoin_batches(p_tenant_id bigint, p_job_ids uuid[], p_states smallint[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  v_batch_id uuid;
begin
  foreach v_batch_id in array coalesce(trunkline.leave_batches(p_tenant_id, p_job_ids, p_states, -1), '{}') loop
    update trunkline.batch as b set done_at = null where b.tenant_id = p_tenant_id and b.batch_id = v_batch_id;
  end loop;
end $$;

-- Batches that were done before retention began, up to 1,000 a round. Their jobs go with their slices of history.
create or replace function trunkline.forget_batches(p_retention_s float8) returns integer
language sql security definer
set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
  with old as (
    select b.tenant_id, b.batch_id from trunkline.batch as b where b.done_at < trunkline.now() - make_interval(secs => p_retention_s)
     order by b.done_at limit 1000 for update skip locked
  ), jobs as (
    delete from trunkline.batch_job as c using old as o where c.tenant_id = o.tenant_id and c.batch_id = o.batch_id
  ), deltas as (
    delete from trunkline.batch_delta as d using old as o where d.tenant_id = o.tenant_id and d.batch_id = o.batch_id
  ), gone as (
    delete from trunkline.batch as b using old as o where b.tenant_id = o.tenant_id and b.batch_id = o.batch_id returning b.batch_id
  )
  select count(*)::integer from gone
$$;
