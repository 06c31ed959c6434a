"""What a command is given: who asks, and what it may use. And the one rule for names that belong to jobs of a tenant."""

from __future__ import annotations

from dataclasses import dataclass, field

from trunkline.auth import Principal
from trunkline.errors import NotFound
from trunkline.gateway.connection import Connection
from trunkline.gateway.dispatcher import Dispatcher
from trunkline.gateway.services import Services
from trunkline.model import JobView, kind_name


@dataclass(slots=True)
class Asked:
    """One connection's way to everything; `reserved` are kinds that a plain customer token may not send."""

    connection: Connection
    services: Services
    dispatcher: Dispatcher
    reserved: frozenset[str] = frozenset()
    sizes: dict[tuple[int, str, str], tuple[float, int]] = field(default_factory=dict)  # shared: queue sizes as counted lately

    @property
    def principal(self) -> Principal:
        """Who asks."""
        return self.connection.principal

    async def job(self, name: str, job_id: object) -> JobView:
        """The tenant's job of that name and id.

        Raises:
            NotFound: it is not there, is another tenant's, or has another name; all read the same.
        """
        found = await self.services.get(str(job_id), tenant=self.principal.tenant)
        if kind_name(name) not in (found.queue, found.kind):
            raise NotFound(f"job {job_id}: this tenant has no such job. Ids end with their job when its retention is over.")
        return found
