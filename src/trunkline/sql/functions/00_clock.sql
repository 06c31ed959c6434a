-- The one clock, the place in line, the ids, and the channel. Every rule asks these; nothing else reads the time.

-- The database clock. Deadlines, retries and schedules are compared with it and never with a client's clock.
-- Tests move it by replacing this function (trunkline.testing.clock); production has nothing to switch.
create or replace function trunkline.now() returns timestamptz
language sql volatile parallel safe as $$ select clock_timestamp() $$;

-- The place in line of a job that enters `ready` now: microseconds since 2025 times 4096, so that a batch has room to
-- number its jobs. It is the true clock, never the movable one. Call it after the transaction has an xid and before the
-- insert: a claimer's safe mark relies on that order.
create or replace function trunkline.ord_now() returns bigint
language sql volatile parallel safe as
$$ select (extract(epoch from clock_timestamp()) * 1000000)::bigint * 4096 - 1735689600000000 * 4096 $$;

-- The smallest UUID whose version-7 time is `p_at`: partition bounds and range checks. RFC 9562, section 5.7.
-- Stable, as extract() is: declared immutable it could not be inlined, which made it the dearest part of a single enqueue.
create or replace function trunkline.id_floor(p_at timestamptz) returns uuid
language sql stable parallel safe as
$$ select (lpad(to_hex((extract(epoch from p_at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid $$;

-- A UUIDv7 for producers that speak SQL. PostgreSQL 18 has one in core; this works from 15 on.
create or replace function trunkline.new_id() returns uuid
language sql volatile parallel safe as $$
  select encode(
           set_byte(
             set_byte(
               overlay(uuid_send(gen_random_uuid())
                       placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
                       from 1 for 6),
               6, (get_byte(r.raw, 0) & 15) | 112),
             8, (get_byte(r.raw, 1) & 63) | 128),
           'hex')::uuid
    from (select uuid_send(gen_random_uuid()) as raw) as r
$$;

-- The moment inside a UUIDv7. uuid_extract_timestamp is core only from 17 on.
create or replace function trunkline.id_time(p_id uuid) returns timestamptz
language sql immutable strict parallel safe as
$$ select to_timestamp(('x' || substr(replace(p_id::text, '-', ''), 1, 12))::bit(48)::bigint / 1000.0) $$;

-- NOTIFY channel of this installation: one per schema, so that two installations in one database do not hear each other.
create or replace function trunkline.channel() returns text
language sql immutable parallel safe as $$ select 'trunkline:signals' $$;

-- `ai_generation` and `ai-generation` are one kind.
create or replace function trunkline.kind_name(p_name text) returns text
language sql immutable parallel safe as $$ select replace(p_name, '_', '-') $$;
