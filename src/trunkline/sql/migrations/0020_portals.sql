-- Works with code from: 0.1
-- Connections lead to CRM portals, too: a webhook's address is sealed as the URL of a database is.

alter table trunkline.connection drop constraint connection_dialect_check;
alter table trunkline.connection add constraint connection_dialect_check check (dialect in ('postgresql', 'mysql', 'sqlite', 'bitrix24'));
