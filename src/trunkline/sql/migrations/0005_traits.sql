-- Works with code from: 0.1
-- What the rules beyond a plain job hang on. `traits` travels with a job's live row; a plain job has 0 and pays for nothing.
-- Bits (trunkline.traits_of):
--    1  holds a unique key            2  belongs to a batch           4  other jobs depend on it
--    8  holds slots of limiters (in `lease` only)                    16  waited for a limiter and is next (in `ready` only)
--   32  has an ordering key          64  has a limit key
-- `waiting`: until its parents have ended. `limited`: until a limiter has room.
alter table trunkline.deferred drop constraint deferred_reason_check;
alter table trunkline.deferred add constraint deferred_reason_check
  check (reason in ('scheduled', 'retrying', 'no_handler', 'waiting', 'limited'));
