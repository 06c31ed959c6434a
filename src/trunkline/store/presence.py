"""How many watch: what a process says of its rooms, and the sum over all of them.

Called by: realtime.
"""

from __future__ import annotations

from collections.abc import Sequence

from trunkline.store.pool import Store

NOTE = "select trunkline.note_presence($1, $2, $3, $4)"
READ = "select room, members from trunkline.presence($1, $2)"
SWEEP = "select trunkline.sweep_presence()"


async def note(store: Store, session_id: int, changes: Sequence[tuple[int, str, int]]) -> bool:
    """Say that rooms of tenants have so many members in this process, 0 for none any more; False: the session is over."""
    return bool(await store.fetchval(NOTE, session_id, *map(list, zip(*changes, strict=True))))


async def read(store: Store, tenant_id: int, rooms: Sequence[str]) -> dict[str, int]:
    """Members by room, over all processes; rooms without any are left out."""
    return {row["room"]: row["members"] for row in await store.fetch(READ, tenant_id, rooms)}


async def sweep(store: Store) -> int:
    """Forget what ended sessions left; how many rows."""
    return int(await store.fetchval(SWEEP))
