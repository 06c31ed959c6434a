-- The schemas of registered databases: written by `schema-rebuild` jobs, read by whoever shows them.
-- No fence is needed: two attempts that read the same database may both save; the later one wins and both are true.

-- Stores a schema when it is new, differs from the stored one, or is forced. True: stored. False: unchanged, and only
-- `checked_at` moved. The conflicting row is locked before it is compared, so two savers never both see "changed".
create or replace function trunkline.save_connection_schema(
  p_tenant_id bigint, p_connection_id text, p_fingerprint text, p_schema json, p_tables int, p_force boolean
) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  with stored as (
    insert into trunkline.connection_schema as c (tenant_id, connection_id, fingerprint, schema, tables, captured_at, checked_at)
    select p_tenant_id, p_connection_id, p_fingerprint, p_schema, p_tables, t.now, t.now
      from (select trunkline.now()) as t (now)
    on conflict (tenant_id, connection_id) do update
       set previous = case when c.fingerprint <> excluded.fingerprint then c.schema else c.previous end,
           previous_at = case when c.fingerprint <> excluded.fingerprint then c.captured_at else c.previous_at end,
           fingerprint = excluded.fingerprint,
           schema = excluded.schema,
           tables = excluded.tables,
           captured_at = excluded.captured_at,
           checked_at = excluded.checked_at
     where c.fingerprint <> excluded.fingerprint or p_force
    returning c.connection_id
  ), checked as (
    update trunkline.connection_schema as c
       set checked_at = trunkline.now()
     where (c.tenant_id, c.connection_id) = (p_tenant_id, p_connection_id)
       and not exists (select from stored)      -- one of the two writes the row, never both
  )
  select exists (select from stored);
$$;

-- The stored schema of one connection; no row when none was stored yet.
create or replace function trunkline.connection_schema_of(p_tenant_id bigint, p_connection_id text)
returns table (connection_id text, fingerprint text, schema json, tables int, captured_at timestamptz, checked_at timestamptz)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select c.connection_id, c.fingerprint, c.schema, c.tables, c.captured_at, c.checked_at
    from trunkline.connection_schema as c
   where (c.tenant_id, c.connection_id) = (p_tenant_id, p_connection_id);
$$;

-- The schema that stood there before the stored one, and when it had been stored; no row when there was none.
create or replace function trunkline.connection_schema_before(p_tenant_id bigint, p_connection_id text)
returns table (schema json, captured_at timestamptz)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select c.previous, c.previous_at
    from trunkline.connection_schema as c
   where (c.tenant_id, c.connection_id) = (p_tenant_id, p_connection_id) and c.previous is not null;
$$;
