"""The update dialect: path `/socket.io`, namespace `/jobs`; whoever may see jobs is told what becomes of them.

Always true: what a client may follow comes from its principal: a user follows own jobs and the own user room, a token with scope `watch`
and an administrator whatever their tenant has; all else is "not found". A room's name is made here from ids. An answer to
`subscribe:jobs` is given once everything that commits from then on will be told. A token that is over cuts its sockets. A client that
asked for recovery and comes back in time gets each event that it missed once, before what is new; else it is told that it did not recover;
while the database is away it is told neither, and comes again.
Called by: gateway.server. Calls: auth, realtime.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from secrets import token_urlsafe
from uuid import UUID
from weakref import WeakValueDictionary

from msgspec import Raw, Struct

from trunkline.auth import Customers, Principal, Revocations
from trunkline.errors import Forbidden, NotFound, RateLimited, TrunklineError, Unauthenticated
from trunkline.gateway import recovery
from trunkline.gateway.dialect import COME_BACK
from trunkline.gateway.events import LAPSED
from trunkline.gateway.gateway import INVALID, MOST_AT_ONCE, MOST_CONNECTIONS, MOST_OF_TENANT
from trunkline.gateway.services import Services
from trunkline.gateway.socketio.link import Link
from trunkline.gateway.socketio.packets import Parcel, event
from trunkline.gateway.socketio.sockets import TOO_SLOW
from trunkline.gateway.telling import NAMESPACE, line_of, parcel_of
from trunkline.realtime import ALL_JOBS, EVERYONE, Event, Replayed, Rooms, Stream, job_room, user_room
from trunkline.wire import Push, Refusal, decode_handshake, decode_watch
from trunkline.wire.updates import History, Subscribed, SubscribeJobs, UnsubscribeJobs

Users = Callable[[object], Awaitable[Principal]]


@dataclass(slots=True, eq=False)
class _Watcher:
    """A client that was let in.

    Attributes:
        rooms: what it asked to follow -> what it follows.
        pid: of one that asked for recovery; `follows` stands at the end of its offsets.
        held: what is new while it is still told what it missed.
    """

    principal: Principal
    pid: str | None = None
    follows: str | None = None
    held: list[Event] | None = None
    rooms: dict[str, str] = field(default_factory=dict)
    over: list[Callable[[], None]] = field(default_factory=list)

    @property
    def sees_all(self) -> bool:
        """Whether it may follow whatever its tenant has."""
        return self.principal.is_admin or self.principal.user_id is None


class JobsDialect:
    """Watchers of jobs. `anonymous`: the tenant of clients that say nothing about themselves; None: they stay out."""

    def __init__(
        self,
        services: Services,
        customers: Customers,
        revocations: Revocations,
        stream: Stream,
        *,
        users: Users | None,
        anonymous: str | None,
    ) -> None:
        self._services, self._customers, self._revocations, self._stream = services, customers, revocations, stream
        self._users, self._anonymous = users, anonymous
        self._rooms: Rooms[Link] = Rooms()
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
    def rooms(self) -> Rooms[Link]:
        """Who follows what."""
        return self._rooms

    # -- what Socket.IO says ----------------------------------------------------------------

    async def enter(self, link: Link, auth: str | None) -> None:
        """Let a client in by its token, or refuse it; a stock client hears why as `connect_error`."""
        try:
            principal = await self._principal(auth)
            tenant_id = principal.tenant_id
            if self._of_tenant.total() >= MOST_CONNECTIONS or self._of_tenant[tenant_id] >= MOST_OF_TENANT:
                raise RateLimited("this gateway takes no more connections now. Connect again later, or to another one.")
        except (Unauthenticated, Forbidden) as error:
            link.refuse(str(error), error.code)
            return
        except TrunklineError as error:  # later
            link.socket.leave(TOO_SLOW, str(error)[:100])
            return
        if not link.is_open:
            return
        watcher = link.state = _Watcher(principal)
        self._of_tenant[tenant_id] += 1
        watcher.over = [self._stream.watch(tenant_id), self._revocations.watch(principal, lambda: self._cut(link))]
        link.known()
        wish = recovery.asked(auth)
        if not wish.recovery:
            self._rooms.join(link, tenant_id, EVERYONE)
            link.accept()
            return
        try:
            has_recovered = wish.pid and wish.offset and await self._recovered(link, watcher, wish.pid, wish.offset)
        except TrunklineError as error:  # later: it keeps its offset, and gets all that it missed then
            link.socket.leave(TOO_SLOW, str(error)[:100])
        else:
            if not has_recovered:
                await self._begin(link, watcher)

    async def answer(self, link: Link, name: str, data: Raw) -> Struct | list[Push]:
        """Carry out one call."""
        call = decode_watch(name, data, is_checked=True)
        watcher: _Watcher | None = link.state
        if isinstance(call, Refusal):
            return call if name == "history" or call.code == "unknown_call" else Subscribed(success=False, room="", message=call.error)
        if watcher is None or not link.is_open:
            return Refusal.of(Unauthenticated(INVALID))
        if isinstance(call, History):
            try:
                return await self._history(watcher, call)
            except TrunklineError as error:
                return Refusal.of(error)
        assert isinstance(call, SubscribeJobs)
        try:
            return self._leave(link, watcher, call) if isinstance(call, UnsubscribeJobs) else await self._join(link, watcher, call)
        except TrunklineError as error:
            return Subscribed(success=False, room=call.room, message=Refusal.of(error).error)

    def drained(self, link: Link) -> None:
        """It reads again: its events waited for it by themselves."""

    def left(self, link: Link) -> None:
        """It is gone."""
        watcher: _Watcher | None = link.state
        self._rooms.leave_all(link)
        if watcher is not None:
            link.state = None
            tenant_id = watcher.principal.tenant_id
            self._of_tenant[tenant_id] -= 1
            if not self._of_tenant[tenant_id]:
                del self._of_tenant[tenant_id]
            for end in watcher.over:
                end()

    # -- recovery ----------------------------------------------------------------------------

    async def _begin(self, link: Link, watcher: _Watcher) -> None:
        """Let in a client that may recover later; from now on, also if it never hears anything else."""
        with suppress(TrunklineError):  # the database is slow: then its first offset is one that cannot be resumed
            await self._stream.ready(watcher.principal.tenant_id)
        if link.is_open:
            watcher.pid = token_urlsafe(18)
            self._rooms.join(link, watcher.principal.tenant_id, EVERYONE)
            link.accept(pid=watcher.pid)
            self._mark(link, watcher)

    async def _recovered(self, link: Link, watcher: _Watcher, pid: str, said: str) -> bool:
        """Whether the client is again where it was, and has all that it missed.

        Raises:
            TrunklineError: that cannot be said now, for the database is away.
        """
        tenant_id = watcher.principal.tenant_id

        def join() -> None:
            watcher.held = []
            for room in places if link.is_open else ():
                self._rooms.join(link, tenant_id, room)

        try:
            offset, calls = recovery.taken_apart(said)
            rooms = {call.room: await self._room(watcher, call) for call in calls}
            places = {EVERYONE, *rooms.values()}
            found = await self._stream.replay(tenant_id, offset, places, join=join)
        except (ValueError, TrunklineError) as error:
            if isinstance(error, TrunklineError) and error.retryable:
                raise
            found = None
        held, watcher.held = watcher.held, None
        if not isinstance(found, Replayed) or not link.is_open:
            self._rooms.leave_all(link)
            return False
        watcher.rooms, watcher.pid = rooms, pid
        link.accept(pid=pid)
        watcher.follows = recovery.packed(watcher.rooms)
        for missed in found.events:
            self._tell(link, watcher, missed, {})
        self._mark(link, watcher, found.offset)
        for new in held or ():
            self._tell(link, watcher, new, {})
        return True

    def _mark(self, link: Link, watcher: _Watcher, offset: str | None = None) -> None:
        """Give a client that may recover the offset of what it follows now."""
        if watcher.pid is not None:
            watcher.follows = recovery.packed(watcher.rooms)
            here = self._stream.offset(watcher.principal.tenant_id) if offset is None else offset
            link.post(event(NAMESPACE, recovery.MARK, recovery.joined(here, watcher.follows)))

    # -- calls -------------------------------------------------------------------------------

    async def _join(self, link: Link, watcher: _Watcher, call: SubscribeJobs) -> Subscribed:
        tenant_id = watcher.principal.tenant_id
        room = await self._room(watcher, call)
        await self._stream.ready(tenant_id)
        if link.is_open:
            self._rooms.join(link, tenant_id, room)
            watcher.rooms[call.room] = room
            self._mark(link, watcher)
        return Subscribed(success=True, room=call.room, message=f"Subscribed to {call.room}")

    def _leave(self, link: Link, watcher: _Watcher, call: SubscribeJobs) -> Subscribed:
        room = watcher.rooms.pop(call.room, None)
        if room is not None and room not in watcher.rooms.values():
            self._rooms.leave(link, watcher.principal.tenant_id, room)
        self._mark(link, watcher)
        return Subscribed(success=True, room=call.room, message=f"Unsubscribed from {call.room}")

    async def _room(self, watcher: _Watcher, call: SubscribeJobs) -> str:
        """The room that is meant, if this watcher may follow it."""
        principal = watcher.principal
        if call.job_id is not None:
            await self._own(watcher, call.job_id)
            return job_room(call.job_id)
        if call.user_id is not None:
            if "\x00" in call.user_id or not (watcher.sees_all or call.user_id == principal.user_id):
                raise NotFound("not found")
            return user_room(call.user_id)
        return ALL_JOBS if watcher.sees_all else user_room(principal.user_id or "")

    async def _own(self, watcher: _Watcher, job_id: UUID) -> None:
        """Return when the watcher may see this job; whose it is else is not said."""
        try:
            async with self._turn(watcher):
                job = await self._services.get(job_id, tenant=watcher.principal.tenant)
        except NotFound:
            raise NotFound("not found") from None
        if not watcher.sees_all and job.user_id != watcher.principal.user_id:
            raise NotFound("not found")

    async def _history(self, watcher: _Watcher, call: History) -> list[Push]:
        await self._own(watcher, call.job_id)
        async with self._turn(watcher):
            lines = await self._services.updates.get_job_history(call.job_id, call.limit, tenant=watcher.principal.tenant)
        return [line_of(call.job_id, line) for line in lines]

    def _turn(self, watcher: _Watcher) -> asyncio.Semaphore:
        """Each look takes a database connection for itself: a tenant has so many of them."""
        return self._turns.setdefault(watcher.principal.tenant_id, asyncio.Semaphore(MOST_AT_ONCE))

    async def _principal(self, auth: str | None) -> Principal:
        said = decode_handshake(auth if auth is not None else "{}")
        if isinstance(said, Refusal):
            raise Unauthenticated("Authentication required")
        if said.customer_token:
            principal = await self._customers.principal(said.customer_token)
        elif said.token and self._users is not None:
            principal = await self._users(said.token)
        elif said.token or self._anonymous is None:
            raise Unauthenticated(INVALID if said.token else "Authentication required")
        else:
            tenant_id = await self._services.known_tenant_id(self._anonymous)
            principal = Principal(tenant_id, self._anonymous, frozenset(("watch",)))
        principal.require("watch")
        return principal

    # -- telling -----------------------------------------------------------------------------

    def hear(self, burst: Sequence[Event]) -> None:
        """A burst of the stream: to everybody who follows."""
        for told in burst:
            encoded: dict[str, Parcel | None] = {}
            for link in tuple(self._rooms.members(told)):  # one that reads too slowly leaves while it is told
                watcher: _Watcher | None = link.state
                if watcher is None:
                    continue
                if watcher.held is None:
                    self._tell(link, watcher, told, encoded)
                else:
                    watcher.held.append(told)

    @staticmethod
    def _tell(link: Link, watcher: _Watcher, told: Event, encoded: dict[str, Parcel | None]) -> None:
        """Encoded once for all who are told the same; `encoded` remembers."""
        if told.pace and (told.pace == "held") == (watcher.pid is None):
            return
        end = "" if watcher.pid is None else recovery.joined(told.offset, watcher.follows)
        try:
            parcel = encoded[end]
        except KeyError:
            parcel = encoded[end] = parcel_of(told, end) if end else parcel_of(told)
        if parcel is not None and link.is_open:
            link.socket.post(parcel)

    def _lapsed(self, tenant_id: int) -> None:
        for link in self._rooms.inside(tenant_id, EVERYONE):
            link.socket.leave(COME_BACK, LAPSED)

    def _cut(self, link: Link) -> None:
        link.disconnect()
