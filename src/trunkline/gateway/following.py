"""The user dialect: path `/socket.io`, default namespace; a person says who it is and follows own jobs, one by one.

Always true: the namespace lets everybody in, as clients of old expect it, and answers nothing until it is known who this is; then
it says `authenticated`, or `unauthorized` and disconnects, as it does to whoever says nothing within `hello_within_s`, and to whom a
token is over for. A user follows own jobs, an administrator the tenant's; any other is "not found". What is said of one job, and
what comes after `authenticate`, is carried out in the order in which it came.
Called by: gateway.server. Calls: watchers, auth.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID
from weakref import WeakValueDictionary

from msgspec import Raw, Struct

from trunkline.auth import Principal
from trunkline.errors import Forbidden, TrunklineError, Unauthenticated
from trunkline.gateway.gateway import INVALID
from trunkline.gateway.socketio.link import Link
from trunkline.gateway.socketio.packets import Parcel, event
from trunkline.gateway.socketio.sockets import TOO_SLOW
from trunkline.gateway.statuses import NAMESPACE, parcel_of, standing
from trunkline.gateway.watcher import Watcher
from trunkline.gateway.watchers import Watchers
from trunkline.realtime import inbox_room, job_room
from trunkline.wire import Refusal, decode_follow, decode_handshake
from trunkline.wire.following import Authenticate, Authenticated, Follows, Identified, SubscribeJob, Unauthorized, UnsubscribeJob

HELLO_WITHIN_S = 10.0
OTHERS = "this connection is of somebody else, or with other rights. Open one for each user."
Users = Callable[[object], Awaitable[Principal]]


@dataclass(slots=True, eq=False)
class _Turns:
    """The order of what one client asked.

    Attributes:
        says_who: held while it is looked at who this is.
        of_jobs: locks of jobs with a call under way.
        cut: ends it while it is not known who this is.
    """

    says_who: asyncio.Lock = field(default_factory=asyncio.Lock)
    of_jobs: WeakValueDictionary[UUID, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    cut: asyncio.TimerHandle | None = None

    def of(self, job_id: UUID) -> asyncio.Lock:
        return self.of_jobs.setdefault(job_id, asyncio.Lock())


class UserDialect:
    """Users that follow their jobs."""

    def __init__(self, watchers: Watchers, users: Users, *, hello_within_s: float = HELLO_WITHIN_S) -> None:
        self._watchers, self._users, self.hello_within_s = watchers, users, hello_within_s
        self._turns: dict[Link, _Turns] = {}

    # -- what Socket.IO says ----------------------------------------------------------------

    async def enter(self, link: Link, auth: str | None) -> None:
        """Let a client in; one that brought its token is known at once, and may recover."""
        turns = self._turns[link] = _Turns()
        said = decode_handshake(auth if auth is not None else "{}")
        if not isinstance(said, Refusal) and said.token is None:
            link.accept()
            turns.cut = asyncio.get_running_loop().call_later(
                self.hello_within_s, _turn_away, link, f"say authenticate {{token}} within {self.hello_within_s:g} s."
            )
            return
        try:
            principal = await self._principal(None if isinstance(said, Refusal) else said.token)
            watcher = self._admitted(link, principal)
        except (Unauthenticated, Forbidden) as error:
            link.accept()
            _turn_away(link, str(error))
        except TrunklineError as error:  # later
            link.socket.leave(TOO_SLOW, str(error)[:100])
        else:
            if watcher is not None:
                await self._watchers.connect(link, watcher, auth, self._place, _greeting(principal))

    async def answer(self, link: Link, name: str, data: Raw) -> Struct | None:
        """Carry out one call; None while it is not known who asks."""
        call, turns = decode_follow(name, data, is_checked=True), self._turns.get(link)
        if turns is None:
            return None
        async with turns.says_who:
            if name == Authenticate.call:
                return await self._authenticate(link, turns, call.token if isinstance(call, Authenticate) else None)
        watcher: Watcher | None = link.state
        if watcher is None:
            return None
        if isinstance(call, Refusal):
            return call
        assert isinstance(call, SubscribeJob)
        try:
            async with turns.of(call.job_id):
                if isinstance(call, UnsubscribeJob):
                    self._watchers.unfollow(link, watcher, job_room(call.job_id))
                else:
                    await self._watchers.follow_job(link, watcher, call.job_id, standing)
        except TrunklineError as error:
            return Refusal.of(error)
        return Follows(job_id=call.job_id)

    def drained(self, link: Link) -> None:
        """It reads again: its events waited for it by themselves."""

    def left(self, link: Link) -> None:
        """It is gone."""
        turns = self._turns.pop(link, None)
        if turns is not None and turns.cut is not None:
            turns.cut.cancel()
        self._watchers.left(link)

    # -- who it is ---------------------------------------------------------------------------

    async def _authenticate(self, link: Link, turns: _Turns, token: str | None) -> Struct | None:
        """Know a client, or turn it away; what is refused is told, not answered."""
        try:
            principal = await self._principal(token)
            watcher: Watcher | None = link.state
            if watcher is None:
                if (watcher := self._admitted(link, principal)) is None:
                    return None
                if turns.cut is not None:
                    turns.cut.cancel()
                await self._watchers.settled(link, watcher)
            else:
                self._watchers.renew(link, watcher, _same(watcher.principal, principal), _over)
        except (Unauthenticated, Forbidden) as error:
            _turn_away(link, str(error))
            return None
        except TrunklineError as error:  # later
            link.socket.leave(TOO_SLOW, str(error)[:100])
            return None
        self._watchers.greet(link, watcher, _greeting(principal))
        return Identified(user_id=principal.user_id or "")

    async def _principal(self, token: str | None) -> Principal:
        principal = await self._users(token)
        principal.require("watch")
        return principal

    def _admitted(self, link: Link, principal: Principal) -> Watcher | None:
        """Let in; None where it has gone meanwhile."""
        return self._watchers.admit(link, principal, parcel_of, _over, inbox_room(principal.user_id or "")) if link.is_open else None

    async def _place(self, watcher: Watcher, name: str) -> str:
        """The room of one that says that it followed this before."""
        kind, _, rest = name.partition(":")
        if kind != "job":
            raise ValueError("no room of ours")
        job = await self._watchers.own(watcher, UUID(rest))
        return job_room(job.id)


def _greeting(principal: Principal) -> Callable[..., Parcel]:
    said = Authenticated(user_id=principal.user_id or "")
    return lambda *end: event(NAMESPACE, said.event, said, *end)


def _same(before: Principal, now: Principal) -> Principal:
    """The one who came again; what it follows was granted to the rights that it had."""
    if (before.tenant_id, before.user_id, before.scopes) != (now.tenant_id, now.user_id, now.scopes):
        raise Forbidden(OTHERS)
    return now


def _over(link: Link) -> None:
    _turn_away(link, INVALID)


def _turn_away(link: Link, message: str) -> None:
    said = Unauthorized(message=message)
    link.socket.failed("refused")
    link.tell(said.event, said)
    link.disconnect()
