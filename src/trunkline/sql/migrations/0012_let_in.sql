-- Works with code from: 0.1
-- The transaction that the rate of a quota let in last. What the same transaction enqueues further belongs to what was let in: a batch in
-- slices, the firings that a schedule missed. Refused in its middle, it would be refused again whenever it is repeated.
alter table trunkline.quota add column let_in_by xid8;
