"""A client in one namespace, and what a dialect makes of it.

Always true: nothing is sent through a link that has ended; a dialect hears `left` once for each link that it was given.
Called by: server, dialects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec import Raw, Struct

from trunkline.gateway.addresses import Visit
from trunkline.gateway.socketio import packets
from trunkline.gateway.socketio.mailbox import Mailbox


class Session(Protocol):
    """The socket that a link is part of."""

    visit: Visit
    queue: Mailbox

    def post(self, parcel: packets.Parcel) -> None:
        """Send it."""
        ...

    def leave(self, code: int, said: str) -> None:
        """End the session once what waits is sent."""
        ...

    def failed(self, reason: str) -> None:
        """Count that it did not go well."""
        ...


class Dialect(Protocol):
    """The calls and events of one namespace."""

    async def enter(self, link: Link, auth: str | None) -> None:
        """A client asks for the namespace, with `auth` as JSON text that nobody has checked. Accept or refuse it; then greet it."""
        ...

    async def answer(self, link: Link, name: str, data: Raw) -> Struct | Sequence[Struct] | None:
        """What a call is answered; None: nothing at all. `data` was checked. Raises nothing."""
        ...

    def drained(self, link: Link) -> None:
        """It reads again after it was slow."""
        ...

    def left(self, link: Link) -> None:
        """It is gone."""
        ...


class Link:
    """One client in one namespace. `state` is the dialect's own."""

    def __init__(self, socket: Session, sid: str, namespace: str, dialect: Dialect, ended: Callable[[Link], None]) -> None:
        self.socket, self.sid, self.namespace, self.dialect = socket, sid, namespace, dialect
        self.state: Any = None
        self.is_open = True
        self._ended = ended

    @property
    def has_room(self) -> bool:
        """Whether its client reads as fast as it is sent to."""
        return self.is_open and self.socket.queue.has_room

    @property
    def address(self) -> str:
        """Where its client comes from."""
        return self.socket.visit.client

    def accept(self, **fields: Any) -> None:
        """Let it in; once it is, its address has one unknown socket less."""
        self.post(packets.control(packets.CONNECT, self.namespace, {"sid": self.sid, **fields}))

    def known(self) -> None:
        """Its client said who it is."""
        self.socket.visit.known()

    def refuse(self, sentence: str, code: str) -> None:
        """Do not let it in; a stock client hears `connect_error` and does not come back by itself."""
        self.socket.failed("refused")
        self.post(packets.control(packets.CONNECT_ERROR, self.namespace, {"message": sentence, "data": {"code": code}}))
        self.end()

    def tell(self, name: str, data: Struct | Raw | str, *more: str) -> None:
        """An event."""
        self.post(packets.event(self.namespace, name, data, *more))

    def post(self, parcel: packets.Parcel) -> None:
        """An event that was encoded before."""
        if self.is_open:
            self.socket.post(parcel)

    def disconnect(self) -> None:
        """Out of the namespace, for good: a stock client does not come back by itself."""
        self.post(packets.control(packets.DISCONNECT, self.namespace))
        self.end()

    def end(self) -> None:
        """Its client has left the namespace. The last one ends the session. Twice is once."""
        if self.is_open:
            self.is_open = False
            self._ended(self)

    def drained(self) -> None:
        """Its client reads again."""
        self.dialect.drained(self)
