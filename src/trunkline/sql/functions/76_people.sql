-- Users, as identity providers and they themselves describe them.

-- Notes that a user was seen, with what the token says; writes where something is new, or an hour has passed.
create or replace function trunkline.see_user(p_tenant_id bigint, p_user_id text, p_email text, p_locale text, p_time_zone text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_now timestamptz := trunkline.now();
begin
  insert into trunkline.app_user as u (tenant_id, user_id, email, locale, time_zone, first_seen_at, last_seen_at)
  values (p_tenant_id, p_user_id, p_email, p_locale, p_time_zone, v_now, v_now)
      on conflict (tenant_id, user_id) do update
     set email = coalesce(excluded.email, u.email), locale = coalesce(excluded.locale, u.locale),
         time_zone = coalesce(excluded.time_zone, u.time_zone), last_seen_at = v_now
   where u.last_seen_at < v_now - interval '1 hour'
      or (u.email, u.locale, u.time_zone) is distinct from
         (coalesce(excluded.email, u.email), coalesce(excluded.locale, u.locale), coalesce(excluded.time_zone, u.time_zone));
end $$;

-- Sets what the user chose; with `p_sets` naming which of locale and time_zone are meant, a null goes back to the provider's.
create or replace function trunkline.set_user(p_tenant_id bigint, p_user_id text, p_sets text[], p_locale text, p_time_zone text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if 'time_zone' = any (p_sets) and p_time_zone is not null and not exists (select from pg_timezone_names as z where z.name = p_time_zone) then
    raise exception using errcode = 'TL001', message = format('time zone %L: need an IANA name such as Europe/Berlin', left(p_time_zone, 80));
  end if;
  update trunkline.app_user as u
     set own_locale = case when 'locale' = any (p_sets) then p_locale else u.own_locale end,
         own_time_zone = case when 'time_zone' = any (p_sets) then p_time_zone else u.own_time_zone end
   where u.tenant_id = p_tenant_id and u.user_id = p_user_id;
  return found;
end $$;
