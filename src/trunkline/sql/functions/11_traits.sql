-- What a job carries besides itself, as bits (migrations/0005_traits.sql), from what it was given at its enqueue. Bits that come later
-- (others depend on it, it holds slots) are set where they come.
create or replace function trunkline.traits_of(p_options json, p_unique_key text) returns smallint
language sql immutable parallel safe as $$
  select (case when p_unique_key is null then 0 else 1 end
        + case when p_options is null then 0
               else case when p_options ->> 'batch_id' is null then 0 else 2 end
                  + case when p_options ->> 'ordering_key' is null then 0 else 32 end
                  + case when p_options ->> 'limit_key' is null then 0 else 64 end end)::smallint
$$;
