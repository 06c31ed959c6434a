-- Quotas of a tenant: how many jobs it may have that have not started, and how fast it may put jobs in. Bit 4 of `gates` on its queues
-- says that there is one, so tenants without pay nothing.

-- Sets the quota; null for both takes it away.
create or replace function trunkline.set_quota(
  p_tenant_id bigint, p_queued integer default null, p_rate float8 default null, p_per_s float8 default 1, p_burst integer default 0) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_every_us bigint := trunkline.every_us(p_rate, p_per_s);
begin
  if p_queued not between 0 and 100000000 or p_burst is null or p_burst not between 0 and 100000000 then
    raise exception using errcode = 'TL001', message = format('queued is %s, burst %s: need 0 to 100000000', p_queued, p_burst);
  end if;
  perform trunkline.gate_tenant(p_tenant_id, 4::smallint, coalesce(p_queued, v_every_us) is not null);
  if coalesce(p_queued, v_every_us) is null then
    delete from trunkline.quota as q where q.tenant_id = p_tenant_id;
    return;
  end if;
  insert into trunkline.quota as q (tenant_id, queued, every_us, burst) values (p_tenant_id, p_queued, v_every_us, p_burst)
      on conflict (tenant_id) do update set queued = excluded.queued, every_us = excluded.every_us, burst = excluded.burst;
end $$;

-- Refuses an enqueue of `p_new` jobs that is over the quota; `p_coming` are not written yet; `p_goes_on`: these belong to an enqueue whose first
-- jobs were let in, so they are owed, not refused, as is all that the transaction enqueues which was let in. What nobody enqueues now, the
-- callback of a batch, was accepted before: it is owed, too. Queued jobs are counted in their indexes, up to the quota and no further; enqueues that run at the same moment do not see each other, so the quota may be passed by
-- what is under way. The rate is exact: its row stays locked until the enqueue commits (an enqueue in a long transaction makes the
-- tenant's others wait, up to 2 s). More jobs than the burst at once are let in when nothing is owed, and then owed.
create or replace function trunkline.check_quota(p_tenant_id bigint, p_new integer, p_coming integer, p_goes_on boolean default false) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off set jit = off set lock_timeout = '2s' as $$
declare
  v_quota trunkline.quota;
  v_now timestamptz;
  v_count bigint;
  v_owed_us numeric;
  v_accepted boolean := trunkline.is_accepted();
begin
  if coalesce(p_new, 0) = 0 then
    return;
  end if;
  select q.* into v_quota from trunkline.quota as q where q.tenant_id = p_tenant_id;
  if v_quota.queued is not null and not v_accepted then
    select count(*) into v_count from (
      select from trunkline.ready as r where r.tenant_id = p_tenant_id limit v_quota.queued + 1) as r;
    if v_count + p_coming <= v_quota.queued then
      select v_count + count(*) into v_count from (select from trunkline.deferred as d where d.tenant_id = p_tenant_id limit v_quota.queued + 1) as d;
    end if;
    if v_count + p_coming > v_quota.queued then
      raise exception using errcode = 'TL006', message = format('the tenant may have %s jobs queued and would have more: enqueue again when some have started, or raise the quota', v_quota.queued);
    end if;
  end if;
  if v_quota.every_us is not null then
    select q.* into v_quota from trunkline.quota as q where q.tenant_id = p_tenant_id for update;
    v_now := trunkline.now();
    -- One job passes while tat <= now + burst x every; of many, the one that the burst still covers stands for all.
    v_owed_us := extract(epoch from greatest(v_quota.tat, v_now) - v_now) * 1000000 + v_quota.every_us * least(p_new - 1, v_quota.burst);
    if v_owed_us > v_quota.burst * v_quota.every_us and not p_goes_on and not v_accepted and v_quota.let_in_by is distinct from pg_current_xact_id() then
      raise exception using errcode = 'TL006', detail = ((v_owed_us - v_quota.burst * v_quota.every_us) / 1000000)::float8::text,
        message = format('the tenant may enqueue %s jobs a second and is over it: try again in %s s', round(1000000.0 / v_quota.every_us, 3), round((v_owed_us - v_quota.burst * v_quota.every_us) / 1000000, 3));
    end if;
    update trunkline.quota as q set tat = greatest(q.tat, v_now) + q.every_us * p_new * interval '1 microsecond', let_in_by = pg_current_xact_id()
     where q.tenant_id = p_tenant_id;
  end if;
end $$;
