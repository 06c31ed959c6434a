"""`app.connections`: databases that tenants register, and what is done with one by its id.

Always true: a URL is stored sealed and never without a key; it is tested before it is stored; where it leads is checked each time
it is opened (connections.guard); a connection is known in its own tenant only; one rebuild of a connection is in line or running at
a time, and whoever asks meanwhile is given that one.
What the environment names (TRUNKLINE_CONNECTION_<NAME>) is the operator's: it serves the default tenant, unchecked.
Called by: app, jobtypes, cli.
"""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from trunkline.connections.cache import SchemaCache
from trunkline.connections.difference import difference
from trunkline.connections.guard import Guard
from trunkline.connections.probe import probe
from trunkline.connections.registry import Connection, checked_url, resolve
from trunkline.errors import InvalidInput, InvalidSetting, MustEncrypt, NotFound
from trunkline.model import checked_name
from trunkline.model.job import new_id
from trunkline.model.payload import decode
from trunkline.settings import Settings
from trunkline.store import Store, connection_schemas, connections
from trunkline.store.connection_schemas import ConnectionSchema
from trunkline.store.connections import ConnectionView, Stored

KIND, SEALED_AS = "schema-rebuild", "connection"
LONGEST_URL, LONGEST_NAME = 4000, 100
NO_KEYS = "the URL of a connection is stored encrypted, and TRUNKLINE_ENCRYPTION_KEYS is not set. Make a key: trunkline keys generate"


class Sealer(Protocol):
    """What encrypts URLs; `engine.vault.Vault` is one."""

    def seal(self, tenant_id: int, kind: str, job_id: UUID | None, what: Any, text: str) -> str:
        """Sealed JSON text that opens in this tenant and for this id only."""
        ...

    def open(self, tenant_id: int, kind: str, job_ids: Sequence[UUID], what: Any, sealed: str) -> str:
        """The text that was sealed."""
        ...


class Holder(Protocol):
    """The application as this service sees it."""

    settings: Settings

    async def open(self) -> Store:
        """The store, connected on first use."""
        ...

    async def tenant_id(self, name: str | None) -> int:
        """The id of a tenant by name; None: the default tenant."""
        ...

    async def known_tenant_id(self, name: str | None) -> int:
        """The same for those who only ask."""
        ...

    async def noted(self, tenant_id: int, act: str, subjects: str, **detail: Any) -> None:
        """Add to the audit log, within an act in somebody's name."""
        ...

    async def enqueue_checked(self, kind: str, payload: Any, *, tenant: str | None = None, **options: Any) -> Any:
        """Put one job in; (id, created)."""
        ...


class Rebuild(NamedTuple):
    """`created` is False where a rebuild of this connection was in line or running already; `job_id` is then that one's."""

    job_id: UUID
    created: bool


class Tested(NamedTuple):
    """A URL that was opened; `server`: what answered there."""

    connection: Connection
    server: str


class Connections:
    """Register, look at, rebuild and delete connections. Every method takes `tenant` by name; None: the default one."""

    def __init__(self, app: Holder, sealer: Sealer | None, is_development: Callable[[], bool]) -> None:
        self._app = app
        self._sealer = sealer
        self._is_development = is_development

    def within(self, holder: Holder) -> Connections:
        """The same for another holder, whose store may be a transaction."""
        return Connections(holder, self._sealer, self._is_development)

    async def create(self, url: str, *, name: str, tenant: str | None = None, user_id: str | None = None) -> ConnectionView:
        """Test a URL and register it.

        Args:
            name: 1..100 characters, unique in the tenant.
            user_id: who registers it.
        Raises:
            MustEncrypt: there is no key. HostRefused: it leads where it must not. InvalidInput: it is no URL we accept, or the name
                is taken. ConnectionUnusable, ConnectionFailed: as `probe` says. Nothing was stored.
        """
        return await self.keep(await self.tested(url, name=name), tenant=tenant, user_id=user_id)

    async def tested(self, url: str, *, name: str) -> Tested:
        """The first half of `create`: nothing of ours is held while a foreign server takes its time (20 s at the most). Raises as `create`."""
        if self._sealer is None:
            raise MustEncrypt(NO_KEYS)
        if len(checked_name("connection", name)) > LONGEST_NAME:
            raise InvalidInput(f"connection name has {len(name)} characters, need 1 to {LONGEST_NAME}.")
        connection = _parsed(url, new_id(), name)
        return Tested(connection, await probe(await self._guard().admitted(connection)))

    async def keep(self, tested: Tested, *, tenant: str | None = None, user_id: str | None = None) -> ConnectionView:
        """The second half: register it. MustEncrypt; InvalidInput: the name is taken."""
        if self._sealer is None:
            raise MustEncrypt(NO_KEYS)
        connection, server = tested
        store, tenant_id, identity = await self._app.open(), await self._app.tenant_id(tenant), UUID(connection.id)
        sealed = self._sealer.seal(tenant_id, SEALED_AS, identity, "connection", connection.url)
        words = {"dialect": connection.dialect, "sealed": sealed, "shown": connection.masked, "server": server}
        await connections.add(store, tenant_id, identity, name=connection.name or "", **words, user_id=user_id)
        await self._app.noted(tenant_id, "connection.created", f"connection:{identity}", name=connection.name, dialect=connection.dialect)
        return await self.get(connection.id, tenant=tenant)

    async def list(self, *, tenant: str | None = None) -> builtins.list[ConnectionView]:
        """The tenant's connections by name, at most 1,000."""
        return await connections.every(await self._app.open(), await self._app.known_tenant_id(tenant))

    async def get(self, identity: UUID | str, *, tenant: str | None = None) -> ConnectionView:
        """One by id or name; NotFound when this tenant has none."""
        return (await self._stored(await self._app.known_tenant_id(tenant), identity)).view

    async def delete(self, identity: UUID | str, *, tenant: str | None = None) -> None:
        """Take one away, and the schema that was read there. Jobs that were enqueued for it fail. NotFound: there is none."""
        tenant_id = await self._app.known_tenant_id(tenant)
        found = await self._stored(tenant_id, identity)
        await connections.delete(await self._app.open(), tenant_id, found.view.id)
        await self._app.noted(tenant_id, "connection.deleted", f"connection:{found.view.id}", name=found.view.name)

    async def rebuild(
        self, identity: UUID | str, *, force: bool = False, user_id: str | None = None, tenant: str | None = None, **options: Any
    ) -> Rebuild:
        """Enqueue a `schema-rebuild`, or answer with the one that is there.

        Args:
            force: store the schema also when it did not change; one that is there already is not changed by it.
            options: of the job, as of `enqueue`.
        """
        tenant_id = await self._app.known_tenant_id(tenant)
        known = await self._known_id(tenant_id, identity)
        with contextlib.suppress(NotFound):  # one of the environment: the job looks
            if (await self._stored(tenant_id, known)).view.dialect == "bitrix24":
                raise InvalidInput(f"connection {known!r} is a CRM and has no schema to rebuild. Its rows come by the job type crm-sync.")
        payload = {"connectionId": known, "force": force, **({} if user_id is None else {"userId": user_id})}
        found = await self._app.enqueue_checked(KIND, payload, tenant=tenant, user_id=user_id, unique_key=f"{KIND}:{known}", **options)
        if found.created:
            await self._app.noted(tenant_id, "connection.rebuilt", f"connection:{known}", job=str(found.id))
        return Rebuild(found.id, found.created)

    async def schema(self, identity: UUID | str, *, tenant: str | None = None) -> ConnectionSchema:
        """What was last read. NotFound: there is no such connection, or nothing was read there yet."""
        tenant_id = await self._app.known_tenant_id(tenant)
        known = await self._known_id(tenant_id, identity)
        found = await SchemaCache(await self._app.open()).get(tenant_id, known)
        if found is None:
            raise NotFound(f"connection {str(identity)[:80]!r}: its schema was not read yet. Rebuild it first.")
        return found

    async def diff(self, identity: UUID | str, *, tenant: str | None = None) -> dict[str, Any]:
        """What changed at the last change that a rebuild found.

        Returns:
            {connectionId, before, after, schemas, tables}: `before` is the time at which the older schema was stored, None where
            there is no older one and everything is new; `schemas` and `tables` as of `difference`.
        """
        now = await self.schema(identity, tenant=tenant)
        tenant_id = await self._app.known_tenant_id(tenant)
        older = await connection_schemas.before(await self._app.open(), tenant_id, now.connection_id)
        changes = difference(decode(older[0]) if older else {}, decode(now.schema))
        return {"connectionId": now.connection_id, "before": older[1] if older else None, "after": now.captured_at, **changes}

    async def opened(self, tenant_id: int, identity: UUID | str) -> Connection:
        """A connection with its URL and checked address, for a job of this tenant. Raises as `create`, and NotFound, NotReadable."""
        with contextlib.suppress(NotFound):
            found = await self._stored(tenant_id, identity)
            if self._sealer is None:
                raise MustEncrypt(NO_KEYS)
            url = self._sealer.open(tenant_id, SEALED_AS, [found.view.id], "connection", found.sealed)
            return await self._guard().admitted(_parsed(url, found.view.id, found.view.name))
        return await self._of_environment(tenant_id, identity)

    async def _known_id(self, tenant_id: int, identity: UUID | str) -> str:
        with contextlib.suppress(NotFound):
            return str((await self._stored(tenant_id, identity)).view.id)
        return (await self._of_environment(tenant_id, identity)).id

    async def _of_environment(self, tenant_id: int, identity: UUID | str) -> Connection:
        if tenant_id != await self._app.tenant_id(None):
            raise _not_found(identity)
        return resolve(str(identity))

    async def _stored(self, tenant_id: int, identity: UUID | str) -> Stored:
        store = await self._app.open()
        if not isinstance(identity, UUID):
            with contextlib.suppress(ValueError):
                identity = UUID(identity)
        found = await connections.find(store, tenant_id, identity)
        if found is None:
            raise _not_found(identity)
        return found

    def _guard(self) -> Guard:
        return Guard(self._app.settings.connection_hosts, loopback=self._is_development())


def _parsed(url: str, identity: UUID, name: str) -> Connection:
    if not isinstance(url, str) or not 1 <= len(url) <= LONGEST_URL or not url.isprintable():
        raise InvalidInput(f"the URL must be text of 1 to {LONGEST_URL} characters without control characters.")
    try:
        return Connection(str(identity), *checked_url("the URL", url.strip()), name=name)
    except InvalidSetting as error:
        raise InvalidInput(str(error)) from None


def _not_found(identity: UUID | str) -> NotFound:
    # A mistyped id may be a URL with a password.
    shown = repr(str(identity)) if len(str(identity)) <= LONGEST_NAME and "@" not in str(identity) else "given"
    return NotFound(f"connection {shown}: this tenant has none of that id or name. List them: trunkline connections")
