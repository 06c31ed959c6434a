-- Registered databases. The URL comes sealed and leaves sealed; these functions hold names, limits and what belongs together.

-- Stores a connection. TL001: the tenant has one of that name, or as many as it may (1,000), or the URL is not sealed.
-- Two callers with one name: the second waits at the unique index and is refused.
create or replace function trunkline.add_connection(
  p_tenant_id bigint, p_id uuid, p_name text, p_dialect text, p_sealed text, p_shown text, p_server text, p_created_by text
) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform trunkline.check_name('connection', p_name);
  if p_sealed is null or not trunkline.is_sealed(p_sealed::json) then
    raise exception using errcode = 'TL001', message = 'the URL of a connection is stored sealed, and this one is not';
  end if;
  if (select count(*) from trunkline.connection as c where c.tenant_id = p_tenant_id) >= 1000 then
    raise exception using errcode = 'TL001', message = 'this tenant has 1000 connections, the most there can be: delete one';
  end if;
  insert into trunkline.connection (tenant_id, id, name, dialect, sealed, shown, server, created_by, created_at)
  values (p_tenant_id, p_id, p_name, p_dialect, p_sealed, p_shown, left(p_server, 200), p_created_by, trunkline.now())
      on conflict (tenant_id, name) do nothing;
  if not found then
    raise exception using errcode = 'TL001', message = format('there is a connection %L already: take another name, or delete that one', left(p_name, 80));
  end if;
end $$;

-- Takes a connection away, and what was read there. False: there was none.
create or replace function trunkline.delete_connection(p_tenant_id bigint, p_id uuid) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  delete from trunkline.connection_schema as s where s.tenant_id = p_tenant_id and s.connection_id = p_id::text;
  delete from trunkline.connection as c where c.tenant_id = p_tenant_id and c.id = p_id;
  return found;
end $$;
