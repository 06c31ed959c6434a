-- Works with code from: 0.1
-- What HTTP callers leave behind: users as they were first seen, answers that a repeated request gets again, and who did what.

-- A user of a tenant, at first sight of a good JWT. What the identity provider says and what the user chose stand apart, so
-- that the next sign-in does not undo a choice.
create table trunkline.app_user (
  tenant_id     bigint not null,
  user_id       text not null check (length(user_id) between 1 and 500),
  email         text check (length(email) <= 500),
  locale        text check (length(locale) <= 100),             -- as the provider says
  time_zone     text check (length(time_zone) <= 100),
  own_locale    text check (length(own_locale) <= 100),         -- as the user chose; goes before
  own_time_zone text check (length(own_time_zone) <= 100),
  first_seen_at timestamptz not null,
  last_seen_at  timestamptz not null,                           -- good to an hour
  primary key (tenant_id, user_id)
) with (fillfactor = 80);

-- Answers to requests with an Idempotency-Key, written in the transaction that did the work. There is no row for one under way:
-- that is an advisory lock, which nobody can leave behind.
create table trunkline.api_request (
  tenant_id   bigint not null,
  asker       text not null check (length(asker) <= 600),
  route       text not null check (length(route) <= 200),
  key         text not null check (length(key) between 1 and 255),
  body_hash   bytea not null check (octet_length(body_hash) = 32),
  status      smallint not null,
  answer      text not null,
  answered_at timestamptz not null,
  primary key (tenant_id, asker, route, key)
);
create index api_request_old on trunkline.api_request (answered_at);

-- What cursors of a tenant's lists are signed with; made at first use.
create table trunkline.api_secret (
  tenant_id bigint not null primary key,
  secret    bytea not null check (octet_length(secret) = 32)
);

-- Who did what, when, from where. Rows are added by `note_act` in the transaction of the act and deleted by `sweep_requests` when
-- their time is over; no role may change or delete one.
create table trunkline.audit (
  tenant_id  bigint not null,
  audit_id   uuid not null,
  at         timestamptz not null,
  actor_kind text not null check (actor_kind in ('user', 'token', 'operator', 'system')),
  actor      text not null check (length(actor) between 1 and 500),
  act        text not null check (act ~ '^[a-z_]+\.[a-z_]+$'),
  subject    text not null check (length(subject) between 1 and 600),
  via        text not null check (via in ('api', 'cli', 'socket', 'program')),
  address    text check (length(address) <= 100),
  detail     json,
  primary key (tenant_id, audit_id)
);
create index audit_old on trunkline.audit (at);

alter table trunkline.app_user enable row level security;
alter table trunkline.api_request enable row level security;
alter table trunkline.api_secret enable row level security;
alter table trunkline.audit enable row level security;
create policy own_tenant on trunkline.app_user for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
create policy own_tenant on trunkline.api_request for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
create policy own_tenant on trunkline.api_secret for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
create policy own_tenant on trunkline.audit for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);

insert into trunkline.duty (name) values ('requests');
