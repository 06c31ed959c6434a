"""One client as every transport presents it: who it is, which lines it works on, which jobs it holds.

Always true: `held` has the jobs that this connection was given and has not reported; a seat never holds more than its capacity.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from trunkline.auth import Principal
from trunkline.engine import Job
from trunkline.gateway.said import Said
from trunkline.wire import Push


class Peer(Protocol):
    """The transport's end of a connection. No method blocks or raises: what cannot be sent closes the connection."""

    @property
    def has_room(self) -> bool:
        """Whether it takes more work; False while the client reads slower than it is sent to."""
        ...

    def push(self, push: Push) -> None:
        """Send an event."""
        ...

    def hear(self, said: Said) -> None:
        """Send an event that others are sent, too: it is encoded once."""
        ...

    def close(self, reason: str) -> None:
        """Say why, if that can be said, and disconnect. Twice is once."""
        ...


@dataclass(slots=True, eq=False)
class Held:
    """A job with a connection. `seat` None: it was resumed, or its worker unregistered, and takes up nobody's capacity."""

    job: Job
    connection: Connection
    seat: Seat | None
    name: str  # as the worker spells it
    is_started: bool = False
    cancel_at: float | None = None  # monotonic: then the attempt ends, whatever its handler does


@dataclass(slots=True, eq=False)
class Seat:
    """A worker's place at a line."""

    connection: Connection
    queue_id: int
    queue: str
    name: str
    capacity: int
    turn: int = 0  # when it was given a job last; who waits longest comes first among equals
    held: set[Held] = field(default_factory=set)

    @property
    def free(self) -> int:
        """How many more jobs it takes now."""
        return max(self.capacity - len(self.held), 0) if self.connection.peer.has_room else 0


@dataclass(slots=True, eq=False)
class Connection:
    """A client that was let in.

    Attributes:
        id: `<session>.<secret>`: which gateway it is connected to, and what cannot be guessed; with the same token it resumes.
        address: where it comes from, for the audit log; None: nobody knows.
        wants_events: whether it is told what happens in its tenant.
        is_let_in: whether it was told so; nothing is said to it before.
    """

    id: str
    principal: Principal
    peer: Peer
    wants_events: bool = True
    address: str | None = None
    is_let_in: bool = False
    is_open: bool = True
    is_cut: bool = False  # its token is over: not even the calls under way are answered
    seats: dict[str, Seat] = field(default_factory=dict)  # by queue name
    held: dict[UUID, Held] = field(default_factory=dict)
    unwatch: Callable[[], None] = lambda: None
    waits: set[asyncio.Future[None]] = field(default_factory=set)  # calls that wait for batches; each ends with the connection

    def is_same_client(self, other: Connection) -> bool:
        """Whether both came with the same token."""
        mine, theirs = self.principal, other.principal
        return (mine.tenant_id, mine.token_id, mine.user_id) == (theirs.tenant_id, theirs.token_id, theirs.user_id)
