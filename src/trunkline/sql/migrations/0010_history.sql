-- Works with code from: 0.1
-- How long each queue's history is kept, where a slice of history is on its way out, and a tenant's share of shared workers.

-- Seconds by outcome state: [completed, failed, cancelled]. A null array or element: as long as the installation keeps history.
alter table trunkline.queue add column keep_s integer[] check (cardinality(keep_s) = 3);

-- A tenant with weight 3 gets three times the jobs of one with weight 1 where both wait for the same worker.
alter table trunkline.tenant add column weight smallint not null default 1 check (weight between 1 and 1000);

-- A slice of job, outcome and attempt that is more than a partition: rows are being deleted from it, or it is leaving.
-- Whoever deletes goes through the outcomes in key order, some at a time, and notes here how far.
create table trunkline.slice (
  suffix        text primary key,                               -- of the three partitions' names
  low           uuid not null,
  high          uuid not null,
  tenant_id     bigint not null default 0,                      -- looked at up to here: this tenant ...
  looked_to     uuid not null default '00000000-0000-0000-0000-000000000000',   -- ... and this job of it
  look_again_at timestamptz not null default '-infinity',       -- when the next pass may begin
  leaving_since timestamptz                                     -- nothing in it was needed any more then
);
alter table trunkline.slice enable row level security;
insert into trunkline.duty (name) values ('history') on conflict do nothing;

-- From a job to its idempotency key, for the deletion of single jobs.
create index idempotency_job on trunkline.idempotency (tenant_id, job_id);
