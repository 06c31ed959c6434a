-- Works with code from: 0.1
-- Who is there: how many watchers each room of a tenant has in each process. A process says what changed, at most once in a few seconds;
-- its rows count while its session lives (functions/47_presence.sql). Logged, because a count is said once: an unlogged table would be
-- empty after a crash or on a standby that takes over, until each count changes.
create table trunkline.presence (
  tenant_id  bigint not null,
  room       text not null,                       -- all-jobs, job:ID, user:ID; everyone: all watchers; clients: of the gateway dialect
  session_id integer not null,
  members    integer not null check (members > 0),
  primary key (tenant_id, room, session_id)
) with (fillfactor = 70);                         -- HOT: `members` is not indexed
create index presence_session on trunkline.presence (session_id);

alter table trunkline.presence enable row level security;
create policy own_tenant on trunkline.presence for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
