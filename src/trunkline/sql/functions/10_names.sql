-- Names to ids, made on first use. A name is refused here once for everybody: SQL, Python and the wire.
-- SQLSTATEs of ours: TL001 invalid input · TL002 invalid payload · TL003 bad id · TL004 not found · TL005 lease lost ·
-- TL006 quota · TL007 session lost · TL008 not retryable · TL009 must be encrypted · TL010 secret in a plain field.

create or replace function trunkline.tenant_id(p_name text) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_id bigint;
begin
  select t.tenant_id into v_id from trunkline.tenant as t where t.name = p_name;
  if v_id is null then
    if p_name is null or p_name !~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$' then
      raise exception using errcode = 'TL001', message = format('tenant name %L: need 1 to 63 of A-Z a-z 0-9 . _ -, starting with a letter or digit', left(p_name, 80));
    end if;
    insert into trunkline.tenant (name) values (p_name) on conflict (name) do nothing;
    select t.tenant_id into v_id from trunkline.tenant as t where t.name = p_name;
  end if;
  return v_id;
end $$;

create or replace function trunkline.check_name(p_what text, p_name text) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  if p_name is null or p_name !~ '^[^/[:cntrl:]]{1,200}$' then
    raise exception using errcode = 'TL001',
      message = format('%s name %L: need 1 to 200 characters without "/" and control characters', p_what, left(p_name, 80));
  end if;
end $$;

-- Makes the queues and kinds of a flush that do not exist yet and notes priorities used for the first time.
-- Nearly always finds nothing to do; then it writes nothing. Names are sorted so that two flushes cannot deadlock.
create or replace function trunkline.ensure_names(
  p_tenant_id bigint, p_queues text[], p_kinds text[], p_priorities smallint[]) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_name text;
  v_used record;
  v_gates smallint;
begin
  for v_name in
    select distinct u.name from unnest(p_kinds) as u (name)
     where not exists (select from trunkline.kind as k where k.tenant_id = p_tenant_id and k.name = u.name)
     order by 1
  loop
    perform trunkline.check_name('kind', v_name);
    -- A handler that serves every tenant left its policy under tenant 0.
    insert into trunkline.kind (tenant_id, name, retry_limit, retry_delay_s, retry_backoff, retry_max_delay_s, retry_jitter, timeout_s, dead_letter, seals,
                                concurrency, every_us, burst, key_concurrency, key_every_us, key_burst)
    select p_tenant_id, v_name, k.retry_limit, k.retry_delay_s, k.retry_backoff, k.retry_max_delay_s, k.retry_jitter, k.timeout_s, k.dead_letter, k.seals,
           k.concurrency, k.every_us, k.burst, k.key_concurrency, k.key_every_us, k.key_burst
      from trunkline.kind as k where k.tenant_id = 0 and k.name = v_name
        on conflict (tenant_id, name) do nothing;
    if exists (select from trunkline.kind as k where k.tenant_id = 0 and k.name = v_name and coalesce(k.concurrency, k.every_us) is not null) then
      perform trunkline.gate_tenant(p_tenant_id, 1::smallint, true);
    end if;
    insert into trunkline.kind (tenant_id, name) values (p_tenant_id, v_name) on conflict (tenant_id, name) do nothing;
  end loop;

  for v_used in
    select u.name, array_agg(distinct u.priority) as priorities
      from unnest(p_queues, p_priorities) as u (name, priority)
     where not exists (select from trunkline.queue as q
                        where q.tenant_id = p_tenant_id and q.name = u.name and u.priority = any (q.priorities))
     group by u.name
     order by u.name
  loop
    perform trunkline.check_name('queue', v_used.name);
    -- A new queue begins with its tenant's gates; the lock makes whoever sets them wait, and find it.
    select t.gates into v_gates from trunkline.tenant as t where t.tenant_id = p_tenant_id for share;
    insert into trunkline.queue as q (tenant_id, name, priorities, gates) values (p_tenant_id, v_used.name, v_used.priorities || '{0}'::smallint[], coalesce(v_gates, 0))
        on conflict (tenant_id, name) do update
       set priorities = (select array_agg(distinct p order by p desc) from unnest(q.priorities || excluded.priorities) as p);
    update trunkline.queue as q
       set priorities = (select array_agg(distinct p order by p desc) from unnest(q.priorities) as p)
     where q.tenant_id = p_tenant_id and q.name = v_used.name;
    perform pg_notify(trunkline.channel(), 'lines');                   -- workers that serve every tenant look for it now, not at their next look
  end loop;
end $$;

-- Sets or clears bits of `gates` of a tenant and all its queues, present and future: 1 = limiters may apply, 2 = paused, 4 = a quota,
-- 8 = somebody watches or did.
-- Bit 1 is cleared by clear_gates alone: a queue may have it for limits of its own. The tenant first, as whoever makes a queue locks it;
-- then queues in the order of names, as an enqueue locks them.
create or replace function trunkline.gate_tenant(p_tenant_id bigint, p_bits smallint, p_on boolean) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_changed boolean;
begin
  if p_on and p_bits & 1 <> 0 then
    perform trunkline.hold_gates(p_tenant_id);
  end if;
  update trunkline.tenant as t set gates = case when p_on then t.gates | p_bits else t.gates & ~p_bits end
   where t.tenant_id = p_tenant_id and (t.gates & p_bits = p_bits) <> p_on;
  v_changed := found;
  perform from trunkline.queue as q where q.tenant_id = p_tenant_id and (q.gates & p_bits = p_bits) <> p_on order by q.name for no key update;
  update trunkline.queue as q set gates = case when p_on then q.gates | p_bits else q.gates & ~p_bits end
   where q.tenant_id = p_tenant_id and (q.gates & p_bits = p_bits) <> p_on;
  return v_changed;
end $$;
