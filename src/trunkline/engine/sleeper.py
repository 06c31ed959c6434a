"""Which lines others must wake this process for; all other lines it looks at by itself.

A line that jobs pass through often is kept awake: its enqueues then send no NOTIFY, whose lock would serialise every commit of
the server. A line that is quiet is put to sleep: the wish to be woken is committed first, and whoever calls `put_to_sleep`
looks once more afterwards, so only a job that was committed in between waits for the next poll.
Called by: engine.fetcher. Calls: store.sessions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable

from trunkline.engine.heart import Heart
from trunkline.engine.line import Line
from trunkline.store import Store, sessions


class Sleeper:
    """The committed set of lines, as this process knows it."""

    def __init__(self, store: Store, heart: Heart) -> None:
        self._store = store
        self._heart = heart
        self._asleep: frozenset[int] = frozenset()
        self._forgot = 0  # times
        self._committing = asyncio.Lock()  # one wish at a time: each is the whole set

    def is_asleep(self, line: Line) -> bool:
        """Whether enqueues to this line wake us."""
        return line.queue_id in self._asleep

    def forget(self) -> None:
        """A new session, or one whose state is uncertain: nothing counts as committed."""
        self._asleep = frozenset()
        self._forgot += 1

    async def put_to_sleep(self, lines: Iterable[Line]) -> None:
        """Ask to be woken for these lines as well; look at them once more afterwards."""
        async with self._committing:
            await self._commit(self._asleep | {line.queue_id for line in lines})

    async def keep_awake(self, line: Line) -> None:
        """Look at this line ourselves from now on."""
        async with self._committing:
            await self._commit(self._asleep - {line.queue_id})

    async def _commit(self, asleep: Collection[int]) -> None:
        before = self._forgot
        await sessions.sleep_on(self._store, self._heart.session_id, sorted(asleep))
        if before == self._forgot:  # else it was another session's
            self._asleep = frozenset(asleep)
