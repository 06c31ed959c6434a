-- What follows a move, in the same transaction. Called for jobs with traits only, so plain jobs pay nothing for any of it.
-- Lock order of every path: ready, deferred and lease rows of the jobs themselves, then unique keys, then children that wait for them,
-- then limiters, then batches.

-- Jobs that ended: completed (1), failed (2) or cancelled (3). Arrays in parallel. `p_freed`: jobs of the same flush that go on, but give up
-- their slots; `p_blocked`, `p_until`: as leave_limits takes them. They come here because limiters are locked once, and before batches.
drop function if exists trunkline.after_ended(bigint, uuid[], smallint[], smallint[]);
create or replace function trunkline.after_ended(
  p_tenant_id bigint, p_job_ids uuid[], p_traits smallint[], p_states smallint[],
  p_freed uuid[] default '{}', p_blocked uuid[] default '{}', p_until timestamptz[] default '{}') returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_traits smallint;
begin
  select bit_or(t) into v_traits from unnest(p_traits) as t;
  if v_traits & 4 <> 0 then
    select * into p_job_ids, p_traits, p_states from trunkline.end_children(p_tenant_id, p_job_ids, p_traits, p_states);   -- and who ended with them
    select bit_or(t) into v_traits from unnest(p_traits) as t;
  end if;
  if v_traits & 1 <> 0 then
    perform trunkline.free_keys(p_tenant_id, array(select u.id from unnest(p_job_ids, p_traits) as u (id, traits) where u.traits & 1 <> 0));
  end if;
  if v_traits & 56 <> 0 or p_freed <> '{}' or p_blocked <> '{}' then                               -- limiters. A failed job keeps its place in its ordering key
    perform trunkline.leave_limits(p_tenant_id,
      p_freed || array(select u.id from unnest(p_job_ids, p_traits) as u (id, traits) where u.traits & 24 <> 0),
      array(select u.id from unnest(p_job_ids, p_traits, p_states) as u (id, traits, state) where u.traits & 32 <> 0 and u.state <> 2), p_blocked, p_until);
  end if;
  if v_traits & 2 <> 0 then                                                                        -- last: see the lock order in 44_batches.sql
    perform trunkline.leave_batches(p_tenant_id, array(select u.id from unnest(p_job_ids, p_traits) as u (id, traits) where u.traits & 2 <> 0),
                                    array(select u.state from unnest(p_traits, p_states) as u (traits, state) where u.traits & 2 <> 0));
  end if;
end $$;
