"""What the clients of a tenant are told about jobs that remote workers run.

Always true: an event goes to connections of its own tenant and to no other; to those that want events only.
This process's connections hear of this process's jobs. The room `realtime` takes over `Tell` and carries them between processes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime

from msgspec import Raw

from trunkline.gateway.connection import Connection, Held
from trunkline.gateway.said import Said
from trunkline.wire import Push
from trunkline.wire.pushes import CancelledPush, Completed, FailedPush

Tell = Callable[[int, Push], None]  # (tenant, event)


class Audience:
    """Connections by tenant."""

    def __init__(self) -> None:
        self._by_tenant: dict[int, set[Connection]] = defaultdict(set)

    def join(self, connection: Connection) -> None:
        """Tell it what happens in its tenant, if it wants to hear and may: who only works learns about its own jobs only."""
        if connection.wants_events and (connection.principal.may("watch") or connection.principal.may("send")):
            self._by_tenant[connection.principal.tenant_id].add(connection)

    def leave(self, connection: Connection) -> None:
        """Tell it nothing more."""
        tenant_id = connection.principal.tenant_id
        self._by_tenant[tenant_id].discard(connection)
        if not self._by_tenant[tenant_id]:
            del self._by_tenant[tenant_id]

    def tell(self, tenant_id: int, push: Push) -> None:
        """An event to all of a tenant."""
        said = Said(push)
        for connection in tuple(self._by_tenant.get(tenant_id, ())):
            connection.peer.hear(said)


def ending_event(held: Held, ending: str | None, what: str, said: str | None, at: datetime) -> Push | None:
    """The event of an attempt that ended; None where nobody needs to hear: handed back, put off, or no longer ours."""
    job_id, name = held.job.id, held.job.queue
    if what == "completed":
        return Completed(job_name=name, job_id=job_id, result=Raw((said or "null").encode()), completed_at=at)
    if what == "cancelled":
        return CancelledPush(job_id=job_id, cancelled_at=at)
    if what == "lost" or ending in ("released", "retry_after"):
        return None
    return FailedPush(job_name=name, job_id=job_id, error=Raw((said or "null").encode()), failed_at=at, will_retry=what != "failed")
