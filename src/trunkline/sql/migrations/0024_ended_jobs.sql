-- Works with code from: 0.1
-- A user's failed (or cancelled) jobs: which of the user's jobs, walked by their index, are among these. Without it each look-up reads a
-- row of `outcome`, and they lie all over the history. Only jobs that did not complete pay for it: 40 bytes each.
create index outcome_ended_job on trunkline.outcome (tenant_id, state, job_id) where state <> 1;
