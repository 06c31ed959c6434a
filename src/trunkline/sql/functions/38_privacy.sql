-- Encrypted kinds. Keys never come here: a sealed value is JSON of one fixed form, {"$encrypted":"v1","token":"..."}, made and
-- opened by the processes that have the keys. What the database owns is the refusal: once a kind is encrypted, nobody's plain
-- payload gets in, also not from a producer that does not know. TL009 says so, and a producer with keys seals and asks again.

-- Whether a value has the form of a sealed one, its two fields in any order. Says nothing about whether anybody can open it.
-- A look at the text: values come here that PostgreSQL cannot take apart.
create or replace function trunkline.is_sealed(p_value json) returns boolean
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
  select p_value is not null and p_value::text ~
    '^\s*\{\s*("\$encrypted"\s*:\s*"v1"\s*,\s*"token"\s*:\s*"[A-Za-z0-9_-]{40,}={0,2}"|"token"\s*:\s*"[A-Za-z0-9_-]{40,}={0,2}"\s*,\s*"\$encrypted"\s*:\s*"v1")\s*\}\s*$'
$$;

-- The payload of an encrypted kind as it is stored: of that form, letter for letter, however it was written. Locks: none.
create or replace function trunkline.must_be_sealed(p_kind text, p_payload json) returns json
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if not trunkline.is_sealed(p_payload) then
    if trunkline.is_accepted() then
      return p_payload;                      -- a callback from before its kind was encrypted
    end if;
    raise exception using errcode = 'TL009',
      message = format('kind %L is encrypted and the payload is not', left(p_kind, 80)),
      hint = 'Enqueue from a process with TRUNKLINE_ENCRYPTION_KEYS, or send what app.privacy.seal() made.';
  end if;
  return '{"$encrypted":"v1","token":"' || (p_payload ->> 'token') || '"}';
end $$;

-- Which of these kinds have encrypted payloads. Made for a producer that was refused, and for one that must not be.
create or replace function trunkline.sealed_kinds(p_tenant_id bigint, p_kinds text[]) returns text[]
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce(array_agg(distinct k.name), '{}') from trunkline.kind as k
   where k.tenant_id in (0, p_tenant_id) and k.name = any (p_kinds) and k.seals & 1 <> 0
$$;

-- Says that a kind is encrypted: 1 payload, 2 result, 3 both are added to what it is; 0 ends it. Workers only ever add, because an
-- older worker beside a newer one must not switch off. Null tenant: in every tenant, present and future. Jobs that are there stay as they are.
-- A kind row per tenant; each is locked by its own update.
create or replace function trunkline.seal_kind(p_tenant_id bigint, p_name text, p_seals integer) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_name text := trunkline.kind_name(p_name);
begin
  if p_seals is null or p_seals not between 0 and 3 then
    raise exception using errcode = 'TL001', message = format('seals is %s: need 0 (nothing), 1 (payload), 2 (result) or 3 (both)', coalesce(p_seals::text, 'null'));
  end if;
  perform trunkline.ensure_names(coalesce(p_tenant_id, 0), '{}', array[v_name], '{}');
  update trunkline.kind as k set seals = case when p_seals = 0 then 0 else k.seals | p_seals end
   where (p_tenant_id is null or k.tenant_id = p_tenant_id) and k.name = v_name and k.seals <> case when p_seals = 0 then 0 else k.seals | p_seals end;
end $$;

-- Puts newly sealed text in the place of text that is sealed with an older key: the one exception to "a body is written once".
-- `p_what`: payload, result, checkpoint or connection (a registered database's URL). Fenced by the old text: a value that changed meanwhile is left alone; and both must be
-- sealed, so nothing can be decrypted or overwritten with it. Answers how many were replaced. Arrays in parallel, ids sorted by
-- the caller, so that two rotations lock in the same order.
create or replace function trunkline.reseal(p_tenant_id bigint, p_what text, p_job_ids uuid[], p_old text[], p_new text[]) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off set lock_timeout = '2s' as $$
declare
  v_count integer;
begin
  if p_what is null or p_what not in ('payload', 'result', 'checkpoint', 'connection') then
    raise exception using errcode = 'TL001', message = format('what is %L: need payload, result, checkpoint or connection', left(p_what, 80));
  end if;
  if exists (select from unnest(p_old || p_new) as t where t is null or not trunkline.is_sealed(t::json)) then
    raise exception using errcode = 'TL001', message = 'reseal replaces sealed text by sealed text, and was given something else';
  end if;
  if p_what = 'payload' then
    update trunkline.job as j set payload = u.new::json from unnest(p_job_ids, p_old, p_new) as u (id, old, new)
     where j.tenant_id = p_tenant_id and j.id = u.id and j.payload::text = u.old;
  elsif p_what = 'result' then
    update trunkline.outcome as o set result = u.new::json from unnest(p_job_ids, p_old, p_new) as u (id, old, new)
     where o.tenant_id = p_tenant_id and o.job_id = u.id and o.result::text = u.old;
  elsif p_what = 'connection' then
    update trunkline.connection as c set sealed = u.new from unnest(p_job_ids, p_old, p_new) as u (id, old, new)
     where c.tenant_id = p_tenant_id and c.id = u.id and c.sealed = u.old;
  else
    update trunkline.checkpoint as c set value = u.new::json from unnest(p_job_ids, p_old, p_new) as u (id, old, new)
     where c.tenant_id = p_tenant_id and c.job_id = u.id and c.value::text = u.old;
  end if;
  get diagnostics v_count = row_count;
  return v_count;
end $$;

-- A name without what people write differently: case, and the characters _ - . and space. api_key, apiKey and API-KEY are one.
create or replace function trunkline.bare_name(p_name text) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$ select translate(lower(p_name), '_-. ', '') $$;

-- Names of fields that look like secrets, bare. Another list for a database or a role:
--   alter database app set trunkline.secret_fields = 'default,iban';        -- or 'off'
create or replace function trunkline.secret_fields() returns text[]
language sql stable set search_path = pg_catalog, pg_temp as $$
  select case when s.given = 'off' then '{}'
              else array(select trunkline.bare_name(n) from unnest(string_to_array(replace(s.given, 'default', s.known), ',')) as n where trim(n) <> '') end
    from (select coalesce(nullif(trim(current_setting('trunkline.secret_fields', true)), ''), 'default') as given,
                 'password,passwd,pwd,passphrase,userpassword,dbpassword,databasepassword,smtppassword,secret,clientsecret,secretkey,apisecret,'
                 'appsecret,sharedsecret,webhooksecret,jwtsecret,token,accesstoken,refreshtoken,authtoken,bearertoken,sessiontoken,apitoken,'
                 'bottoken,apikey,xapikey,privatekey,accesskey,secretaccesskey,awssecretaccesskey,accesskeysecret,encryptionkey,signingkey,'
                 'sshkey,authorization,credential,credentials' as known) as s
$$;

-- Where the first field stands whose whole name looks like a secret's, such as `payload.smtp.password`; null: nowhere.
-- Most payloads are cleared by the first look at the text; an escape in it could hide a name, so then the fields are walked.
create or replace function trunkline.secret_path(p_payload json) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  v_names text[] := trunkline.secret_fields();
  v_bare text := trunkline.bare_name(p_payload::text);
begin
  if position('\u' in v_bare) = 0 and not exists (select from unnest(v_names) as n where position(n in v_bare) > 0) then
    return null;
  end if;
  return (
    with recursive field (path, name, value) as (
      select 'payload', null::text, p_payload
       union all
      select f.path || e.step, e.name, e.value from field as f
       cross join lateral (
         select '.' || o.key as step, o.key as name, o.value from json_each(case json_typeof(f.value) when 'object' then f.value else '{}' end) as o
          union all
         select '[' || (a.n - 1) || ']', null, a.value
           from json_array_elements(case json_typeof(f.value) when 'array' then f.value else '[]' end) with ordinality as a (value, n)) as e)
    select f.path from field as f where trunkline.bare_name(f.name) = any (v_names) limit 1);
end $$;

-- What `enqueue` asks before it lets a payload of people and of other languages in: no secrets in plain fields, unless they are
-- allowed for this call, and nothing that only looks sealed. An encrypted kind is asked for the sealed form by enqueue_jobs.
create or replace function trunkline.check_private(p_tenant_id bigint, p_kind text, p_payload json, p_allow_secrets boolean) returns void
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_path text;
begin
  if trunkline.sealed_kinds(p_tenant_id, array[p_kind]) <> '{}' then
    return;
  end if;
  if position('$encrypted' in p_payload::text) > 0 and json_typeof(p_payload) = 'object' and p_payload -> '$encrypted' is not null then
    raise exception using errcode = 'TL002', message = format('payload has a field $encrypted, which is kept for encrypted payloads, and kind %L is not encrypted', left(p_kind, 80));
  end if;
  v_path := case when not p_allow_secrets then trunkline.secret_path(p_payload) end;
  if v_path is not null then
    raise exception using errcode = 'TL010',
      message = format('%s looks like a secret, and payloads are stored as they are sent: encrypt the kind (encrypt=True), send a reference to where the secret is kept, or say allow_secrets', left(v_path, 200));
  end if;
end $$;
