-- Presence: processes say how many watchers their rooms have, anybody asks. A process writes rows of its own session only, so no two
-- wait for each other; what a dead one left counts for nothing, and goes when the next process begins to count.

-- Says what changed: members of rooms, 0 for a room that is empty. Arrays in parallel. False: the session is over; nothing was written.
create or replace function trunkline.note_presence(p_session_id integer, p_tenant_ids bigint[], p_rooms text[], p_members integer[]) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off as $$
begin
  if not exists (select from trunkline.session as s where s.session_id = p_session_id and s.dead_at is null) then
    return false;
  end if;
  insert into trunkline.presence as p (tenant_id, room, session_id, members)
  select u.tenant_id, u.room, p_session_id, u.members from unnest(p_tenant_ids, p_rooms, p_members) as u (tenant_id, room, members) where u.members > 0
      on conflict (tenant_id, room, session_id) do update set members = excluded.members where p.members <> excluded.members;
  delete from trunkline.presence as p
   using unnest(p_tenant_ids, p_rooms, p_members) as u (tenant_id, room, members)
   where u.members = 0 and (p.tenant_id, p.room, p.session_id) = (u.tenant_id, u.room, p_session_id);
  return true;
end $$;

-- Watchers of rooms of a tenant, over all processes that live; a room without any is missing in the answer. A few seconds old.
create or replace function trunkline.presence(p_tenant_id bigint, p_rooms text[]) returns table (room text, members integer)
language sql stable security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off as $$
  select p.room, sum(p.members)::integer from trunkline.presence as p
   where p.tenant_id = p_tenant_id and p.room = any (p_rooms)
     and exists (select from trunkline.session as s where s.session_id = p.session_id and s.dead_at is null and s.expires_at > trunkline.now())
   group by p.room
$$;

-- Forgets what sessions left that are over; answers how many rows. Called by a process that begins to count.
create or replace function trunkline.sweep_presence() returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  v_gone integer;
begin
  delete from trunkline.presence as p
   where p.ctid = any (array(select o.ctid from trunkline.presence as o
                              where not exists (select from trunkline.session as s where s.session_id = o.session_id and s.dead_at is null)
                              limit 100000 for update skip locked));
  get diagnostics v_gone = row_count;
  return v_gone;
end $$;
