-- Works with code from: 0.1
-- What watchers are told. `event` is append-only and written in the transaction of the move itself, only where somebody watches the
-- tenant; what handlers and applications say (progress, updates) is always written, because a job's history shows it.
--
-- Sequence numbers commit out of order, so a reader does not remember a number: it remembers the snapshot of its last read. New is what
-- is visible now and was written by a transaction that was not visible then (docs/decisions/0014). That is why each row has its
-- top-level transaction id as a column: a row's own xmin may be that of a subtransaction.

-- A tenant is watched while `until` lies ahead: some process that has clients for its events says so every few seconds, and it stays
-- watched for the recovery window after the last of them went. When it lapsed, `since` restarts: older offsets are too old.
create table trunkline.watched (
  tenant_id bigint not null primary key,
  since     timestamptz not null,
  until     timestamptz not null
) with (fillfactor = 50);                         -- HOT: nothing mutable is indexed

create sequence trunkline.event_seq;              -- order among what is visible; nothing else follows from it

-- Three slots, used in turn for a day each and emptied before their next turn (sql sweep_events): there is always one to write to,
-- whoever was away for however long, and no table is made or dropped.
create table trunkline.event (
  tenant_id   bigint not null,
  xid         xid8 not null default pg_current_xact_id(),
  seq         bigint not null default nextval('trunkline.event_seq'),
  happened_at timestamptz not null default clock_timestamp(),
  job_id      uuid,                               -- of a batch_completed: the batch; null: said to the tenant or to a user
  queue_id    integer,
  kind_id     integer,
  attempt     integer,
  slot        smallint not null default (extract(epoch from clock_timestamp())::bigint / 86400 % 3)::smallint,
  is_said     boolean not null,                   -- by a handler or an application; else it follows from a move
  what        text not null,                      -- queued started retrying completed failed cancelled batch_completed progress update broadcast
  status      text,                               -- the application's own word for an update; the name of a broadcast
  user_id     text,
  data        json,                               -- of what was said; results and errors of moves stay where they are
  primary key (tenant_id, xid, seq, slot)
) partition by list (slot);
create index event_said on trunkline.event (tenant_id, job_id, seq) where is_said;
create table trunkline.event_0 partition of trunkline.event for values in (0);
create table trunkline.event_1 partition of trunkline.event for values in (1);
create table trunkline.event_2 partition of trunkline.event for values in (2);

alter table trunkline.watched enable row level security;
alter table trunkline.event enable row level security;
alter table trunkline.event_0 enable row level security;
alter table trunkline.event_1 enable row level security;
alter table trunkline.event_2 enable row level security;
create policy own_tenant on trunkline.watched for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
create policy own_tenant on trunkline.event for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
insert into trunkline.duty (name) values ('events') on conflict do nothing;
