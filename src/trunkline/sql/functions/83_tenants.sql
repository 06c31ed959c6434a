-- What tenants get of workers that serve all.

-- Gives a tenant 1 to 1000 shares; answers how many it had. Workers read it every 2 s.
create or replace function trunkline.set_weight(p_tenant_id bigint, p_weight integer) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_before integer;
begin
  if p_weight is null or p_weight not between 1 and 1000 then
    raise exception using errcode = 'TL001', message = format('weight %s: need an integer from 1 to 1000', coalesce(p_weight::text, 'null'));
  end if;
  select t.weight into v_before from trunkline.tenant as t where t.tenant_id = p_tenant_id and t.tenant_id <> 0 for update;
  if v_before is null then
    raise exception using errcode = 'TL004', message = format('there is no tenant %s', coalesce(p_tenant_id::text, 'null'));
  end if;
  update trunkline.tenant as t set weight = p_weight where t.tenant_id = p_tenant_id and t.weight <> p_weight;
  return v_before;
end $$;
