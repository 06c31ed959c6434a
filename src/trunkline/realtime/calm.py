"""Progress at a pace that people can read: of one job so many a second, the latest of those that came meanwhile.

Always true: only progress is held, for one gap at most, and told late only if nothing newer of its job made it pointless: a later
progress takes its place, and a move (an ending, a retry, the next attempt) or the application's own ending drops it, so nothing old
is told after them. Where nothing comes too fast, a burst passes as it is. A client with offsets cannot be told late (what it was told
after would be told again when it recovers): it is told what is held at once, and nothing of what is late.
Called by: realtime.stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID

from trunkline.realtime.event import Event

Key = tuple[int, UUID | None]  # tenant and job


class Calm:
    """One per stream. `tell` is called with what is told late; `gap_s` 0: everything passes."""

    def __init__(self, gap_s: float, tell: Callable[[Sequence[Event]], None]) -> None:
        self._gap_s, self._tell = gap_s, tell
        self._told_at: dict[Key, float] = {}  # oldest first
        self._held: dict[Key, Event] = {}
        self._timer: asyncio.TimerHandle | None = None

    def sort(self, burst: Sequence[Event]) -> Sequence[Event]:
        """The burst, with those events marked that come too fast."""
        if not self._gap_s or not (self._held or any(event.what == "progress" for event in burst)):
            return burst
        now = asyncio.get_running_loop().time()
        return [self._looked_at(event, now) for event in burst]

    def stop(self) -> None:
        """Tell nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._held.clear()

    def _looked_at(self, event: Event, now: float) -> Event:
        key = (event.tenant_id, event.job_id)
        if event.what != "progress":
            if event.what != "update":
                self._held.pop(key, None)
            return event
        if now - self._told_at.get(key, float("-inf")) < self._gap_s:
            self._held[key] = event
            return replace(event, pace="held")
        self._held.pop(key, None)
        self._note(key, now)
        return event

    def _note(self, key: Key, now: float) -> None:
        self._told_at.pop(key, None)
        self._told_at[key] = now
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._gap_s, self._look)

    def _look(self) -> None:
        """Tell what has waited long enough; forget jobs that say nothing more."""
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        late: dict[int, list[Event]] = {}
        while self._told_at and next(iter(self._told_at.values())) + self._gap_s <= now + 0.001:
            key = next(iter(self._told_at))
            del self._told_at[key]
            if (event := self._held.pop(key, None)) is not None:
                late.setdefault(key[0], []).append(replace(event, pace="late"))
                self._told_at[key] = now
        if self._told_at:
            self._timer = loop.call_at(next(iter(self._told_at.values())) + self._gap_s, self._look)
        for events in late.values():
            self._tell(events)
