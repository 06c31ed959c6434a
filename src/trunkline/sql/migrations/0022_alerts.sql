-- Works with code from: 0.1
-- What ended lately, by queue and minute, and the alerts that follow from it and from the live tables.

-- Processes add what they counted every few seconds: one statement for all their jobs, none where nothing ended. A process that is
-- killed takes a few seconds of counts with it: this is for rates, not for bills.
create table trunkline.tally (
  tenant_id bigint not null,
  queue_id  integer not null,
  at        timestamptz not null,                       -- the minute
  completed integer not null,                           -- jobs
  failed    integer not null,                           -- jobs, for good
  retried   integer not null,                           -- attempts that failed and run again
  busy_s    float8 not null,                            -- seconds of the attempts that completed
  primary key (tenant_id, queue_id, at)
) with (fillfactor = 70);                               -- HOT: the sums are not indexed
create index tally_at on trunkline.tally (at);

-- An alert is raised while `resolved_at` is null. Tenant 0: of the whole installation.
create table trunkline.alert (
  tenant_id     bigint not null,
  name          text not null check (name in ('dead_letters', 'worker_down', 'retry_rate', 'failure_rate', 'stalled', 'slow')),
  subject       text not null check (length(subject) <= 300),    -- a queue; a host; '' for the tenant as a whole
  value         float8 not null,
  threshold     float8 not null,
  raised_at     timestamptz not null,
  seen_at       timestamptz not null,                    -- when it was last true, or nearly
  resolved_at   timestamptz,
  news          smallint not null default 0 check (news between 0 and 2),   -- handlers are to be told: 1 raised, 2 resolved
  telling_until timestamptz,                             -- somebody is telling them; a fence, too
  primary key (tenant_id, name, subject)
) with (fillfactor = 70);

-- A condition that is true, or nearly: the value is above four fifths of the threshold.
create type trunkline.alarm as (tenant_id bigint, name text, subject text, value float8, threshold float8);

alter table trunkline.tally enable row level security;
alter table trunkline.alert enable row level security;
create policy own_tenant on trunkline.tally for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
create policy own_tenant on trunkline.alert for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
insert into trunkline.duty (name) values ('alerts'), ('monitor') on conflict do nothing;
