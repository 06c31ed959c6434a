"""What a command is given: who asks, and what it may use. And the one rule for names that belong to jobs of a tenant."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from trunkline.auth import Principal
from trunkline.engine import Act
from trunkline.errors import Forbidden, NotFound
from trunkline.gateway.connection import Connection
from trunkline.gateway.dispatcher import Dispatcher
from trunkline.gateway.services import Services
from trunkline.gateway.waits import BatchWaits
from trunkline.model import JobView, kind_name
from trunkline.wire import job_options
from trunkline.wire.calls import JobOptions


@dataclass(slots=True)
class Asked:
    """One connection's way to everything; `reserved` are kinds that a plain customer token may not send."""

    connection: Connection
    services: Services
    dispatcher: Dispatcher
    waits: BatchWaits
    reserved: frozenset[str] = frozenset()
    sizes: dict[tuple[int, str, str], tuple[float, int]] = field(default_factory=dict)  # shared: queue sizes as counted lately

    @property
    def principal(self) -> Principal:
        """Who asks."""
        return self.connection.principal

    def acting(self) -> AbstractAsyncContextManager[Act]:
        """One transaction in the principal's name: what is done in it is noted in the audit log."""
        return self.services.acting(self.principal.actor("socket", self.connection.address))

    def options(self, name: str, options: JobOptions | None) -> dict[str, Any]:
        """What model.new_job is told about a job that is sent here; every call that sends comes through this.

        Raises:
            Forbidden: the kind, or a user's name, is not for this principal.
            InvalidInput: an option cannot be read.
        """
        principal, kind = self.principal, kind_name(name)
        if kind in self.reserved and principal.user_id is None and not principal.is_admin:
            raise Forbidden(f"jobs of kind {kind!r} are for users and for the scope 'admin'. Ask with such a token.")
        if options is not None and options.user_id is not None and not principal.is_admin:
            raise Forbidden("options.userId needs the scope 'admin'. Leave it out, or ask with such a token.")
        return {"user_id": principal.user_id, **job_options(options)}

    async def job(self, name: str | None, job_id: object) -> JobView:
        """The tenant's job of that name and id; name None: of that id.

        Raises:
            NotFound: it is not there, is another tenant's, or has another name; all read the same.
        """
        found = await self.services.get(str(job_id), tenant=self.principal.tenant)
        if name is not None and kind_name(name) not in (found.queue, found.kind):
            raise NotFound(f"job {job_id}: this tenant has no such job. Ids end with their job when its retention is over.")
        return found
