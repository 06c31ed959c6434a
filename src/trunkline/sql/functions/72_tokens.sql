-- Customer tokens. A token is live while it is active and its time is not over; whoever asks with any other learns nothing.

create or replace function trunkline.token_is_live(p_token trunkline.token) returns boolean
language sql volatile as
$$ select p_token.is_active and (p_token.expires_at is null or p_token.expires_at > trunkline.now()) $$;

-- Stores the hash of a token. A hash that this tenant has already and that is live is answered with its id (an import that is
-- repeated); any other tenant's, and one that is over, is refused: a value that was revoked must not come back by accident.
create or replace function trunkline.create_token(
  p_tenant_id bigint, p_token_id uuid, p_hash bytea, p_description text, p_scopes text[], p_expires_at timestamptz) returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_now timestamptz := trunkline.now();
  v_id uuid;
begin
  if p_scopes is null or cardinality(p_scopes) = 0 or not p_scopes <@ '{send,work,watch,admin}' then
    raise exception using errcode = 'TL001', message = format('scopes are %s: need some of send, work, watch, admin', coalesce(left(p_scopes::text, 80), 'null'));
  end if;
  if p_expires_at <= v_now then
    raise exception using errcode = 'TL001', message = format('expires_at is %s: need a time to come', p_expires_at);
  end if;
  insert into trunkline.token (tenant_id, token_id, hash, description, scopes, created_at, updated_at, expires_at)
  values (p_tenant_id, p_token_id, p_hash, left(coalesce(p_description, ''), 500), array(select distinct s from unnest(p_scopes) as s order by s), v_now, v_now, p_expires_at)
      on conflict (hash) do nothing
  returning token_id into v_id;
  if v_id is null then
    select t.token_id into v_id from trunkline.token as t where t.hash = p_hash and t.tenant_id = p_tenant_id and trunkline.token_is_live(t);
  end if;
  if v_id is null then
    raise exception using errcode = 'TL001', message = 'this token is taken, or was deactivated before: make a new one';
  end if;
  return v_id;
end $$;

-- Whose a live token is; no row for one that is unknown, inactive or over. `hash` comes back to be compared in constant time.
create or replace function trunkline.token_by_hash(p_hash bytea)
returns table (tenant_id bigint, tenant text, token_id uuid, hash bytea, scopes text[], expires_at timestamptz)
language sql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
  select t.tenant_id, n.name, t.token_id, t.hash, t.scopes, t.expires_at
    from trunkline.token as t join trunkline.tenant as n on n.tenant_id = t.tenant_id
   where t.hash = p_hash and trunkline.token_is_live(t)
$$;

-- A tenant's tokens without their hashes, newest first; with an id that one.
create or replace function trunkline.tokens_of(p_tenant_id bigint, p_token_id uuid default null)
returns table (token_id uuid, description text, scopes text[], is_active boolean, is_live boolean, created_at timestamptz, updated_at timestamptz,
               expires_at timestamptz, last_used_at timestamptz, deactivated_at timestamptz)
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select t.token_id, t.description, t.scopes, t.is_active, trunkline.token_is_live(t), t.created_at, t.updated_at, t.expires_at, t.last_used_at, t.deactivated_at
    from trunkline.token as t
   where t.tenant_id = p_tenant_id and (p_token_id is null or t.token_id = p_token_id)
   order by t.created_at desc, t.token_id desc limit 1000
$$;

-- Ends a token for good and tells every process that may hold sockets of it. False: there is none, or it was inactive.
create or replace function trunkline.deactivate_token(p_tenant_id bigint, p_token_id uuid) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update trunkline.token as t set is_active = false, deactivated_at = trunkline.now(), updated_at = trunkline.now()
   where t.tenant_id = p_tenant_id and t.token_id = p_token_id and t.is_active;
  if found then
    perform pg_notify(trunkline.channel(), 'revoked ' || p_tenant_id || ' ' || p_token_id);
    return true;
  end if;
  return false;
end $$;

-- Which of these tokens are over: for the sockets that are open with them. Arrays in parallel, for no tenant is another's.
create or replace function trunkline.tokens_over(p_tenant_ids bigint[], p_token_ids uuid[]) returns setof uuid
language sql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
  select u.token_id from unnest(p_tenant_ids, p_token_ids) as u (tenant_id, token_id)
   where not exists (select from trunkline.token as t where t.tenant_id = u.tenant_id and t.token_id = u.token_id and trunkline.token_is_live(t))
$$;

-- Notes that these tokens were used; writes only where the note is older than a minute. Locks in key order.
create or replace function trunkline.note_tokens(p_tenant_ids bigint[], p_token_ids uuid[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
  with stale as (
    select t.tenant_id, t.token_id from unnest(p_tenant_ids, p_token_ids) as u (tenant_id, token_id)
      join trunkline.token as t on t.tenant_id = u.tenant_id and t.token_id = u.token_id
     where t.last_used_at is null or t.last_used_at < trunkline.now() - interval '1 minute'
     order by t.tenant_id, t.token_id
       for update of t
  )
  update trunkline.token as t set last_used_at = trunkline.now()
    from stale as s where t.tenant_id = s.tenant_id and t.token_id = s.token_id
$$;
