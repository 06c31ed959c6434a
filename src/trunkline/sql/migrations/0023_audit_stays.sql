-- Works with code from: 0.1
-- The audit log can be added to and nothing else, by whomever: what a grant cannot hold, because the owner of a table needs none, a
-- trigger does. Only the sweep deletes, and only what is a day old at least. What is in a row is bounded.

create function trunkline.audit_stays() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'DELETE' and tg_level = 'ROW' then
    if current_setting('trunkline.sweeps_audit', true) = 'on' and old.at <= trunkline.now() - interval '1 day' then
      return old;
    end if;
  end if;
  raise exception using errcode = '42501', message = format('the audit log is append-only: %s is refused, to everybody', lower(tg_op)),
    hint = 'Rows leave when AUDIT_RETENTION is over; say how long that is.';
end $$;
create trigger audit_no_delete before delete on trunkline.audit for each row execute function trunkline.audit_stays();
create trigger audit_no_change before update or truncate on trunkline.audit for each statement execute function trunkline.audit_stays();

alter table trunkline.audit add constraint audit_bounded
  check (length(act) <= 100 and (detail is null or octet_length(detail::text) <= 8192)) not valid;

-- It answers whether the template is new; a function's answer cannot change while it stands.
drop function if exists trunkline.save_template(bigint, text, text, json, jsonb);
