"""Tells the other processes how many watchers the rooms of this one have.

Always true: nothing is written for a join or a leave by itself: what changed is written together, at most every `every_s`, up to
AT_ONCE rooms at a time, shared out among tenants; a room that filled and emptied meanwhile is not written at all. Of a tenant at most
MOST_ROOMS rooms of this process are told. What was told counts while the session lives; with a new session all is told again.
Called by: gateway.server. Calls: store.presence.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable

import structlog

from trunkline.errors import TrunklineError
from trunkline.realtime.rooms import CLIENTS, EVERYONE
from trunkline.store import Store, presence

EVERY_S = 2.0
AT_ONCE = 1000
LOOKED_AT = 20_000
MOST_ROOMS = 10_000
log = structlog.get_logger("trunkline.presence")
Place = tuple[int, str]


class Presence:
    """One per process with watchers. Whoever has members calls `changed`; `run` writes.

    Args:
        session_id: the session of the moment.
        count: members of a tenant's room here, now.
    """

    def __init__(self, store: Store, session_id: Callable[[], int], count: Callable[[int, str], int], *, every_s: float = EVERY_S) -> None:
        self._store, self._session_id, self._count = store, session_id, count
        self.every_s = every_s
        self._told: dict[Place, int] = {}
        self._rooms_told: Counter[int] = Counter()
        self._changed: dict[int, dict[str, None]] = {}  # the tenant whose turn is next comes first
        self._something = asyncio.Event()
        self._of: int | None = None
        self.writes = 0  # statements, ever

    def changed(self, tenant_id: int, room: str) -> None:
        """A room has more or fewer members than before."""
        self._changed.setdefault(tenant_id, {})[room] = None
        self._something.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            if not self._changed and self._of == self._session_id():
                self._something.clear()
                await self._wait()
            try:
                await self._turn()
            except TrunklineError as error:
                log.warning("presence.not_told", error=str(error))
            except Exception:
                log.exception("presence.failed")
            await asyncio.sleep(self.every_s)

    async def _wait(self) -> None:
        """Until something changes, or it is time to look whether the session is still the same."""
        try:
            async with asyncio.timeout(max(self.every_s, 1.0)):
                await self._something.wait()
        except TimeoutError:
            return

    async def _turn(self) -> None:
        session_id = self._session_id()
        if session_id != self._of:
            self._forget(session_id)
            await presence.sweep(self._store)
        changes = self._due()
        if not changes:
            return
        self.writes += 1
        is_told = False
        try:
            is_told = await presence.note(self._store, session_id, changes)
        finally:
            for tenant_id, room, members in changes:
                if is_told:
                    self._note(tenant_id, room, members)
                else:  # an answer that did not come, or a session that is over: the heart opens another one, and all is told again
                    self.changed(tenant_id, room)

    def _forget(self, session_id: int) -> None:
        """The old session's counts are gone with it."""
        for tenant_id, room in self._told:
            self._changed.setdefault(tenant_id, {})[room] = None
        self._told.clear()
        self._rooms_told.clear()
        self._of = session_id

    def _due(self) -> list[tuple[int, str, int]]:
        """What is written now; a tenant that changed much does not keep the others waiting."""
        found: list[tuple[int, str, int]] = []
        share = max(AT_ONCE // max(len(self._changed), 1), 1)
        for tenant_id in list(self._changed)[:AT_ONCE]:
            rooms = self._changed.pop(tenant_id)
            new, before = self._rooms_told[tenant_id], len(found)
            for room in [*itertools.islice(rooms, LOOKED_AT)]:
                if len(found) - before >= share:
                    break
                del rooms[room]
                members, told = self._count(tenant_id, room), self._told.get((tenant_id, room), 0)
                is_new = members > 0 and not told
                if members != told and not (is_new and new >= MOST_ROOMS and room not in (EVERYONE, CLIENTS)):
                    found.append((tenant_id, room, members))
                    new += is_new
            if rooms:
                self._changed[tenant_id] = rooms  # at the end: others come first next time
        return found

    def _note(self, tenant_id: int, room: str, members: int) -> None:
        before = self._told.pop((tenant_id, room), 0)
        if members:
            self._told[tenant_id, room] = members
        self._rooms_told[tenant_id] += (members > 0) - (before > 0)
        if not self._rooms_told[tenant_id]:
            del self._rooms_told[tenant_id]
