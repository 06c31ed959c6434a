-- How many jobs of a queue stand in states before `p_before`, in the order created < retry < active < completed < cancelled < failed.
-- Up to `completed` it counts the small live tables. Beyond, it counts history: ask seldom (the gateway keeps an answer for 5 s).
create or replace function trunkline.queue_size(p_tenant_id bigint, p_queue text, p_before text) returns bigint
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_before integer := array_position('{retry,active,completed,cancelled,failed}', p_before);
  v_id integer;
  v_size bigint;
begin
  if v_before is null then
    raise exception using errcode = 'TL001', message = format('before is %L: need retry, active, completed, cancelled or failed', left(p_before, 80));
  end if;
  select q.queue_id into v_id from trunkline.queue as q where q.tenant_id = p_tenant_id and q.name = p_queue;
  if v_id is null then
    return 0;
  end if;
  v_size := (select count(*) from trunkline.ready as r where r.tenant_id = p_tenant_id and r.queue_id = v_id and (v_before > 1 or r.failures = 0))
          + (select count(*) from trunkline.deferred as d where d.tenant_id = p_tenant_id and d.queue_id = v_id and (v_before > 1 or d.reason <> 'retrying'));
  if v_before > 2 then
    v_size := v_size + (select count(*) from trunkline.lease as l where l.tenant_id = p_tenant_id and l.queue_id = v_id);
  end if;
  if v_before > 3 then
    v_size := v_size + (select count(*) from trunkline.outcome as o join trunkline.job as j on j.tenant_id = o.tenant_id and j.id = o.job_id
                         where o.tenant_id = p_tenant_id and j.queue_id = v_id and (o.state = 1 or v_before > 4 and o.state = 3));
  end if;
  return v_size;
end $$;
