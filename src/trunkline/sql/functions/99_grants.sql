-- Applied last, after any function changed: nobody but the owner and the two roles reaches anything here.
-- The worker role serves every tenant, so it reads all rows; it writes through the functions alone.
do $grants$
declare
  v_table text;
begin
  revoke all on all functions in schema trunkline from public;
  if exists (select from pg_roles where rolname = 'trunkline_worker') then
    grant usage on schema trunkline to trunkline_worker;
    grant execute on all functions in schema trunkline to trunkline_worker;
    grant select on all tables in schema trunkline to trunkline_worker;
    revoke select on trunkline.token, trunkline.api_request, trunkline.api_secret from trunkline_worker;
    for v_table in select c.relname from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
                    where n.nspname = split_part('trunkline:', ':', 1) and c.relkind in ('r', 'p') and c.relrowsecurity and not c.relispartition loop
      if not exists (select from pg_policies as p where p.schemaname = split_part('trunkline:', ':', 1) and p.tablename = v_table and p.policyname = 'worker_reads') then
        execute format('create policy worker_reads on trunkline.%I for select to trunkline_worker using (true)', v_table);
      end if;
    end loop;
  end if;
  if exists (select from pg_roles where rolname = 'trunkline_app') then
    grant usage on schema trunkline to trunkline_app;
    grant select on all tables in schema trunkline to trunkline_app;
    grant execute on function trunkline.now() to trunkline_app;      -- views compare with it
    revoke select on trunkline.token, trunkline.api_request, trunkline.api_secret from trunkline_app;   -- for the functions alone
  end if;
  -- A server that reads for people steps down to the reading role, which its own role must be allowed to. Roles are the whole server's: a
  -- sibling database may grant at the same moment.
  if exists (select from pg_roles where rolname = 'trunkline_app') then
    begin
      if exists (select from pg_roles where rolname = 'trunkline_worker') and not pg_has_role('trunkline_worker', 'trunkline_app', 'member') then
        grant trunkline_app to trunkline_worker;
      end if;
      if not (select r.rolsuper from pg_roles as r where r.rolname = current_user) then
        execute format('grant trunkline_app to %I', current_user);
      end if;
    exception when insufficient_privilege or internal_error then
      raise notice 'trunkline_app was not granted: %', sqlerrm;
    end;
  end if;
end
$grants$;
