-- Permits of a limit key for what is no start of a job: the requests that one job sends to a provider, counted where its jobs are.
-- The limiter's row is the only one that is locked here, and it is locked last.

-- Takes one permit of the key's rate. 0: it is taken, go; else nothing is, and so many seconds are to be waited before asking again; infinity: the key
-- is paused. Bounds that somebody set for the key go before `p_rate` and `p_burst`, which are the provider's own. Starts of jobs with this key and
-- permits draw on the same rate: in every half-open window of T seconds there are at most ceil(rate x T) + burst of both. Jobs that were
-- promised a start have it kept for them.
create or replace function trunkline.take_permit(p_tenant_id bigint, p_key text, p_rate float8, p_burst integer) returns float8
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  v_id bigint := trunkline.limiter_of(p_tenant_id, 'key', p_key);
  v_limiter trunkline.limiter;
  v_now timestamptz;
  v_at timestamptz;
begin
  select l.* into v_limiter from trunkline.limiter as l where l.tenant_id = p_tenant_id and l.limiter_id = v_id for update;
  if not found then
    return 0.05;                                          -- forgotten at this moment, as idle: made again when asked again
  end if;
  v_now := trunkline.now();                               -- behind the lock: whoever held it may have taken long
  if v_limiter.paused_at is not null then
    return 'infinity';
  end if;
  if v_limiter.every_us is null then
    v_limiter.every_us := trunkline.every_us(p_rate, 1);
    v_limiter.burst := p_burst;
  end if;
  v_at := trunkline.permit_at(v_limiter, v_limiter.promised, v_now);
  if v_at > v_now then
    return extract(epoch from v_at - v_now);
  end if;
  update trunkline.limiter as l set tat = greatest(l.tat, v_now) + v_limiter.every_us * interval '1 microsecond'
   where l.tenant_id = p_tenant_id and l.limiter_id = v_id;
  return 0;
end $$;

-- Shuts a limit key for `p_seconds` from now, as a provider asked; of several waits the latest counts (block_key sets one).
create or replace function trunkline.shut_key(p_tenant_id bigint, p_key text, p_seconds float8) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  v_until timestamptz := trunkline.now() + make_interval(secs => p_seconds);
  v_id bigint := trunkline.limiter_of(p_tenant_id, 'key', p_key);
  v_shut timestamptz;
begin
  select l.blocked_until into v_shut from trunkline.limiter as l where l.tenant_id = p_tenant_id and l.limiter_id = v_id for update;
  if coalesce(v_shut < v_until, true) then
    perform trunkline.block_key(p_tenant_id, p_key, v_until);
  end if;
end $$;
