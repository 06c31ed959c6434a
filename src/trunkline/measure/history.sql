-- Years of use in a minute: finished jobs of people and of machines, in five slices of history. Installed into the database of one
-- measure (rest_latency). Of each 100 jobs 50 have a user (5,000 users, and one who made a hundredth of all jobs), 2 failed with an
-- error that says which number it was; every 10,000th is of a kind that is seldom used. The rest completed.

-- Slices for the four weeks before those that a new database has.
create procedure bench_floor.slices_before() language plpgsql as $$
declare
  v_parent text;
  v_from timestamptz;
  v_name text;
begin
  select min(trunkline.id_time(s.low)) into v_from from trunkline.slices() as s;
  for n in 1 .. 4 loop
    v_from := v_from - interval '7 days';
    foreach v_parent in array '{job,outcome,attempt}'::text[] loop
      v_name := format('%s_p%s', v_parent, to_char(v_from at time zone 'UTC', 'YYYYMMDD'));
      execute format('create table trunkline.%I (like trunkline.%I including all)', v_name, v_parent);
      execute format('alter table trunkline.%I enable row level security', v_name);
      execute format('alter table trunkline.%I attach partition trunkline.%I for values from (%L) to (%L)',
                     v_parent, v_name, trunkline.id_floor(v_from), trunkline.id_floor(v_from + interval '7 days'));
    end loop;
  end loop;
end $$;

-- The user of job number n, or null.
create function bench_floor.user_of(p_n bigint) returns text language sql immutable parallel safe as
$$ select case when p_n % 100 = 1 then 'busy' when p_n % 2 = 0 then 'u' || (p_n / 2 % 5000) end $$;

-- Jobs number `p_first` to `p_last` of `p_of`, finished, spread over the 28 days before now in the order of their numbers.
create procedure bench_floor.fill_history(p_tenant_id bigint, p_queue_id integer, p_kind_ids integer[], p_first bigint, p_last bigint, p_of bigint)
language plpgsql as $$
declare
  v_step float8 := 28 * 86400000.0 / p_of;
  v_begin float8 := extract(epoch from date_trunc('hour', clock_timestamp())) * 1000 - 28 * 86400000.0;   -- ms; of the hour, so calls agree
begin
  insert into trunkline.job (tenant_id, id, created_at, queue_id, kind_id, payload, user_id)
  select p_tenant_id, bench_floor.nth_id(v_begin + n * v_step, n), to_timestamp((v_begin + n * v_step) / 1000), p_queue_id,
         p_kind_ids[case when n % 10000 = 7 then 2 else 1 end], json_build_object('n', n), bench_floor.user_of(n)
    from generate_series(p_first, p_last) as n;
  insert into trunkline.outcome (tenant_id, job_id, started_at, finished_at, attempt, state, result, detail)
  select p_tenant_id, bench_floor.nth_id(v_begin + n * v_step, n), to_timestamp((v_begin + n * v_step) / 1000),
         to_timestamp((v_begin + n * v_step) / 1000 + 1), 1, case when hashint8(n) % 50 = 0 then 2 else 1 end,
         case when hashint8(n) % 50 = 0 then null else json_build_object('ok', n) end,
         case when hashint8(n) % 50 = 0 then json_build_object('failures', 1, 'error', json_build_object('type', 'OSError', 'message', 'disk ' || n || ' is full')) end
    from generate_series(p_first, p_last) as n;
  commit;
end $$;
