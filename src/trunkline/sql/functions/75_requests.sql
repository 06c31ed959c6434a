-- Requests over HTTP: each Idempotency-Key is carried out once; who did what is noted where it is done; users are known.

-- Asks for the right to carry out a request with this key. `new`: carry it out, in this transaction, and end with
-- answer_request. `answered`: this was the answer. `other`: the key was used with another body. `running`: somebody else's
-- transaction is at it. A request that fails leaves nothing, so it may be repeated.
create or replace function trunkline.claim_request(p_tenant_id bigint, p_asker text, p_route text, p_key text, p_body_hash bytea,
                                                   out word text, out status smallint, out answer text)
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  v_old trunkline.api_request;
begin
  if not pg_try_advisory_xact_lock(hashtextextended(format('trunkline:%s %s %s %s', p_tenant_id, p_asker, p_route, p_key), 8415)) then
    word := 'running';
    return;
  end if;
  select * into v_old from trunkline.api_request as r
   where r.tenant_id = p_tenant_id and r.asker = p_asker and r.route = p_route and r.key = p_key;
  if v_old.key is null or v_old.answered_at <= trunkline.now() - interval '24 hours' then
    word := 'new';
  elsif v_old.body_hash <> p_body_hash then
    word := 'other';
  else
    word := 'answered';
    status := v_old.status;
    answer := v_old.answer;
  end if;
end $$;

-- Keeps the answer for 24 hours. Only whoever was told `new` in this transaction calls this: it holds the lock.
create or replace function trunkline.answer_request(p_tenant_id bigint, p_asker text, p_route text, p_key text, p_body_hash bytea, p_status smallint, p_answer text)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  insert into trunkline.api_request as r (tenant_id, asker, route, key, body_hash, status, answer, answered_at)
  values (p_tenant_id, p_asker, p_route, p_key, p_body_hash, p_status, p_answer, trunkline.now())
      on conflict (tenant_id, asker, route, key) do update
     set body_hash = excluded.body_hash, status = excluded.status, answer = excluded.answer, answered_at = excluded.answered_at
$$;

-- A UUIDv7 whose next twelve bits are the fraction of its millisecond (RFC 9562, section 6.2, method 3): rows of one transaction are
-- listed in the order in which they were written, which ids of one millisecond would not be.
create or replace function trunkline.act_id() returns uuid
language sql volatile set search_path = pg_catalog, pg_temp as $$
  select encode(set_byte(set_byte(set_byte(overlay(r.raw placing substring(int8send(r.us / 1000) from 3) from 1 for 6),
                                           6, 112 | (r.fraction >> 8)), 7, r.fraction & 255), 8, (get_byte(r.raw, 8) & 63) | 128), 'hex')::uuid
    from (select c.us, (c.us % 1000 * 4096 / 1000)::integer as fraction, uuid_send(gen_random_uuid()) as raw
            from (select (extract(epoch from clock_timestamp()) * 1000000)::bigint as us offset 0) as c offset 0) as r
$$;

-- Notes an act in the transaction that does it: a row for each of what it was done to. `p_detail` has 8 KB at the most, and no secrets.
create or replace function trunkline.note_acts(
  p_tenant_id bigint, p_actor_kind text, p_actor text, p_act text, p_subjects text[], p_via text, p_address text, p_detail json) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  insert into trunkline.audit (tenant_id, audit_id, at, actor_kind, actor, act, subject, via, address, detail)
  select p_tenant_id, trunkline.act_id(), trunkline.now(), p_actor_kind, left(p_actor, 500), p_act, left(s, 600), p_via, left(p_address, 100), p_detail
    from unnest(p_subjects) as s
$$;

-- The same of one subject.
create or replace function trunkline.note_act(p_tenant_id bigint, p_actor_kind text, p_actor text, p_act text, p_subject text, p_via text, p_address text, p_detail json)
returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select trunkline.note_acts(p_tenant_id, p_actor_kind, p_actor, p_act, array[p_subject], p_via, p_address, p_detail)
$$;

-- Deletes answers older than a day and audit rows older than `p_audit_keep_s` and than a day, at most 10,000 of each; once a minute.
create or replace function trunkline.sweep_requests(p_session_id integer, p_audit_keep_s float8, out answers integer, out acts integer)
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
begin
  answers := 0;
  acts := 0;
  if not trunkline.take_duty('requests', 60, p_session_id) then
    return;
  end if;
  delete from trunkline.api_request as r
   where r.ctid = any (array(select c.ctid from trunkline.api_request as c where c.answered_at <= trunkline.now() - interval '24 hours'
                              order by c.answered_at limit 10000 for update skip locked));
  get diagnostics answers = row_count;
  perform set_config('trunkline.sweeps_audit', 'on', true);                       -- nobody else deletes here (audit_stays)
  delete from trunkline.audit as a
   where a.ctid = any (array(select c.ctid from trunkline.audit as c where c.at <= trunkline.now() - make_interval(secs => greatest(p_audit_keep_s, 86400))
                              order by c.at limit 10000 for update skip locked));
  get diagnostics acts = row_count;
  perform set_config('trunkline.sweeps_audit', 'off', true);
end $$;

-- What a tenant's cursors are signed with.
create or replace function trunkline.api_secret(p_tenant_id bigint) returns bytea
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into trunkline.api_secret (tenant_id, secret)
  values (p_tenant_id, decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'))
      on conflict (tenant_id) do nothing;
  return (select s.secret from trunkline.api_secret as s where s.tenant_id = p_tenant_id);
end $$;
