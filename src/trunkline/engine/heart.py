"""A process's presence: its session, one tick a second, and what the tick brings.

Always true: `trusted` is False as soon as this process could not renew its session for long enough that somebody may take
its leases (by its own monotonic clock); nothing new is started then. When the session turns out to be over, listeners hear
it before a new one is opened. A tick that is late (it waits behind a lock, or its connection has gone silent) does not cost the
session: the heartbeat alone then goes another way. Whatever a tick raises, the next one comes.
The safe mark: at place t the tick reads the next transaction id; once every older transaction has ended, no job with a
place up to t can still appear.
Called by: worker, waiter. Calls: store.sessions.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import structlog

from trunkline.engine.line import DISORDER_ORD
from trunkline.errors import TrunklineError, Unavailable
from trunkline.store import Store, sessions

TTL_S = 8.0  # a dead process is found within this and one tick: under 10 s; four intervals, where they are longer
ALONE_AFTER = 0.3  # of the session's time without a renewal; when a tick said "alive", at least two thirds were left
ALONE_WITHIN_S = 2.0
SLOW_S = 0.05  # a tick that took longer is not asked about lines again ...
SHARE = 20.0  # ... before so many times as long
ORDS_PER_S = 1_000_000 * 4096
PLACES_BEGAN = datetime(2025, 1, 1, tzinfo=UTC)  # sql ord_now() counts from here
log = structlog.get_logger("trunkline.heart")


class Listener(Protocol):
    """Who wants to hear what a tick brings."""

    def lines(self) -> tuple[Sequence[int], int]:
        """Queue ids to be asked about, and the place behind which jobs count as work."""
        ...

    def has_work(self, queue_ids: Sequence[int]) -> None:
        """These queues have jobs."""
        ...

    def cancel_requested(self, leases: Sequence[tuple[int, UUID, int]]) -> None:
        """Somebody wants these attempts to end."""
        ...

    def session_over(self) -> None:
        """Every lease of this process may be somebody else's now."""
        ...

    def clock_went_back(self) -> None:
        """New jobs may stand before places that were looked at already."""
        ...


class Heart:
    """Keeps one session. `start` opens it, `run` keeps it, `stop` closes it."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._every_s = store.settings.poll_interval_s
        self._ttl_s = max(TTL_S, 4 * self._every_s)
        self._listeners: list[Listener] = []
        self._unsafe: deque[tuple[int, int]] = deque(maxlen=600)  # (place, xmax read at it)
        self._renewed_at = 0.0
        self._ord_at: tuple[int, float] = (0, 0.0)
        self._soon = asyncio.Event()
        self._must_ask = False
        self._ask_from = float("-inf")  # monotonic: when lines may be asked about again
        self._timer: asyncio.TimerHandle | None = None
        self.session_id = 0
        self.safe = 0
        self.ticked = asyncio.Event()
        self.schedules_due = asyncio.Event()  # set by a tick that saw one, cleared by whoever attends to them

    @property
    def trusted(self) -> bool:
        """Whether leases of this process are certainly still its own."""
        return self._clock() - self._renewed_at < self._ttl_s * 0.6

    def ord_at(self, at: float) -> int:
        """The place in line that belongs to monotonic time `at`, good to the drift of two clocks since the last tick."""
        ord_now, read_at = self._ord_at
        return ord_now + int((at - read_at) * 1_000_000) * 4096

    def database_now(self) -> datetime:
        """The database's time, good to a round trip: this host's clock may be an hour off."""
        return PLACES_BEGAN + timedelta(microseconds=self.ord_at(self._clock()) / 4096)

    def listen(self, listener: Listener) -> None:
        """Tell `listener` what each tick brings."""
        self._listeners.append(listener)

    async def start(self) -> None:
        """Open a session and read the first tick."""
        await self._open()
        await self._tick()

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            due_in_s = await self._beat()
            pause_s = self._every_s if due_in_s is None else min(self._every_s, max(due_in_s, 0.01))
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._soon.wait()
            self._soon.clear()

    async def _beat(self) -> float | None:
        """One tick, with the heartbeat alone beside it while it does not answer; seconds until the next job is due."""
        tick = asyncio.create_task(self._tick())
        try:
            while not (await asyncio.wait([tick], timeout=self._alone_in_s()))[0]:
                await self._renew_alone()
            return await tick
        except Unavailable as error:
            log.warning("heart.no_answer", error=str(error), trusted=self.trusted)
        except Exception:
            log.exception("heart.failed", trusted=self.trusted)
        finally:
            tick.cancel()
            await asyncio.gather(tick, return_exceptions=True)
        if self._alone_in_s() < self._every_s:
            await self._renew_alone()
        return None

    def _alone_in_s(self) -> float:
        """Seconds until the session should be renewed by itself; once that is overdue, every half second."""
        return max(self._renewed_at + ALONE_AFTER * self._ttl_s - self._clock(), 0.5)

    async def _renew_alone(self) -> None:
        asked_at = self._clock()
        try:
            alive = await sessions.renew(self._store, self.session_id, self._ttl_s, ALONE_WITHIN_S)
        except Exception as error:  # noqa: BLE001 - the tick goes on, or has said what is wrong; `trusted` runs out by itself
            log.warning("heart.not_renewed", error=str(error), trusted=self.trusted)
            return
        log.info("heart.renewed_alone", alive=alive)
        if alive:
            self._renewed_at = max(self._renewed_at, asked_at)

    def tick_soon(self) -> None:
        """Do not wait for the second to be over."""
        self._soon.set()

    def tick_in(self, seconds: float) -> None:
        """Tick then, if the next one would come later: a job was given a time. Each tick knows those of the next second itself."""
        if seconds < self._every_s and (self._timer is None or seconds < self._timer.when() - asyncio.get_running_loop().time()):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(seconds, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        self.tick_soon()

    async def stop(self) -> None:
        """Close the session, if the database answers."""
        try:
            await sessions.close_session(self._store, self.session_id)
        except TrunklineError as error:
            log.warning("heart.not_closed", error=str(error), session_id=self.session_id)

    def ask_soon(self) -> None:
        """The same, and ask about the lines whatever that costs: nobody was told of what came meanwhile."""
        self._must_ask = True
        self.tick_soon()

    def _lines(self) -> tuple[list[int], int]:
        """The queues to ask about, and the place behind which jobs count.

        Where an old transaction pins dead rows behind that place, to ask is to wade through all of them, so after a slow answer they are not
        asked about for a while: it takes no more than a twentieth of the time.
        """
        queue_ids: list[int] = []
        mark = 0
        if self._must_ask or self._clock() >= self._ask_from:
            self._must_ask = False
            for listener in self._listeners:
                ids, at = listener.lines()
                queue_ids.extend(ids)
                mark = at if len(queue_ids) == len(ids) else min(mark, at)
        return queue_ids, mark

    async def _tick(self) -> float | None:
        queue_ids, mark = self._lines()
        asked_at = self._clock()
        tick = await sessions.tick(self._store, self.session_id, self._ttl_s, queue_ids, mark)
        took_s = self._clock() - asked_at
        if queue_ids and took_s > SLOW_S:
            self._ask_from = self._clock() + SHARE * took_s
        went_back = self.ord_at(asked_at) - tick.ord_now if self._ord_at[0] else 0
        self._ord_at = (tick.ord_now, self._clock())  # at the answer: a place too low costs a wider scan, one too high a second
        if went_back > DISORDER_ORD:  # less is looked at twice anyway
            self._forget_places(went_back / ORDS_PER_S)
        self._advance(tick)
        if tick.alive:
            self._renewed_at = max(self._renewed_at, asked_at)
        else:
            await self._reopen()
        for listener in self._listeners:
            if tick.work:
                listener.has_work(tick.work)
            if tick.wanted:
                listener.cancel_requested(tick.cancelled)
        self.ticked.set()
        return self._next_due_in_s(tick)

    @property
    def lag_s(self) -> float | None:
        """Seconds by which the safe mark is behind the place of now, as of the last tick; None before the first."""
        return max(self._ord_at[0] - self.safe, 0) / ORDS_PER_S if self.safe else None

    def _next_due_in_s(self, tick: sessions.Tick) -> float | None:
        """When to look again, at the latest. A schedule that is due already is told once a tick, not asked about faster."""
        waits = [] if tick.due_in_s is None else [tick.due_in_s]
        if tick.schedules_in_s is not None:
            if tick.schedules_in_s > 0:
                waits.append(tick.schedules_in_s)
            else:
                self.schedules_due.set()
        return min(waits, default=None)

    def _advance(self, tick: sessions.Tick) -> None:
        self._unsafe.append((tick.ord_now, tick.xmax))
        while self._unsafe and self._unsafe[0][1] <= tick.xmin:
            self.safe = self._unsafe.popleft()[0]

    def _forget_places(self, by_s: float) -> None:
        log.warning("heart.clock_went_back", by_s=round(by_s, 3), session_id=self.session_id)
        self._unsafe.clear()
        self.safe = 0
        for listener in self._listeners:
            listener.clock_went_back()

    async def _reopen(self) -> None:
        log.warning("heart.session_over", session_id=self.session_id, not_renewed_for_s=round(self._clock() - self._renewed_at, 1))
        for listener in self._listeners:
            listener.session_over()
        await self._open()

    async def _open(self) -> None:
        asked_at = self._clock()
        self.session_id = await sessions.open_session(self._store, f"{socket.gethostname()}:{os.getpid()}", self._ttl_s)
        self._renewed_at = asked_at
