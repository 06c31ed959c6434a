"""Reads committed events in bursts, once for all who watch in this process.

A tenant's way: `watch` ─► kept as watched in the database (now all its moves leave events) ─► moves that had looked before are over
─► its position is taken ─► each signal, and a poll a second, reads what is new since that position, and tells the hearers.
Always true: each event of a watched tenant is told once, whatever commits late, in the order of bursts and of numbers within one; a
read that fails moves no position, so nothing is left out; where moves may have left no events, because this process could not say in time
that it watches, hearers are told so (`lapsed`); `replay` answers all that a client missed up to the position of this process, or
nothing; who is not watched is not read.
Called by: app, gateway. Calls: store.events.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog

from trunkline.errors import TimedOut, TrunklineError
from trunkline.realtime.calm import Calm
from trunkline.realtime.event import Event, Replayed, TooOld
from trunkline.realtime.offsets import UNUSABLE, Position, Snapshot
from trunkline.realtime.rooms import EVERYONE, rooms_of, selection
from trunkline.realtime.telling import BURST, Reveal, Teller, as_stored, is_all
from trunkline.store import Store, events
from trunkline.store.events import From, Told

POLL_S = 1.0  # the net for lost signals
REFRESH_S = 15.0  # how often a process says what it watches; the database keeps it for the recovery window and a minute
SETTLE_S = 1.0  # for moves that looked before a tenant was watched: past this, somebody's long transaction is not waited for
READY_S = 5.0
TENANTS_AT_ONCE = 50
MOST_REPLAYED = 1000
log = structlog.get_logger("trunkline.stream")
Hear = Callable[[Sequence[Event]], None]
Lapsed = Callable[[int], None]
Subscribe = Callable[[Callable[[str, list[str]], None]], Callable[[], None]]


@dataclass(slots=True, eq=False)
class _Tenant:
    """A tenant that somebody here watches, or did a moment ago."""

    id: int
    count: int = 0
    since: datetime | None = None  # watched without a gap, database time
    kept_at: float = float("-inf")
    is_settled: bool = False
    place: Position | None = None  # what the hearers have been told; None: it is not read
    is_whole: bool = True  # False: `place` is amid a burst
    is_dirty: bool = True
    waiting: list[asyncio.Future[None]] = field(default_factory=list)
    served: list[asyncio.Future[None]] = field(default_factory=list)  # those that waited before this burst began


class Stream:
    """One per process. `start`, `watch` tenants, `subscribe` hearers, `stop`.

    Args:
        window_s: how long a client may be away and still get everything it missed, 10 to 600.
        reveal: opens results of encrypted kinds, (tenant, kind, job and the one it was copied from, JSON text) -> JSON text.
    """

    def __init__(self, store: Store, subscribe: Subscribe, *, window_s: float = 120.0, reveal: Reveal = as_stored) -> None:
        self._store, self._subscribe, self._window_s, self._teller = store, subscribe, window_s, Teller(reveal)
        self._tenants: dict[int, _Tenant] = {}
        self._hearers: list[Hear] = []
        self._paced: list[Hear] = []
        self._lapsed: list[Lapsed] = []
        self._calm = Calm(store.settings.progress_gap_s, lambda late: self._say(self._paced, late))
        self._wake = asyncio.Event()
        self._polled_at = float("-inf")
        self._tasks: list[asyncio.Task[None]] = []
        self._settling: set[asyncio.Task[None]] = set()
        self._unsubscribe: Callable[[], None] | None = None
        self.reads = 0  # statements that read events, ever

    async def start(self) -> None:
        """Begin to read. Twice is once."""
        if not self._tasks:
            self._unsubscribe = self._subscribe(self.heard)
            self._tasks = [asyncio.create_task(self._run())]

    async def stop(self) -> None:
        """Read no more. What is watched stays so in the database for the recovery window."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        going, self._tasks = [*self._tasks, *self._settling], []
        for task in going:
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)
        self._calm.stop()

    def subscribe(self, hear: Hear, *, paced: bool = False, lapsed: Lapsed | None = None) -> Callable[[], None]:
        """Call `hear` with each burst of one tenant, on the event loop, in order; the answer ends that. Neither call may block.

        Args:
            paced: progress above TRUNKLINE_PROGRESS_RATE is marked (Event.pace): tell "held" to clients with offsets only, "late" to all others.
            lapsed: called with a tenant's id when events of it may be missing: the database, or this process, was away for longer than
                the recovery window. Whoever listens should look at its jobs again.
        """
        hearers = self._paced if paced else self._hearers
        hearers.append(hear)
        if lapsed is not None:
            self._lapsed.append(lapsed)

        def end() -> None:
            if hear in hearers:
                hearers.remove(hear)
            if lapsed is not None and lapsed in self._lapsed:
                self._lapsed.remove(lapsed)

        return end

    def watch(self, tenant_id: int) -> Callable[[], None]:
        """Read a tenant's events from soon on (`ready` says when); the answer ends that, once, for this caller."""
        tenant = self._tenants.setdefault(tenant_id, _Tenant(tenant_id))
        tenant.count += 1
        if tenant.count == 1:
            tenant.is_dirty = True
            self._wake.set()
        left = False

        def unwatch() -> None:
            nonlocal left
            if not left:
                left = True
                tenant.count -= 1
                if not tenant.count:
                    tenant.place, tenant.is_whole = None, True

        return unwatch

    async def ready(self, tenant_id: int, within_s: float = READY_S) -> None:
        """Return when every event that commits from now on will be told. The tenant must be watched.

        Raises:
            TimedOut: the database did not answer in time; it is tried on.
        """
        if (tenant := self._tenants[tenant_id]).place is None:
            await self._caught_up(tenant, within_s)

    async def caught_up(self, tenant_id: int, within_s: float = READY_S) -> None:
        """Return when everything that committed before this call has been told. The tenant must be watched.

        Raises:
            TimedOut: the database did not answer in time; it is tried on.
        """
        await self._caught_up(self._tenants[tenant_id], within_s)

    def offset(self, tenant_id: int) -> str:
        """The offset of a client that joins now and has received nothing: all that it missed is what is told from now on.

        Of a tenant that is watched and ready; else one that cannot be resumed.
        """
        tenant = self._tenants.get(tenant_id)
        return UNUSABLE if tenant is None or tenant.place is None else tenant.place.offset()

    async def replay(
        self, tenant_id: int, offset: str, rooms: Collection[str], *, limit: int = MOST_REPLAYED, join: Callable[[], None] | None = None
    ) -> Replayed | TooOld:
        """What a client missed since `offset` in its rooms, or why not all of that can be said. The tenant must be watched.

        Args:
            offset: as the client sent it; anything at all.
            limit: 1 to 1000 events; more is too old.
            join: called once, between two bursts, at the moment from which on the hearers are told what is not replayed: there the
                caller lets the client into its rooms, and holds back what comes until the replay is sent.
        Raises:
            TrunklineError: the database did not answer. `join` may have been called, as it may where the answer is TooOld.
        """
        try:
            asked = Position.decode(offset)
            places = frozenset((EVERYONE, *rooms))
            chosen = selection(places)
        except ValueError as error:
            return TooOld(f"this offset cannot be resumed: {error}.")
        tenant = self._tenants[tenant_id]
        await self._caught_up(tenant, READY_S)
        while not tenant.is_whole:
            await self._caught_up(tenant, READY_S)
        here, since = tenant.place, tenant.since
        if here is None or since is None:
            return TooOld("nobody watches this tenant any more.")
        if asked.at < max(since, here.at - timedelta(seconds=self._window_s)):
            return TooOld(f"this offset is of {asked.at:%Y-%m-%dT%H:%M:%SZ}: longer ago than events are kept for clients that come back.")
        if asked.upto.xmax > here.seen.xmax or asked.at > here.at + timedelta(minutes=1):
            return TooOld("this offset is of another database.")
        if join is not None:
            join()
        found = await self._missed(tenant_id, asked, here, chosen, min(max(limit, 1), MOST_REPLAYED))
        if isinstance(found, Replayed):
            return replace(found, events=[event for event in found.events if not places.isdisjoint(rooms_of(event))])
        return found

    async def _missed(
        self, tenant_id: int, asked: Position, here: Position, chosen: tuple[list[UUID], list[str]] | None, limit: int
    ) -> Replayed | TooOld:
        """The rest of the burst of which the client has a part, then everything up to here."""
        job_ids, user_ids = chosen or (None, None)
        missed: list[Event] = []
        for place in (asked, Position(asked.upto, here.seen, here.at)):
            while place.seen != place.upto:
                where = From(tenant_id, place.seen.text, place.upto.text, place.seq)
                read = await events.read(self._store, [where], limit=BURST, job_ids=job_ids, user_ids=user_ids)
                missed += self._teller.events(read.told, place)
                if len(missed) > limit:
                    return TooOld(f"more than {limit} events were missed.")  # those of an inbox's user count, too
                if is_all(read.told):
                    break
                place = replace(place, seq=read.told[-1].seq)
        return Replayed(missed, here.offset())

    def heard(self, word: str, arguments: list[str]) -> None:
        """A signal: events of a tenant, or resync."""
        if word == "resync":
            for tenant in self._tenants.values():
                tenant.is_dirty = True
            self._wake.set()
        elif word == "events" and (found := self._tenants.get(int(arguments[0]))) is not None and found.count:
            found.is_dirty = True
            self._wake.set()

    async def _caught_up(self, tenant: _Tenant, within_s: float) -> None:
        """Return after a read that began after this call."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        tenant.waiting.append(future)
        tenant.is_dirty = True
        self._wake.set()
        try:
            async with asyncio.timeout(within_s):
                await future
        except TimeoutError:
            raise TimedOut(f"events could not be read within {within_s:g} s. Try again.") from None
        finally:
            with suppress(ValueError):
                tenant.waiting.remove(future)  # it was given up

    # -- the one reader ------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S if self._tenants else None):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._turn()
            except TrunklineError as error:
                log.warning("stream.waiting", error=str(error))
                await self._again()
            except Exception:
                log.exception("stream.failed")
                await self._again()

    async def _again(self) -> None:
        await asyncio.sleep(POLL_S)
        for tenant in self._tenants.values():
            tenant.is_dirty = True
        self._wake.set()

    async def _turn(self) -> None:
        now = time.monotonic()
        if now - self._polled_at >= POLL_S:
            self._polled_at = now
            for tenant in self._tenants.values():
                tenant.is_dirty = True
        await self._keep(now)
        due = [tenant for tenant in self._tenants.values() if tenant.is_dirty and tenant.count and tenant.is_settled]
        for start in range(0, len(due), TENANTS_AT_ONCE):
            await self._read(due[start : start + TENANTS_AT_ONCE])

    async def _keep(self, now: float) -> None:
        """Say in the database what is watched here, where that is new or was said a while ago; forget whom nobody watches."""
        for gone in [t for t in self._tenants.values() if not t.count and not t.waiting and now - t.kept_at > REFRESH_S]:
            del self._tenants[gone.id]
        wanted = [t for t in self._tenants.values() if t.count and now - t.kept_at > REFRESH_S]
        if not wanted:
            return
        by_id = {tenant.id: tenant for tenant in wanted}
        new = []
        for tenant_id, since, is_new in await events.keep_watched(self._store, sorted(by_id), self._window_s):
            tenant = by_id[tenant_id]
            if tenant.place is not None and since != tenant.since:
                log.warning("stream.lapsed", tenant_id=tenant_id)
                self._say(self._lapsed, tenant_id)
            tenant.since, tenant.kept_at = since, now
            if is_new and not tenant.is_settled:
                new.append(tenant)
            else:
                tenant.is_settled = True
        if new:
            task = asyncio.create_task(self._settle(new))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    async def _settle(self, new: Iterable[_Tenant]) -> None:
        """Wait for transactions that may have seen nobody watching."""
        until, pause_s = time.monotonic() + SETTLE_S, 0.002
        try:
            before = await events.lookers(self._store)
            while before and time.monotonic() < until:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, 0.1)
                before &= await events.lookers(self._store)
        except TrunklineError as error:
            log.warning("stream.not_settled", error=str(error))
        for tenant in new:
            tenant.is_settled = tenant.is_dirty = True
        self._wake.set()

    async def _read(self, due: list[_Tenant]) -> None:
        """One statement for some tenants; then the hearers are told, and those who wait."""
        places = []
        for tenant in due:
            tenant.is_dirty = False
            if tenant.is_whole:  # the rest of a burst is no news to who came amid it
                tenant.served = tenant.waiting[:]
            if (place := tenant.place) is not None:
                upto = None if tenant.is_whole else place.upto.text
                places.append(From(tenant.id, place.seen.text, upto, 0 if tenant.is_whole else place.seq))
        asked = {tenant: tenant.place for tenant in due}
        try:
            self.reads += 1
            read = await events.read(self._store, places, limit=BURST)
        except BaseException:
            for tenant in due:
                tenant.is_dirty = True
            raise
        told: dict[int, list[Told]] = defaultdict(list)
        for each in read.told:
            told[each.tenant_id].append(each)
        here, at = Snapshot.parse(read.snapshot), read.at
        for tenant in due:
            if tenant.place is asked[tenant] and tenant.count:  # else it was left meanwhile, and maybe joined again
                self._advance(tenant, told[tenant.id], here, at)
            if tenant.is_whole and (tenant.place is not None or not tenant.count):
                _answer(tenant, tenant.served)
            if tenant.is_dirty or tenant.waiting:
                tenant.is_dirty = True
                self._wake.set()

    def _advance(self, tenant: _Tenant, told: list[Told], here: Snapshot, at: datetime) -> None:
        place = tenant.place
        if place is None:
            tenant.place = Position(here, here, at)
            return
        if tenant.is_whole:
            place = Position(place.upto, here, at)
        burst = self._teller.events(told, place)
        if is_all(told):
            tenant.place, tenant.is_whole = Position(place.upto, place.upto, place.at), True
            tenant.is_dirty = tenant.is_dirty or place.upto != here  # amid a burst nothing newer was read
        else:
            tenant.place, tenant.is_whole, tenant.is_dirty = replace(place, seq=told[-1].seq), False, True
        if burst:
            self._say(self._hearers, burst)
            if self._paced:
                self._say(self._paced, self._calm.sort(burst))

    def _say(self, hearers: Iterable[Callable[[Any], None]], said: object) -> None:
        for hear in tuple(hearers):
            try:
                hear(said)
            except Exception:
                log.exception("stream.hearer_failed")


def _answer(tenant: _Tenant, waiting: Iterable[asyncio.Future[None]]) -> None:
    for future in waiting:
        with suppress(ValueError):
            tenant.waiting.remove(future)
        if not future.done():
            future.set_result(None)
