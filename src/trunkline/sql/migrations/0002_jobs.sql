-- Works with code from: 0.1
-- The life of a job. Its body is written once and never changed. Where it stands is which live table holds its row:
--
--   enqueue ──► ready ──claim──► lease ──ack──► outcome (completed | failed | cancelled)
--      │          ▲                │
--      └► deferred ┴──── retry, snooze, no handler, not due
--
-- Invariants: a job is in exactly one of ready, deferred, lease, outcome; every move is one transaction;
-- `attempt` rises at each claim and never falls, so (job, attempt) is the fence that every report must match.
-- `job`, `outcome` and `attempt` are partitioned by the time inside the job's UUIDv7; the live tables stay narrow:
-- every column and index here was paid for in WAL bytes per job (docs/performance.md).

create table trunkline.job (
  tenant_id  bigint not null,
  id         uuid not null,
  created_at timestamptz not null,
  queue_id   integer not null,
  kind_id    integer not null,
  payload    json not null,          -- opaque text: checked once at the door, never re-written
  user_id    text,
  options    json,                   -- null for a plain job; eight columns keep the row header at 24 bytes
  primary key (tenant_id, id)
) partition by range (id);
create index job_user on trunkline.job (tenant_id, user_id, id) where user_id is not null;

create table trunkline.ready (
  tenant_id bigint not null,
  ord       bigint not null,         -- place in line: microseconds x 4096, see trunkline.ord_now()
  job_id    uuid not null,
  queue_id  integer not null,
  attempt   integer not null,
  priority  smallint not null,
  failures  smallint not null,
  traits    smallint not null,       -- what the job carries besides itself, bits: 1 = a unique key
  primary key (tenant_id, job_id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
create index ready_claim on trunkline.ready (tenant_id, queue_id, priority, ord);

create table trunkline.deferred (
  tenant_id bigint not null,
  job_id    uuid not null,
  run_at    timestamptz,             -- null: released by an event, not by time
  queue_id  integer not null,
  attempt   integer not null,
  priority  smallint not null,
  failures  smallint not null,
  traits    smallint not null,
  reason    text not null check (reason in ('scheduled', 'retrying', 'no_handler')),
  primary key (tenant_id, job_id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
create index deferred_due on trunkline.deferred (run_at) where run_at is not null;

create table trunkline.lease (
  tenant_id  bigint not null,
  job_id     uuid not null,
  ord        bigint not null,        -- kept, so that a released job returns to its place
  claimed_at timestamptz not null,
  deadline   timestamptz not null,
  session_id integer not null,
  attempt    integer not null,
  queue_id   integer not null,
  priority   smallint not null,
  failures   smallint not null,
  traits     smallint not null,
  cancel_requested_at timestamptz,
  progress   json,
  primary key (tenant_id, job_id)
) with (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
create index lease_cancel on trunkline.lease (session_id) where cancel_requested_at is not null;

create table trunkline.outcome (
  tenant_id   bigint not null,
  job_id      uuid not null,
  started_at  timestamptz,           -- null: it never started
  finished_at timestamptz not null,
  attempt     integer not null,      -- the attempt that won; 0: none was made
  state       smallint not null check (state between 1 and 3),   -- 1 completed, 2 failed, 3 cancelled
  result      json,
  detail      json,                  -- {error, progress, failures, ...}; null for a plain success
  primary key (tenant_id, job_id)
) partition by range (job_id);
create index outcome_ended on trunkline.outcome (tenant_id, state, finished_at) where state <> 1;

-- Attempts that did not complete, and outcomes that a retry by hand set aside.
create table trunkline.attempt (
  tenant_id  bigint not null,
  job_id     uuid not null,
  attempt    integer not null,
  ended_at   timestamptz not null,
  started_at timestamptz,
  session_id integer,
  ending     text not null check (ending in ('failed', 'timed_out', 'lost', 'cancelled')),
  error      json,
  primary key (tenant_id, job_id, attempt, ended_at)
) partition by range (job_id);

create table trunkline.idempotency (
  tenant_id  bigint not null,
  kind_id    integer not null,
  key        text not null check (length(key) between 1 and 500),
  job_id     uuid not null,
  expires_at timestamptz,            -- null: as long as the job is kept
  primary key (tenant_id, kind_id, key)
);

create table trunkline.unique_key (
  tenant_id  bigint not null,
  queue_id   integer not null,
  key        text not null check (length(key) between 1 and 540),
  job_id     uuid not null,
  expires_at timestamptz,            -- null: freed when the job ends; else one per time slot, freed when the slot is over
  primary key (tenant_id, queue_id, key)
);
create index unique_key_job on trunkline.unique_key (tenant_id, job_id);

create table trunkline.checkpoint (
  tenant_id bigint not null,
  job_id    uuid not null,
  attempt   integer not null,
  saved_at  timestamptz not null,
  value     json not null,
  primary key (tenant_id, job_id)
);

create table trunkline.job_log (
  tenant_id bigint not null,
  job_id    uuid not null,
  seq       bigint generated always as identity,
  attempt   integer not null,
  logged_at timestamptz not null,
  level     text not null check (level in ('debug', 'info', 'warning', 'error')),
  message   text not null check (length(message) <= 10000),
  fields    json,
  primary key (tenant_id, job_id, seq)
);

-- What `settle` decided of one lease, for what follows it in the same transaction.
create type trunkline.settled as (
  job_id uuid, attempt integer, next text, run_at timestamptz, queue_id integer, ord bigint, ending text, dead_letter text, traits smallint
);
