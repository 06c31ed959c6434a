-- Works with code from: 0.1
-- Who may do what. The owner's functions do the work (security definer); the worker role may only execute them, and
-- the app role may only read, one tenant at a time, under row-level security: a query that forgets to filter sees
-- the tenant in `trunkline.tenant_id` and no other. An unset tenant sees nothing.

alter table trunkline.tenant enable row level security;
alter table trunkline.queue enable row level security;
alter table trunkline.kind enable row level security;
alter table trunkline.session enable row level security;
alter table trunkline.duty enable row level security;
alter table trunkline.job enable row level security;
alter table trunkline.ready enable row level security;
alter table trunkline.deferred enable row level security;
alter table trunkline.lease enable row level security;
alter table trunkline.outcome enable row level security;
alter table trunkline.attempt enable row level security;
alter table trunkline.idempotency enable row level security;
alter table trunkline.unique_key enable row level security;
alter table trunkline.checkpoint enable row level security;
alter table trunkline.job_log enable row level security;

create policy own_tenant on trunkline.tenant for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
create policy own_tenant on trunkline.queue for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
create policy own_tenant on trunkline.kind for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
create policy own_tenant on trunkline.job for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
create policy own_tenant on trunkline.ready for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
create policy own_tenant on trunkline.deferred for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
create policy own_tenant on trunkline.lease for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
create policy own_tenant on trunkline.outcome for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
create policy own_tenant on trunkline.attempt for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
create policy own_tenant on trunkline.idempotency for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
create policy own_tenant on trunkline.unique_key for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
create policy own_tenant on trunkline.checkpoint for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
create policy own_tenant on trunkline.job_log for select using (tenant_id = nullif(current_setting('trunkline.tenant_id', true), '')::bigint);
