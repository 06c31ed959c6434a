-- Works with code from: 0.1
-- Which kinds are encrypted: bits, 1 = the payload, 2 = the result. It stands in the row that every enqueue reads anyway, so
-- that a plain payload is refused for an encrypted kind whoever sends it, and other kinds pay nothing for it.
alter table trunkline.kind add column seals smallint not null default 0 check (seals between 0 and 3);
