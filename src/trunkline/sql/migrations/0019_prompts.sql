-- Works with code from: 0.1
-- Prompts for `ai-generation`, by name and version. A version is written once; what a job used can be read for ever after.

create table trunkline.prompt (
  tenant_id  bigint not null,
  name       text not null check (length(name) between 1 and 200),
  version    integer not null check (version > 0),
  system     text,                       -- what the model is told about its role; null: nothing
  body       text not null,
  created_by text,
  created_at timestamptz not null,
  primary key (tenant_id, name, version)
);

alter table trunkline.prompt enable row level security;

create policy own_tenant on trunkline.prompt for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
