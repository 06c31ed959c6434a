"""What waits for one client: bounded, and never in anybody's way.

Always true: `put` never waits and never raises; a message with a key takes the place of the one with that key that still waits,
so progress is the latest per job; nothing else is ever left out. Past its bound (MOST messages, MOST_BYTES) everything is dropped
at once and `overflown` is called: the client is disconnected, knows it, and comes back.
Called by: engine (the library's writer and its polling answer take out), server (puts in).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

from trunkline.gateway.socketio.packets import Parcel

MOST = 20_000
MOST_BYTES = 16 * 1024 * 1024
AT_ONCE, AT_ONCE_BYTES = 64, 256 * 1024  # taken out together: what is taken out no longer counts here


class Mailbox(asyncio.Queue[Any]):
    """An asyncio.Queue to the library."""

    def __init__(self, overflown: Callable[[], None], drained: Callable[[], None]) -> None:
        super().__init__()
        self._overflown, self._drained = overflown, drained
        self._waiting: deque[list[Any]] = deque()  # one-element lists, so that a newer message can take an older one's place
        self._by_key: dict[Hashable, list[Any]] = {}
        self._bytes = 0
        self._is_over = False
        self._was_full = False

    @property
    def has_room(self) -> bool:
        """Whether less than half of either bound is used."""
        return not self._is_over and len(self._waiting) < MOST // 2 and self._bytes < MOST_BYTES // 2

    @property
    def is_awaited(self) -> bool:
        """Whether its reader waits for the next message: whatever was put in before has gone out."""
        return bool(self._getters) and not self._waiting  # type: ignore[attr-defined]

    @property
    def is_spent(self) -> bool:
        """Whether nothing waits but the end."""
        return not self._waiting or self._waiting[0][0] is None

    async def put(self, item: Any) -> None:
        """Add a packet; None ends its reader."""
        self.put_nowait(item)

    def put_nowait(self, item: Any) -> None:
        """Add a packet; None ends its reader."""
        key = getattr(item, "key", None)
        if self._is_over and item is not None:
            return
        if key is not None and (slot := self._by_key.get(key)) is not None:
            self._bytes += item.size - slot[0].size
            slot[0] = item
        else:
            slot = [item]
            self._waiting.append(slot)
            self._bytes += _size(item)
            if key is not None:
                self._by_key[key] = slot
        if self._bytes > MOST_BYTES or len(self._waiting) > MOST:
            self._is_over = True
            self._clear()
            self._overflown()
        elif not self.has_room:
            self._was_full = True
        self._wakeup_next(self._getters)  # type: ignore[attr-defined]

    def end(self) -> None:
        """Take no more, and drop what waits."""
        self._is_over = True
        self._clear()
        self.put_nowait(None)

    def _clear(self) -> None:
        self._waiting.clear()
        self._by_key.clear()
        self._bytes = 0

    def qsize(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def empty(self) -> bool:
        """Whether none waits."""
        return not self._waiting

    def full(self) -> bool:
        """Never: past the bound the client is out."""
        return False

    def get_nowait(self) -> Any:
        """The next one; asyncio.QueueEmpty."""
        if not self._waiting:
            raise asyncio.QueueEmpty
        (item,) = self._waiting.popleft()
        self._bytes -= _size(item)
        if isinstance(item, Parcel) and item.key is not None:
            self._by_key.pop(item.key, None)
        if self._was_full and self.has_room:
            self._was_full = False
            self._drained()
        return item

    async def some(self, most: int = AT_ONCE) -> list[Any]:
        """What goes out together, once there is any; [] at the end."""
        found: list[Any] = []
        size = 0
        item = await self.get()
        while item is not None:
            found.append(item)
            size += _size(item)
            if not self._waiting or len(found) >= most or size >= AT_ONCE_BYTES:
                return found
            item = self.get_nowait()
        if found:
            self.put_nowait(None)  # its reader ends next time
        return found

    def task_done(self) -> None:
        """Nobody waits for that."""

    async def join(self) -> None:
        """At once: whoever closes a socket does not wait for its client."""


def _size(item: Any) -> int:
    return item.size if isinstance(item, Parcel) else 0
