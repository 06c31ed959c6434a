-- Works with code from: 0.1
-- Databases that tenants registered. The URL is sealed by the processes that hold TRUNKLINE_ENCRYPTION_KEYS before it comes here;
-- what people see of it is `shown`, which holds no password. A schema that changed leaves the one before it for comparison.

create table trunkline.connection (
  tenant_id  bigint not null,
  id         uuid not null,
  name       text not null check (length(name) between 1 and 100),
  dialect    text not null check (dialect in ('postgresql', 'mysql', 'sqlite')),
  sealed     text not null,              -- {"$encrypted":"v1","token":"..."} of the URL
  shown      text not null,              -- the URL with *** for its password
  server     text not null,              -- what answered when it was registered, such as "PostgreSQL 18.1"
  created_by text,
  created_at timestamptz not null,
  primary key (tenant_id, id),
  unique (tenant_id, name)
);

alter table trunkline.connection enable row level security;

create policy own_tenant on trunkline.connection for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);

alter table trunkline.connection_schema add column previous json;
alter table trunkline.connection_schema add column previous_at timestamptz;
