"""What the clients of a tenant are told about its jobs, whoever runs them: local workers, this gateway's or another's.

Always true: an event goes to connections of its own tenant and to no other; to those that want events only. A tenant without such a
connection is not watched, so its jobs leave no events. They come from committed moves (realtime.Stream); there is no other way. Where
events may have been missed, the connections that want them are closed, so that their clients know.
Called by: gateway.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog
from msgspec import UNSET, Raw

from trunkline.errors import TrunklineError
from trunkline.gateway.connection import Connection
from trunkline.gateway.said import Said
from trunkline.realtime import Event, Stream
from trunkline.wire import Push
from trunkline.wire.pushes import BatchCompleted, CancelledPush, Completed, FailedPush, Progress, Started

LAPSED = "events could not be read for too long, and some may be missing: connect again"
log = structlog.get_logger("trunkline.gateway")


class Audience:
    """Connections by tenant. Between `start` and `stop` they hear what the stream tells."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._by_tenant: dict[int, dict[Connection, Callable[[], None]]] = defaultdict(dict)
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin to tell."""
        self._unsubscribe = self._stream.subscribe(self._hear, paced=True, lapsed=self._lapsed)

    def stop(self) -> None:
        """Tell nothing more."""
        self._unsubscribe()
        for connections in list(self._by_tenant.values()):
            for connection in list(connections):
                self.leave(connection)

    async def join(self, connection: Connection) -> None:
        """Tell it what happens in its tenant from now on, if it wants to hear and may: who only works learns about its own jobs only."""
        if not connection.wants_events or not (connection.principal.may("watch") or connection.principal.may("send")):
            return
        tenant_id = connection.principal.tenant_id
        self._by_tenant[tenant_id][connection] = self._stream.watch(tenant_id)
        try:
            await self._stream.ready(tenant_id)
        except TrunklineError as error:
            log.warning("gateway.events_not_ready", error=str(error))  # it hears them as soon as they can be read

    def leave(self, connection: Connection) -> None:
        """Tell it nothing more. Twice is once."""
        tenant_id = connection.principal.tenant_id
        if (unwatch := self._by_tenant[tenant_id].pop(connection, None)) is not None:
            unwatch()
        if not self._by_tenant[tenant_id]:
            del self._by_tenant[tenant_id]

    def _hear(self, burst: Sequence[Event]) -> None:
        connections = self._by_tenant.get(burst[0].tenant_id)
        if connections:
            heard = [Said(push) for event in burst if event.pace != "held" and (push := _told(event)) is not None]
            for connection in tuple(connections):
                if connection.is_let_in:
                    for said in heard:
                        connection.peer.hear(said)

    def _lapsed(self, tenant_id: int) -> None:
        for connection in tuple(self._by_tenant.get(tenant_id, ())):
            connection.peer.close(LAPSED)


def _told(event: Event) -> Push | None:
    """An event that cannot be put into words must not keep back those beside it."""
    try:
        return push_of(event)
    except Exception:
        log.exception("gateway.event_not_told", what=event.what, job_id=str(event.job_id))
        return None


def push_of(event: Event) -> Push | None:
    """An event in the words of this dialect; None: it has none for it."""
    if event.batch_id is not None:
        return BatchCompleted(batch_id=event.batch_id, **msgspec.json.decode(event.data))
    if event.job_id is None or event.queue is None:
        return None
    job_id, name = event.job_id, event.queue
    if event.what == "progress":
        return _progress(name, event)
    if event.is_said:
        return None
    if event.what == "started":
        return Started(job_name=name, job_id=job_id, started_at=event.at)
    if event.what == "completed":
        return Completed(job_name=name, job_id=job_id, result=Raw(event.data), completed_at=event.at)
    if event.what == "cancelled":
        return CancelledPush(job_id=job_id, cancelled_at=event.at)
    if event.what in ("retrying", "failed"):
        return FailedPush(job_name=name, job_id=job_id, error=_error(event.data), failed_at=event.at, will_retry=event.what == "retrying")
    return None


def _progress(name: str, event: Event) -> Push | None:
    said = _read(event.data)
    if event.job_id is None or not isinstance(said, dict) or not isinstance(said.get("percentage"), int | float):
        return None  # written from SQL, in a form of its own
    data = Raw(msgspec.json.encode(said["data"])) if "data" in said else UNSET
    message = said["message"] if isinstance(said.get("message"), str) else UNSET
    return Progress(job_name=name, job_id=event.job_id, progress=said["percentage"], message=message, data=data)


def _error(data: bytes) -> Raw:
    """The message of an error, as JSON text; what is no error of ours as it is."""
    said = _read(data)
    return Raw(msgspec.json.encode(said["message"])) if isinstance(said, dict) and isinstance(said.get("message"), str) else Raw(data)


def _read(data: bytes) -> Any:
    """JSON that came from SQL may hold what no reader takes, a number past every range for one: None."""
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        return None
