"""The update dialect: path `/socket.io`, namespace `/jobs`; whoever may see jobs is told what becomes of them.

Always true: what a client may follow comes from its principal: a user follows own jobs and the own user room, a token with scope `watch`
and an administrator whatever their tenant has; all else is "not found". A room's name is made here from ids. An answer to
`subscribe:jobs` is given once everything that commits from then on will be told. A token that is over cuts its sockets.
Called by: gateway.server. Calls: watchers, auth.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

from msgspec import Raw, Struct

from trunkline.auth import Customers, Principal
from trunkline.errors import Forbidden, NotFound, TrunklineError, Unauthenticated
from trunkline.gateway.gateway import INVALID
from trunkline.gateway.services import Services
from trunkline.gateway.socketio.link import Link
from trunkline.gateway.socketio.sockets import TOO_SLOW
from trunkline.gateway.telling import line_of, parcel_of
from trunkline.gateway.watcher import Watcher
from trunkline.gateway.watchers import Watchers
from trunkline.realtime import ALL_JOBS, job_room, user_room
from trunkline.wire import Push, Refusal, decode_handshake, decode_watch
from trunkline.wire.updates import History, Subscribed, SubscribeJobs, UnsubscribeJobs

Users = Callable[[object], Awaitable[Principal]]


class JobsDialect:
    """Watchers of jobs. `anonymous`: the tenant of clients that say nothing about themselves; None: they stay out."""

    def __init__(self, services: Services, watchers: Watchers, customers: Customers, *, users: Users | None, anonymous: str | None) -> None:
        self._services, self._watchers, self._customers = services, watchers, customers
        self._users, self.anonymous = users, anonymous

    # -- what Socket.IO says ----------------------------------------------------------------

    async def enter(self, link: Link, auth: str | None) -> None:
        """Let a client in by its token, or refuse it; a stock client hears why as `connect_error`."""
        try:
            principal = await self._principal(auth)
            if not link.is_open:
                return
            watcher = self._watchers.admit(link, principal, parcel_of, Link.disconnect)
        except (Unauthenticated, Forbidden) as error:
            link.refuse(str(error), error.code)
        except TrunklineError as error:  # later
            link.socket.leave(TOO_SLOW, str(error)[:100])
        else:
            await self._watchers.connect(link, watcher, auth, self._place)

    async def answer(self, link: Link, name: str, data: Raw) -> Struct | list[Push]:
        """Carry out one call."""
        call = decode_watch(name, data, is_checked=True)
        watcher: Watcher | None = link.state
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
        self._watchers.left(link)

    # -- calls -------------------------------------------------------------------------------

    async def _join(self, link: Link, watcher: Watcher, call: SubscribeJobs) -> Subscribed:
        await self._watchers.follow(link, watcher, call.room, await self._room(watcher, call))
        return Subscribed(success=True, room=call.room, message=f"Subscribed to {call.room}")

    def _leave(self, link: Link, watcher: Watcher, call: SubscribeJobs) -> Subscribed:
        self._watchers.unfollow(link, watcher, call.room)
        return Subscribed(success=True, room=call.room, message=f"Unsubscribed from {call.room}")

    async def _room(self, watcher: Watcher, call: SubscribeJobs) -> str:
        """The room that is meant, if this watcher may follow it."""
        principal = watcher.principal
        if call.job_id is not None:
            await self._watchers.own(watcher, call.job_id)
            return job_room(call.job_id)
        if call.user_id is not None:
            if "\x00" in call.user_id or not (watcher.sees_all or call.user_id == principal.user_id):
                raise NotFound("not found")
            return user_room(call.user_id)
        return ALL_JOBS if watcher.sees_all else user_room(principal.user_id or "")

    async def _place(self, watcher: Watcher, name: str) -> str:
        """The room of one that says that it followed this before."""
        return await self._room(watcher, _named(name))

    async def _history(self, watcher: Watcher, call: History) -> list[Push]:
        await self._watchers.own(watcher, call.job_id)
        async with self._watchers.turn(watcher):
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
        elif said.token or self.anonymous is None:
            raise Unauthenticated(INVALID if said.token else "Authentication required")
        else:
            tenant_id = await self._services.known_tenant_id(self.anonymous)
            principal = Principal(tenant_id, self.anonymous, frozenset(("watch",)))
        principal.require("watch")
        return principal


def _named(name: str) -> SubscribeJobs:
    kind, _, rest = name.partition(":")
    if kind == "job":
        return SubscribeJobs(job_id=UUID(rest))
    if kind == "user" and 1 <= len(rest) <= 500:
        return SubscribeJobs(user_id=rest)
    if name == "all-jobs":
        return SubscribeJobs()
    raise ValueError("no room of ours")
