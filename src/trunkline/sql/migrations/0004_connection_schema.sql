-- Works with code from: 0.1
-- What a `schema-rebuild` job found in a registered database: one row per tenant and connection, the latest schema only.
-- The row never holds a URL. `schema` is kept as text (json, not jsonb): it is written rarely and read whole.

create table trunkline.connection_schema (
  tenant_id     bigint not null,
  connection_id text not null check (length(connection_id) between 1 and 100),
  fingerprint   text not null check (fingerprint ~ '^[0-9a-f]{64}$'),   -- sha256 of the schema without row estimates
  schema        json not null,
  tables        int not null check (tables >= 0),                      -- views are not counted
  captured_at   timestamptz not null,                                  -- when `schema` was stored
  checked_at    timestamptz not null,                                  -- when it was last read, changed or not
  primary key (tenant_id, connection_id)
);

alter table trunkline.connection_schema enable row level security;

create policy own_tenant on trunkline.connection_schema for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
