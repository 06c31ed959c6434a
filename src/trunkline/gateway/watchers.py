"""Everybody who follows jobs, in whichever namespace: let in, told, and brought back to where they were.

What a watcher is told, and what it may name, is its dialect's; how it is told is here, once for all dialects.
Always true: a watcher hears what it joined and what its tenant is told, nothing else; each event once; one that is told at many is
encoded once for those who are told alike. A token that is over ends its watchers. A client that asked for recovery and comes back
in time gets each event that it missed once, before what is new; else it is told that it did not recover; while the database is away
it is told neither, and comes again.
Called by: watching, following (dialects), doors, gateway.server. Calls: auth, realtime.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from secrets import token_urlsafe
from uuid import UUID
from weakref import WeakValueDictionary

from trunkline.auth import Principal, Revocations
from trunkline.errors import NotFound, RateLimited, TrunklineError
from trunkline.gateway import recovery
from trunkline.gateway.dialect import COME_BACK
from trunkline.gateway.events import LAPSED
from trunkline.gateway.gateway import MOST_AT_ONCE, MOST_CONNECTIONS, MOST_OF_TENANT
from trunkline.gateway.services import Services
from trunkline.gateway.socketio.link import Link
from trunkline.gateway.socketio.packets import Parcel, event
from trunkline.gateway.socketio.sockets import TOO_SLOW
from trunkline.gateway.watcher import Place, Say, Watcher, Words, post
from trunkline.model import JobView
from trunkline.realtime import EVERYONE, Event, Replayed, Rooms, Stream, job_room


class Watchers:
    """One per process; `rooms` is who follows what. A link's `state` is its Watcher."""

    def __init__(self, services: Services, revocations: Revocations, stream: Stream) -> None:
        self._services, self._revocations, self._stream = services, revocations, stream
        self.rooms: Rooms[Link] = Rooms()
        self._of_tenant: Counter[int] = Counter()
        self._turns: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()  # of tenants with a look under way
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin to tell."""
        self._unsubscribe = self._stream.subscribe(self.hear, paced=True, lapsed=self._lapsed)

    def stop(self) -> None:
        """Tell nothing more."""
        self._unsubscribe()

    @property
    def connections(self) -> int:
        """Watchers that are in."""
        return self._of_tenant.total()

    # -- coming and going ------------------------------------------------------------------------

    def admit(self, link: Link, principal: Principal, words: Words, over: Callable[[Link], None], *always: str) -> Watcher:
        """A link of somebody who may be told; nothing is told before `connect` or `settle`.

        Args:
            over: called when the principal is over.
            always: rooms besides that of everybody.
        Raises:
            RateLimited: there are too many.
        """
        tenant_id = principal.tenant_id
        if self._of_tenant.total() >= MOST_CONNECTIONS or self._of_tenant[tenant_id] >= MOST_OF_TENANT:
            raise RateLimited("this gateway takes no more connections now. Connect again later, or to another one.")
        watcher = link.state = Watcher(principal, words, (EVERYONE, *always))
        self._of_tenant[tenant_id] += 1
        watcher.unread = self._stream.watch(tenant_id)
        self.renew(link, watcher, principal, over)
        link.known()
        return watcher

    def renew(self, link: Link, watcher: Watcher, principal: Principal, over: Callable[[Link], None]) -> None:
        """The same principal by a credential that ends at another time."""
        watcher.unwatch()
        watcher.principal = principal
        watcher.unwatch = self._revocations.watch(principal, lambda: over(link))

    async def connect(self, link: Link, watcher: Watcher, auth: str | None, place: Place, greeting: Say | None = None) -> None:
        """Answer the CONNECT of one that was admitted: let it in, where it was if it asked for that.

        Args:
            greeting: told right after the answer.
        """
        wish = recovery.asked(auth)
        if not wish.recovery:
            link.accept()
            if greeting is not None:
                await self._ready(watcher)
            self.settle(link, watcher)
            post(link, greeting, "")
            return
        try:
            has_recovered = wish.pid and wish.offset and await self._recovered(link, watcher, wish.pid, wish.offset, place, greeting)
        except TrunklineError as error:  # later: it keeps its offset, and gets all that it missed then
            link.socket.leave(TOO_SLOW, str(error)[:100])
        else:
            if not has_recovered:
                await self._begin(link, watcher, greeting)

    async def settled(self, link: Link, watcher: Watcher) -> None:
        """Let one that was admitted hear, whose CONNECT was answered before; return when all that commits from now on is told."""
        await self._ready(watcher)
        self.settle(link, watcher)

    def settle(self, link: Link, watcher: Watcher) -> None:
        """Into the rooms that it is always in."""
        for room in watcher.always if link.is_open else ():
            self.rooms.join(link, watcher.principal.tenant_id, room)

    def greet(self, link: Link, watcher: Watcher, greeting: Say) -> None:
        """Say something that is no event of the stream."""
        if link.is_open:
            self._mark(link, watcher, greeting)

    def left(self, link: Link) -> None:
        """It is gone."""
        watcher: Watcher | None = link.state
        self.rooms.leave_all(link)
        if watcher is not None:
            link.state = None
            tenant_id = watcher.principal.tenant_id
            self._of_tenant[tenant_id] -= 1
            if not self._of_tenant[tenant_id]:
                del self._of_tenant[tenant_id]
            watcher.unread()
            watcher.unwatch()

    async def _ready(self, watcher: Watcher) -> None:
        with suppress(TrunklineError):  # the database is slow: it hears as soon as that can be read, and cannot resume from before
            await self._stream.ready(watcher.principal.tenant_id)

    # -- recovery ----------------------------------------------------------------------------------

    async def _begin(self, link: Link, watcher: Watcher, greeting: Say | None) -> None:
        """Let in a client that may recover later; from now on, also if it never hears anything else."""
        await self._ready(watcher)
        if link.is_open:
            watcher.pid = token_urlsafe(18)
            self.settle(link, watcher)
            link.accept(pid=watcher.pid)
            self._mark(link, watcher, greeting)

    async def _recovered(self, link: Link, watcher: Watcher, pid: str, said: str, place: Place, greeting: Say | None) -> bool:
        """Whether the client is again where it was, and has all that it missed.

        Raises:
            TrunklineError: that cannot be said now, for the database is away.
        """
        tenant_id = watcher.principal.tenant_id

        def join() -> None:
            watcher.held = []
            for room in places if link.is_open else ():
                self.rooms.join(link, tenant_id, room)

        try:
            offset, names = recovery.taken_apart(said)
            rooms = {name: await place(watcher, name) for name in names}
            places = {*watcher.always, *rooms.values()}
            found = await self._stream.replay(tenant_id, offset, places, join=join)
        except (ValueError, TrunklineError) as error:
            if isinstance(error, TrunklineError) and error.retryable:
                raise
            found = None
        held, watcher.held = watcher.held, None
        if not isinstance(found, Replayed) or not link.is_open:
            self.rooms.leave_all(link)
            return False
        watcher.rooms, watcher.pid = rooms, pid
        link.accept(pid=pid)
        post(link, greeting, said)
        watcher.follows = recovery.packed(watcher.rooms)
        for missed in found.events:
            self._tell(link, watcher, missed, {})
        self._mark(link, watcher, offset=found.offset)
        for new in held or ():
            self._tell(link, watcher, new, {})
        return True

    def _mark(self, link: Link, watcher: Watcher, say: Say | None = None, *, offset: str | None = None) -> None:
        """Say something, and with it give a client that may recover the offset of what it follows now."""
        if watcher.pid is None:
            post(link, say, "")
            return
        watcher.follows = None if watcher.is_behind else recovery.packed(watcher.rooms)
        here = recovery.joined(self._stream.offset(watcher.principal.tenant_id) if offset is None else offset, watcher.follows)
        if say is None:
            link.post(event(link.namespace, recovery.MARK, here))
        else:
            post(link, say, here)

    # -- following ---------------------------------------------------------------------------------

    async def follow(self, link: Link, watcher: Watcher, name: str, room: str) -> None:
        """Let it hear a room from now on.

        Raises:
            RateLimited: it is in too many rooms. TimedOut: the database did not answer.
        """
        await self._stream.ready(watcher.principal.tenant_id)
        if link.is_open:
            self.rooms.join(link, watcher.principal.tenant_id, room)
            watcher.rooms[name] = room
            self._mark(link, watcher)

    async def follow_job(self, link: Link, watcher: Watcher, job_id: UUID, standing: Callable[..., Parcel]) -> None:
        """Let it hear a job from now on, told first where that stands; what it is told then is what came after, each once.

        So its events are held back from before the job is looked at until everything that had committed by then was told: if there
        are none, the job still stands as it was seen; else they say more, and the look is not told.

        Raises:
            NotFound: it may not follow this. RateLimited, TimedOut: as `follow`.
        """
        tenant_id, room = watcher.principal.tenant_id, job_room(job_id)
        if not link.is_open:
            return
        self.rooms.join(link, tenant_id, room)
        watcher.arriving[job_id] = []
        if watcher.is_behind:  # what is told meanwhile comes after what is held back: to resume from there would leave that out
            watcher.follows = None
        try:
            await self._stream.ready(tenant_id)
            job = await self.own(watcher, job_id)
            if link.is_open:
                await self._stream.caught_up(tenant_id)
        except BaseException as error:
            self._stay_out(link, watcher, job_id, still=watcher.rooms.get(room) is not None and not isinstance(error, NotFound))
            raise
        held = [told for told in watcher.arriving.pop(job_id) if watcher.wants(told) and watcher.words(told) is not None]
        watcher.rooms[room] = room
        for told in held[:-1]:  # its offset is older than what was told meanwhile, so that comes with the last one
            post(link, lambda *end, told=told: watcher.words(told, *end), "" if watcher.pid is None else recovery.UNUSABLE)
        self._mark(link, watcher, lambda *end: watcher.words(held[-1], *end) if held else standing(job, *end))

    def _stay_out(self, link: Link, watcher: Watcher, job_id: UUID, *, still: bool) -> None:
        """It does not follow this job, or, where it cannot be said now, as before."""
        held, room = watcher.arriving.pop(job_id), job_room(job_id)
        if still:
            for told in held:
                self._tell(link, watcher, told, {})
            self._mark(link, watcher)
        else:
            self.rooms.leave(link, watcher.principal.tenant_id, room)
            if watcher.rooms.pop(room, None) is not None:
                self._mark(link, watcher)

    def unfollow(self, link: Link, watcher: Watcher, name: str) -> None:
        """Let it hear that no more."""
        room = watcher.rooms.pop(name, None)
        if room is not None and room not in watcher.rooms.values():
            self.rooms.leave(link, watcher.principal.tenant_id, room)
        self._mark(link, watcher)

    async def own(self, watcher: Watcher, job_id: UUID) -> JobView:
        """A job that the watcher may see; NotFound for any other, and whose it is is not said."""
        try:
            async with self.turn(watcher):
                job = await self._services.get(job_id, tenant=watcher.principal.tenant)
        except NotFound:
            raise NotFound("not found") from None
        if not watcher.sees_all and job.user_id != watcher.principal.user_id:
            raise NotFound("not found")
        return job

    def turn(self, watcher: Watcher) -> asyncio.Semaphore:
        """Each look takes a database connection for itself: a tenant has so many of them."""
        return self._turns.setdefault(watcher.principal.tenant_id, asyncio.Semaphore(MOST_AT_ONCE))

    # -- telling -----------------------------------------------------------------------------------

    def hear(self, burst: Sequence[Event]) -> None:
        """A burst of the stream: to everybody who follows."""
        for told in burst:
            encoded: dict[object, Parcel | None] = {}
            for link in tuple(self.rooms.members(told)):  # one that reads too slowly leaves while it is told
                watcher: Watcher | None = link.state
                if watcher is None:
                    continue
                if watcher.arriving and told.job_id in watcher.arriving:
                    watcher.arriving[told.job_id].append(told)
                elif watcher.held is None:
                    self._tell(link, watcher, told, encoded)
                else:
                    watcher.held.append(told)

    @staticmethod
    def _tell(link: Link, watcher: Watcher, told: Event, encoded: dict[object, Parcel | None]) -> None:
        """Encoded once for all who are told the same; `encoded` remembers."""
        if told.pace and not watcher.wants(told):
            return
        words = watcher.words
        end = "" if watcher.pid is None else recovery.joined(told.offset, watcher.follows)
        key: object = (words, end) if end else words
        try:
            parcel = encoded[key]
        except KeyError:
            parcel = encoded[key] = words(told, end) if end else words(told)
        if parcel is not None and link.is_open:
            link.socket.post(parcel)

    def _lapsed(self, tenant_id: int) -> None:
        for link in self.rooms.inside(tenant_id, EVERYONE):
            link.socket.leave(COME_BACK, LAPSED)
