-- Works with code from: 0.1
-- True only inside the transaction that is just sending a callback of the batch: what was accepted with the batch is not refused then.
alter table trunkline.batch add column calling boolean not null default false;
