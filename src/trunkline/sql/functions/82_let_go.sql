-- How a slice of history goes. Three tables leave one after the other: first `outcome`, because nobody can bring back an ended
-- job whose outcome is out of reach; then, when nothing was brought back meanwhile, `attempt` and `job`; then all are dropped.
-- Each step can be the last for a while (a crash, a lock that does not come): what was done is read from the catalog, and
-- `slice.leaving_since` says that somebody must go on.

create or replace function trunkline.standing_of(p_table text) returns text
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select case when c.oid is null then 'gone' when i.inhrelid is null then 'detached' when i.inhdetachpending then 'pending' else 'attached' end
    from (select to_regclass(format('trunkline.%I', p_table))::oid as oid) as c left join pg_inherits as i on i.inhrelid = c.oid
$$;

-- Takes the next step of a slice on its way out. `statement`: what the caller must run now, outside any transaction, before it asks
-- again; null: this is over, and `dropped` says whether the slice is gone or stays after all.
-- `detach ... concurrently` waits for whoever uses the table and lets everybody else work meanwhile. It leaves a partition that
-- new statements do not see; interrupted there, `finalize` goes on.
create or replace function trunkline.let_go(p_suffix text, p_retention_s float8, out statement text, out dropped boolean)
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms' as $$
declare
  v_low uuid;
  v_high uuid;
  v_parent text;
  v_standing text;
begin
  dropped := false;
  select b.low, b.high into v_low, v_high from trunkline.slice_bounds(p_suffix) as b;
  if v_low is null then
    return;                                              -- there is no such slice
  end if;
  foreach v_parent in array '{outcome,attempt,job}'::text[] loop
    v_standing := trunkline.standing_of(v_parent || p_suffix);
    if v_parent = 'outcome' and v_standing = 'attached' then
      if trunkline.is_slice_needed(v_low, v_high, p_retention_s) then
        update trunkline.slice as s set leaving_since = null where s.suffix = p_suffix;
        return;
      end if;
      insert into trunkline.slice as s (suffix, low, high, leaving_since) values (p_suffix, v_low, v_high, trunkline.now())
          on conflict (suffix) do update set leaving_since = excluded.leaving_since;
    elsif v_parent = 'outcome' and v_standing = 'detached' and trunkline.came_back(p_suffix, v_low, v_high) then
      execute format('alter table trunkline.outcome attach partition trunkline.%I for values from (%L) to (%L)', 'outcome' || p_suffix, v_low, v_high);
      update trunkline.slice as s set leaving_since = null where s.suffix = p_suffix;
      return;
    end if;
    if v_standing in ('attached', 'pending') then
      statement := format('alter table trunkline.%I detach partition trunkline.%I %s', v_parent, v_parent || p_suffix,
                          case v_standing when 'pending' then 'finalize' else 'concurrently' end);
      return;
    end if;
  end loop;
  delete from trunkline.idempotency as i where i.job_id >= v_low and i.job_id < v_high;
  delete from trunkline.unique_key as u where u.job_id >= v_low and u.job_id < v_high;
  delete from trunkline.ordering as o where o.job_id >= v_low and o.job_id < v_high;
  delete from trunkline.checkpoint as c where c.job_id >= v_low and c.job_id < v_high;
  delete from trunkline.job_log as l where l.job_id >= v_low and l.job_id < v_high;
  execute format('drop table if exists trunkline.%I, trunkline.%I, trunkline.%I', 'outcome' || p_suffix, 'attempt' || p_suffix, 'job' || p_suffix);
  delete from trunkline.slice as s where s.suffix = p_suffix;
  dropped := true;
end $$;

-- Whether a job of a slice whose outcomes are out of reach was retried by hand just before: it is live, or ended since.
create or replace function trunkline.came_back(p_suffix text, p_low uuid, p_high uuid) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_ended boolean;
begin
  if trunkline.standing_of('job' || p_suffix) <> 'attached' then
    return false;                                        -- it was asked when that was the next step; none can come back since
  end if;
  execute format('select exists (select from trunkline.%I as o join trunkline.slice as s on s.suffix = %L where o.finished_at >= s.leaving_since)',
                 'outcome' || p_suffix, p_suffix) into v_ended;
  return v_ended or trunkline.is_slice_live(p_low, p_high);
end $$;

-- All steps in the caller's transaction, for those who have SQL alone: each detach locks its table for everybody until that ends, so
-- a lock that does not come within half a second is given up. False: the slice is in use or needed; nothing was changed.
create or replace function trunkline.drop_partition(p_suffix text, p_retention_s float8) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms' as $$
declare
  v_step record;
begin
  loop
    select * into v_step from trunkline.let_go(p_suffix, p_retention_s);
    exit when v_step.statement is null;
    execute replace(v_step.statement, ' concurrently', '');
  end loop;
  return v_step.dropped;
exception when lock_not_available or deadlock_detected then
  return false;
end $$;
