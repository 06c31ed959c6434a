-- Works with code from: 0.1
-- Batches: jobs sent together and awaited together. Dependencies: jobs that wait for others to end.
--
-- A batch has no counter that its children fight for. Each flush of endings appends one row to `batch_delta`; the counts are those
-- of the batch's row plus the sum of its deltas, and a duty folds deltas into the row once a second.

create table trunkline.batch (
  tenant_id    bigint not null,
  batch_id     uuid not null,
  created_at   timestamptz not null,
  sealed_at    timestamptz,           -- null: more jobs come, so it cannot be done
  done_at      timestamptz,           -- every child has ended; null again when one is retried by hand
  cancelled_at timestamptz,
  name         text check (length(name) between 1 and 200),
  on_success   json,                  -- {kind, queue, priority, payload, user_id, options} of a job to come when all have completed
  on_complete  json,                  -- the same, when all have ended
  success_job  uuid,                  -- they were sent, once
  complete_job uuid,
  total        integer not null default 0,    -- folded so far, as are these
  completed    integer not null default 0,
  failed       integer not null default 0,
  cancelled    integer not null default 0,
  primary key (tenant_id, batch_id)
) with (fillfactor = 70);
create index batch_done on trunkline.batch (done_at) where done_at is not null;
create index batch_open on trunkline.batch (created_at) where done_at is null;

create table trunkline.batch_job (
  tenant_id bigint not null,
  batch_id  uuid not null,
  job_id    uuid not null,
  primary key (tenant_id, batch_id, job_id)
);

create table trunkline.batch_delta (
  tenant_id bigint not null,
  batch_id  uuid not null,
  seq       bigint generated always as identity,
  total     integer not null default 0,
  completed integer not null default 0,
  failed    integer not null default 0,
  cancelled integer not null default 0,
  primary key (tenant_id, batch_id, seq)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);

-- An edge lives until its parent has ended. Every edge of a child carries the child's own time and policy.
create table trunkline.dependency (
  tenant_id  bigint not null,
  parent_id  uuid not null,
  child_id   uuid not null,
  on_failure smallint not null check (on_failure in (0, 2, 3)),   -- when the parent does not complete, the child: 0 runs, 2 fails, 3 is cancelled
  run_at     timestamptz,                                         -- not before this, once it is released
  primary key (tenant_id, parent_id, child_id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
create index dependency_child on trunkline.dependency (tenant_id, child_id);

-- Parents that ended with more children than one transaction deals with; a duty goes on.
create table trunkline.ended_parent (
  tenant_id bigint not null,
  job_id    uuid not null,
  state     smallint not null check (state between 1 and 3),
  primary key (tenant_id, job_id)
);

alter table trunkline.batch enable row level security;
alter table trunkline.batch_job enable row level security;
alter table trunkline.batch_delta enable row level security;
alter table trunkline.dependency enable row level security;
alter table trunkline.ended_parent enable row level security;

create policy own_tenant on trunkline.batch for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
create policy own_tenant on trunkline.batch_job for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
create policy own_tenant on trunkline.batch_delta for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
create policy own_tenant on trunkline.dependency for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
create policy own_tenant on trunkline.ended_parent for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);

insert into trunkline.duty (name) values ('batches');
