-- Works with code from: 0.1
-- Customer tokens: who may send, work, watch or administrate for a tenant without database credentials.
-- Only the SHA-256 of a token is kept: a token of ours has 256 random bits, so no slow hash is needed; one that was imported
-- may be weak, so nobody but the owner's functions reads the hashes (functions/99_grants.sql).

create table trunkline.token (
  tenant_id      bigint not null,
  token_id       uuid not null,
  hash           bytea not null check (octet_length(hash) = 32),
  description    text not null check (length(description) <= 500),
  scopes         text[] not null check (cardinality(scopes) > 0 and scopes <@ '{send,work,watch,admin}'),
  is_active      boolean not null default true,
  created_at     timestamptz not null,
  updated_at     timestamptz not null,
  expires_at     timestamptz,            -- null: never
  last_used_at   timestamptz,            -- good to a minute: written lazily, by whoever saw it
  deactivated_at timestamptz,
  primary key (tenant_id, token_id)
) with (fillfactor = 80);                -- last_used_at is not indexed: its updates stay HOT
-- The one question that cannot name its tenant: whose is this token?
create unique index token_hash on trunkline.token (hash);

alter table trunkline.token enable row level security;

create policy own_tenant on trunkline.token for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
