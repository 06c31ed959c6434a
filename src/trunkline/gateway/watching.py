"""The update dialect: path `/socket.io`, namespace `/jobs`; whoever may see jobs is told what becomes of them.

Always true: what a client may follow comes from its principal: a user follows own jobs and the own user room, a token with scope `watch`
and an administrator whatever their tenant has; all else is "not found". A room's name is made here from ids. An answer to
`subscribe:jobs` is given once everything that commits from then on will be told. A token that is over cuts its sockets.
Called by: gateway.server. Calls: auth, realtime.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from msgspec import Raw, Struct

from trunkline.auth import Customers, Principal, Revocations
from trunkline.errors import Forbidden, NotFound, RateLimited, TrunklineError, Unauthenticated
from trunkline.gateway.gateway import INVALID, MOST_CONNECTIONS, MOST_OF_TENANT
from trunkline.gateway.services import Services
from trunkline.gateway.socketio.link import Link
from trunkline.gateway.socketio.sockets import TOO_SLOW
from trunkline.gateway.telling import line_of, parcel_of
from trunkline.realtime import ALL_JOBS, EVERYONE, Event, Rooms, Stream, job_room, user_room
from trunkline.wire import Push, Refusal, decode_handshake, decode_watch
from trunkline.wire.updates import History, Subscribed, SubscribeJobs, UnsubscribeJobs

Users = Callable[[object], Awaitable[Principal]]


@dataclass(slots=True, eq=False)
class _Watcher:
    """A client that was let in. `rooms`: what it asked to follow -> what it follows."""

    principal: Principal
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
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin to tell."""
        self._unsubscribe = self._stream.subscribe(self._hear)

    def stop(self) -> None:
        """Tell nothing more."""
        self._unsubscribe()

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
        self._rooms.join(link, tenant_id, EVERYONE)
        link.known()
        link.accept()

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
            self._of_tenant[watcher.principal.tenant_id] -= 1
            for end in watcher.over:
                end()

    # -- calls -------------------------------------------------------------------------------

    async def _join(self, link: Link, watcher: _Watcher, call: SubscribeJobs) -> Subscribed:
        tenant_id = watcher.principal.tenant_id
        room = await self._room(watcher, call)
        await self._stream.ready(tenant_id)
        if link.is_open:
            self._rooms.join(link, tenant_id, room)
            watcher.rooms[call.room] = room
        return Subscribed(success=True, room=call.room, message=f"Subscribed to {call.room}")

    def _leave(self, link: Link, watcher: _Watcher, call: SubscribeJobs) -> Subscribed:
        room = watcher.rooms.pop(call.room, None)
        if room is not None and room not in watcher.rooms.values():
            self._rooms.leave(link, watcher.principal.tenant_id, room)
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
            job = await self._services.get(job_id, tenant=watcher.principal.tenant)
        except NotFound:
            raise NotFound("not found") from None
        if not watcher.sees_all and job.user_id != watcher.principal.user_id:
            raise NotFound("not found")

    async def _history(self, watcher: _Watcher, call: History) -> list[Push]:
        await self._own(watcher, call.job_id)
        lines = await self._services.updates.get_job_history(call.job_id, call.limit, tenant=watcher.principal.tenant)
        return [line_of(call.job_id, line) for line in lines]

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

    def _hear(self, burst: Sequence[Event]) -> None:
        for event in burst:
            members = tuple(self._rooms.members(event))  # one that reads too slowly leaves while it is told
            if members and (parcel := parcel_of(event)) is not None:
                for link in members:
                    link.post(parcel)

    def _cut(self, link: Link) -> None:
        link.disconnect()
