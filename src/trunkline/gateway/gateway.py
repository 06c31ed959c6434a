"""The gateway: lets clients in, answers their calls, works with remote workers. Knows no transport.

A transport makes a `Peer` for each socket and calls `admit` once, `answer` for each call, `leave` at the end.
Always true: nobody without a live token is answered anything; what a client may see and do follows from its principal; a token
that is over cuts its sockets; no call raises, whatever it carries.
Called by: app, gateway.raw. Calls: dispatcher, commands, auth.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Any
from weakref import WeakValueDictionary

import structlog
from msgspec import Raw, Struct

from trunkline.auth import Customers, Principal, Revocations
from trunkline.engine import RemoteWork
from trunkline.errors import RateLimited, TrunklineError, Unauthenticated, UnknownCall
from trunkline.gateway.commands import COMMANDS, Asked
from trunkline.gateway.connection import Connection, Peer
from trunkline.gateway.dispatcher import GRACE_S, Dispatcher
from trunkline.gateway.events import LAPSED, Audience
from trunkline.gateway.resumption import Resumption
from trunkline.gateway.services import Services
from trunkline.gateway.waits import BatchWaits
from trunkline.realtime import Stream
from trunkline.wire import Handshake, Refusal, decode_call
from trunkline.wire.pushes import ClientReady

MOST_CONNECTIONS = 10_000  # of one process
MOST_OF_TENANT = 5_000  # ... of one tenant, so that another always gets in
ONE_BY_ONE = frozenset(  # each takes a database connection for itself ...
    ("get_job", "cancel_job", "get_queue_size", "send_batch", "schedule_job", "unschedule_job", "list_schedules")
)
MOST_AT_ONCE = 3  # ... and one tenant may have so many of them; all other calls share statements
INVALID = "Invalid authentication token"
GOING = "the gateway is shutting down"
COMES_BACK = frozenset((GOING, LAPSED))  # reasons after which a client is to connect again
log = structlog.get_logger("trunkline.gateway")
Subscribe = Callable[[Callable[[str, list[str]], None]], Callable[[], None]]


@dataclass(frozen=True, slots=True)
class GatewayStopped:
    """What a shutdown did: jobs handed back unstarted, still with workers at its end, and reports that could not be written."""

    released: int
    left: int
    unflushed: int


class Gateway:
    """One per process."""

    def __init__(
        self,
        services: Services,
        customers: Customers,
        revocations: Revocations,
        remote: RemoteWork,
        subscribe: Subscribe,
        stream: Stream,
        *,
        reserved: frozenset[str] = frozenset(),
        grace_s: float = GRACE_S,
    ) -> None:
        self._services, self._customers, self._revocations = services, customers, revocations
        self._remote, self._subscribe = remote, subscribe
        self._reserved = reserved
        self.audience = Audience(stream)
        self.dispatcher = Dispatcher(remote, grace_s=grace_s)
        self._in: dict[str, Connection] = {}
        self._resumption = Resumption(remote, self.dispatcher, self._replaced)
        self._of_tenant: Counter[int] = Counter()
        self._turns: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()  # of tenants with such a call under way
        self._waits = BatchWaits(services, self._turn)
        self._sizes: dict[tuple[int, str, str], tuple[float, int]] = {}
        self._tasks: list[asyncio.Task[Any]] = []
        self._unsubscribe: list[Callable[[], None]] = []
        self._is_draining = False
        self.counted: Callable[[int], None] = lambda _: None  # a tenant has more or fewer clients

    async def start(self) -> None:
        """Open the session, begin to claim and to listen for revocations."""
        self._unsubscribe = [self._subscribe(self._customers.heard), self._subscribe(self._revocations.heard)]
        self._unsubscribe.append(self._subscribe(self._resumption.heard))
        self.audience.start()
        await self._remote.start(self.dispatcher)
        self._tasks = [asyncio.create_task(loop) for loop in (self.dispatcher.watch(), self._customers.run(), self._revocations.run())]

    async def stop(self, timeout_s: float) -> GatewayStopped:
        """Claim no more, hand back what nobody started, let workers report for `timeout_s`, close every socket. Twice is once."""
        if not self._tasks:
            return GatewayStopped(0, 0, 0)
        self._is_draining = True
        self._remote.stop_claiming()
        released = self.dispatcher.drain()
        ends_at = asyncio.get_running_loop().time() + timeout_s
        while self.dispatcher.is_busy and asyncio.get_running_loop().time() < ends_at:  # noqa: ASYNC110 - reports come in by themselves
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)  # the last answers are on their way
        left = self.dispatcher.running
        for connection in list(self._in.values()):
            connection.peer.close(GOING)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self.audience.stop()
        unflushed = await self._remote.stop()
        await self._customers.note_used()
        log.info("gateway.stopped", released=released, left=left, unflushed=unflushed)
        return GatewayStopped(released, left, unflushed)

    @property
    def connections(self) -> int:
        """Clients that are in."""
        return len(self._in)

    def clients(self, tenant_id: int) -> int:
        """Those of a tenant."""
        return self._of_tenant.get(tenant_id, 0)

    @property
    def session_id(self) -> int:
        """The session that remote workers' leases belong to."""
        return self._remote.session_id

    # -- what a transport calls ---------------------------------------------------------

    async def admit(self, handshake: Handshake, peer: Peer, *, address: str | None = None) -> Connection:
        """Let a client in, from `address`; it is told `client_ready`.

        Raises:
            Unauthenticated: without a token, or with one that is not live.
            RateLimited: too many are in.
        """
        if not handshake.customer_token:
            raise Unauthenticated("Authentication required")
        principal = await self._customers.principal(handshake.customer_token)
        if self._is_draining or len(self._in) >= MOST_CONNECTIONS or self._of_tenant[principal.tenant_id] >= MOST_OF_TENANT:
            raise RateLimited("this gateway takes no more connections now. Connect again later, or to another one.")
        name = f"{self._remote.session_id}.{token_urlsafe(18)}"
        connection = Connection(name, principal, peer, wants_events=handshake.events, address=address)
        self._in[connection.id] = connection
        self._of_tenant[principal.tenant_id] += 1
        self.counted(principal.tenant_id)
        connection.unwatch = self._revocations.watch(principal, lambda: self._cut(connection))
        try:
            if handshake.resume is not None:
                await self._resumption.resume(handshake.resume, connection)
            await self.audience.join(connection)
        except BaseException:
            self.leave(connection)
            raise
        if not connection.is_open:  # its token ended meanwhile
            self.audience.leave(connection)
            raise Unauthenticated(INVALID)
        peer.push(ClientReady(id=connection.id, customer_id=principal.tenant))
        connection.is_let_in = True
        return connection

    async def answer(self, connection: Connection, name: str, data: Raw) -> Struct:
        """What a call is answered; it is carried out also where its client has just gone. `data` was checked (wire.checked)."""
        try:
            if connection.is_cut:
                raise Unauthenticated(INVALID)
            call = decode_call(name, data, is_checked=True)
            if isinstance(call, Refusal):
                return call
            if (command := COMMANDS.get(name)) is None:
                raise UnknownCall(f"{name} is not served by this version.")
            connection.principal.require(*call.scopes)
            asked = Asked(connection, self._services, self.dispatcher, self._waits, self._reserved, self._sizes)
            if name not in ONE_BY_ONE:
                return await command(asked, call)
            async with self._turn(connection.principal):
                return await command(asked, call)
        except TrunklineError as error:
            return Refusal.of(error)
        except Exception as error:
            log.exception("gateway.call_failed", call=name)
            return Refusal.of(error)

    def _turn(self, principal: Principal) -> asyncio.Semaphore:
        return self._turns.setdefault(principal.tenant_id, asyncio.Semaphore(MOST_AT_ONCE))

    def leave(self, connection: Connection) -> None:
        """Its socket is gone. Twice is once."""
        if self._in.pop(connection.id, None) is None:
            return
        tenant_id = connection.principal.tenant_id
        self._of_tenant[tenant_id] -= 1
        if not self._of_tenant[tenant_id]:
            del self._of_tenant[tenant_id]
        self.counted(tenant_id)
        connection.unwatch()
        self._waits.leave(connection)
        self.audience.leave(connection)
        self.dispatcher.disconnected(connection)

    def peer_has_room(self) -> None:
        """A client that read too slowly has caught up."""
        self._remote.freed()

    def _cut(self, connection: Connection) -> None:
        connection.is_cut = True
        connection.peer.close(INVALID)
        self.leave(connection)

    def _replaced(self, old_id: str, is_same: Callable[[Connection], bool]) -> None:
        """A socket may be dead without our knowing: whoever comes back with its id and token takes its place."""
        old = self._in.get(old_id)
        if old is not None and is_same(old):
            old.peer.close("this client came back on another connection")
            self.leave(old)
