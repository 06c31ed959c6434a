-- Applied last, after any function changed: nobody but the owner and the two roles reaches anything here.
do $grants$
begin
  revoke all on all functions in schema trunkline from public;
  if exists (select from pg_roles where rolname = 'trunkline_worker') then
    grant usage on schema trunkline to trunkline_worker;
    grant execute on all functions in schema trunkline to trunkline_worker;
  end if;
  if exists (select from pg_roles where rolname = 'trunkline_app') then
    grant usage on schema trunkline to trunkline_app;
    grant select on all tables in schema trunkline to trunkline_app;
  end if;
end
$grants$;
