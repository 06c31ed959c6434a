"""What a job type needs of the application it declares itself on, and how it comes to the database of a `connectionId`.

Always true: whatever is wrong with a connection and stays wrong ends the job at once (`Fail`); what time may mend is retried.
Called by: every job type.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from trunkline.connections import Connection, Connections, resolve
from trunkline.engine import Job, Prompts
from trunkline.errors import InvalidInput, InvalidSetting, MustEncrypt, NotFound
from trunkline.model import Fail
from trunkline.settings import Settings

Opening = Callable[[int, str], Awaitable[Connection]]


class Application(Protocol):
    """The part of an application that a job type needs."""

    settings: Settings
    connections: Connections
    prompts: Prompts

    @property
    def store(self) -> Any:
        """Its `trunkline.store.Store`; asked for when a job runs, not when it is declared."""

    async def tenant_id(self, name: str | None) -> int:
        """The id of a tenant by name; None: the default tenant."""
        ...

    def job(self, *args: Any, **kwargs: Any) -> Callable[[Callable[..., Any]], Any]:
        """Declare a handler: the kind, then its policy by name."""


async def from_environment(tenant_id: int, connection_id: str) -> Connection:
    """A connection that only the environment names."""
    return resolve(connection_id)


async def opened(opening: Opening, job: Job, connection_id: str, *, crm: bool = False) -> Connection:
    """The database of a job's `connectionId`; with `crm`, the CRM.

    Raises:
        Fail: it is unknown, refused, unreadable or of the other sort: a person must mend it.
        ConnectionFailed: its host could not be found this time.
    """
    try:
        found = await opening(job.tenant_id, connection_id)
    except (InvalidInput, InvalidSetting, MustEncrypt, NotFound) as error:
        raise Fail(str(error)) from None
    if (found.dialect == "bitrix24") is not crm:
        raise Fail(f"{found} is {'no CRM' if crm else 'a CRM and no database'}. Give the id of another connection.")
    return found
