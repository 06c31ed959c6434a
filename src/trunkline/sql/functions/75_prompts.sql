-- Prompts: every change is a new version; nothing is changed or taken away, so a result can always be explained.

-- Stores the next version and answers its number; the newest one again where nothing changed. At most 10,000 versions of a name.
-- Two at once for one name: the second waits for the first's transaction (the lock is the name's) and gets the number after it.
create or replace function trunkline.save_prompt(p_tenant_id bigint, p_name text, p_system text, p_body text, p_created_by text) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_last trunkline.prompt;
begin
  perform trunkline.check_name('prompt', p_name);
  if p_body is null or length(p_body) not between 1 and 100000 or length(p_system) > 100000 then
    raise exception using errcode = 'TL001', message = 'a prompt has 1 to 100000 characters, and so has its system part';
  end if;
  perform pg_advisory_xact_lock(hashtextextended('trunkline prompt ' || p_tenant_id || ' ' || p_name, 0));
  select p.* into v_last from trunkline.prompt as p where p.tenant_id = p_tenant_id and p.name = p_name order by p.version desc limit 1;
  if v_last.body = p_body and v_last.system is not distinct from p_system then
    return v_last.version;
  end if;
  if v_last.version >= 10000 then
    raise exception using errcode = 'TL001', message = format('prompt %L has 10000 versions: take another name', left(p_name, 80));
  end if;
  insert into trunkline.prompt (tenant_id, name, version, system, body, created_by, created_at)
  values (p_tenant_id, p_name, coalesce(v_last.version, 0) + 1, p_system, p_body, p_created_by, trunkline.now());
  return coalesce(v_last.version, 0) + 1;
end $$;
