"""/api/connections: databases that a tenant's administrators registered; its users see them, what was read there, and have it read anew.

Always true: a URL is answered with *** for its password; it was tested before anything is held or written.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from trunkline.connections import ConnectionView
from trunkline.engine import Act
from trunkline.rest.acting import answered_before, once
from trunkline.rest.answers import Answer, Message, Pagination, json_answer
from trunkline.rest.api import Api
from trunkline.rest.asking import has_body
from trunkline.rest.examples import PAGE
from trunkline.rest.messages import Body
from trunkline.rest.openapi import ID, describe
from trunkline.rest.paging import Limit, PageNumber, sliced
from trunkline.rest.problems import Refused
from trunkline.rest.route import asked_of
from trunkline.wire.calls import Name

CREATE, WHAT = "POST /api/connections", "connections"
SOMEBODY_ELSE = (
    "a rebuild that somebody else asked for is in line or running: it is read for you, too. Its end shows in checkedAt of GET …/schema; "
    "or ask again then."
)
SENT = {"name": "shop", "url": "postgresql://clerk:secret@db.example.com/shop"}
FOUND = {
    "id": ID,
    "name": "shop",
    "dialect": "postgresql",
    "url": "postgresql://clerk:***@db.example.com/shop",
    "server": "PostgreSQL 18.6",
    "createdBy": "user-1",
    "createdAt": "2027-01-31T09:00:00Z",
}
READ = {
    "connectionId": ID,
    "fingerprint": "f" * 64,
    "capturedAt": "2027-01-31T09:00:00Z",
    "checkedAt": "2027-02-01T09:00:00Z",
    "schema": {"dialect": "postgresql", "schemas": ["public"], "tables": [{"schema": "public", "name": "orders"}]},
}


class NewConnection(Body, frozen=True, kw_only=True):
    """A database; it is connected to before it is registered."""

    name: Name
    url: Annotated[str, Meta(min_length=1, max_length=4000)]


class Rebuild(Body, frozen=True, kw_only=True):
    """`force`: store the schema also when it did not change."""

    force: bool = False


class Connection(Answer, frozen=True, kw_only=True):
    """A registered database; its URL without the password."""

    id: UUID
    name: str
    dialect: str
    url: str
    server: str
    created_by: str | None
    created_at: datetime


class Connections(Answer, frozen=True, kw_only=True):
    """A page of connections, by name."""

    data: list[Connection]
    pagination: Pagination


class Schema(Answer, frozen=True, kw_only=True):
    """What was last read from a database: stored at `capturedAt`, and still so at `checkedAt`."""

    connection_id: str
    fingerprint: str
    captured_at: datetime
    checked_at: datetime
    schema: Any


class Rebuilding(Answer, frozen=True, kw_only=True):
    """The job that reads a schema."""

    job_id: UUID
    message: str


def add(api: Api, router: APIRouter) -> None:
    """Its routes."""
    _add_reads(api, router)
    _add_rebuild(api, router)

    @router.post(
        "/connections",
        tags=["connections"],
        **describe(Connection, status=201, body=NewConnection, creates=True, sent=SENT, example=FOUND),
    )
    async def create_connection(request: Request) -> Response:
        """Connect to a database, and register it: its URL is kept encrypted."""
        asked = asked_of(request)
        asked.require("admin")
        raw, wanted = await asked.body(NewConnection)
        if (answered := await answered_before(asked, CREATE, raw)) is not None:
            return answered
        tested = await api.services.connections.tested(wanted.url, name=wanted.name)

        async def create(act: Act) -> tuple[int, Connection]:
            made = await api.services.connections.within(act).keep(tested, tenant=asked.tenant, user_id=asked.principal.user_id)
            return 201, _told(made)

        return await once(asked, CREATE, raw, create)

    @router.delete(
        "/connections/{connection_id}",
        tags=["connections"],
        **describe(Message, example={"message": "Connection deleted"}, refusals=(404,)),
    )
    async def delete_connection(request: Request, connection_id: UUID) -> Response:
        """Take it away with the schema that was read there; jobs that wait for it fail."""
        asked = asked_of(request)
        asked.require("admin")
        async with asked.acting() as act:
            await api.services.connections.within(act).delete(connection_id, tenant=asked.tenant)
        return json_answer(Message(message="Connection deleted"))


def _add_rebuild(api: Api, router: APIRouter) -> None:
    described = describe(
        Rebuilding,
        status=202,
        body=Rebuild,
        creates=True,
        refusals=(404,),
        sent={"force": False},
        example={"jobId": ID, "message": "Schema rebuild job queued"},
    )
    described["openapi_extra"]["requestBody"]["required"] = False

    @router.post("/connections/{connection_id}/rebuild", tags=["connections"], **described)
    async def rebuild_connection(request: Request, connection_id: UUID) -> Response:
        """Enqueue a job that reads the schema, or name the one that is there already; 409 where that is another user's."""
        asked = asked_of(request)
        asked.require_person(WHAT, "send")
        await api.services.connections.get(connection_id, tenant=asked.tenant)
        raw, wanted = await asked.body(Rebuild) if has_body(request) else (b"", Rebuild())

        async def rebuild(act: Act) -> tuple[int, Rebuilding]:
            inside = api.services.connections.within(act)
            found = await inside.rebuild(connection_id, force=wanted.force, user_id=asked.principal.user_id, tenant=asked.tenant)
            if not found.created:
                asker = (await act.stands(asked.tenant_id, found.job_id)).user_id
                if asked.only_user is not None and asker != asked.only_user:  # to this user there is no such job
                    raise Refused(409, "duplicate", SOMEBODY_ELSE)
                return 202, Rebuilding(job_id=found.job_id, message="A schema rebuild job is there already")
            return 202, Rebuilding(job_id=found.job_id, message="Schema rebuild job queued")

        return await once(asked, f"POST /api/connections/{connection_id}/rebuild", raw, rebuild)


def _add_reads(api: Api, router: APIRouter) -> None:
    @router.get("/connections", tags=["connections"], **describe(Connections, example={"data": [FOUND], "pagination": PAGE}))
    async def list_connections(request: Request, page: PageNumber = 1, limit: Limit = 20) -> Response:
        """The tenant's connections by name, of the first 1,000."""
        asked = asked_of(request)
        asked.require_person(WHAT, "send", "watch")
        async with api.services.records.looking(asked.tenant_id) as look:
            found, said = sliced(await api.services.connections.within(look).list(tenant=asked.tenant), page, limit)
        return json_answer(Connections(data=[_told(one) for one in found], pagination=said))

    @router.get("/connections/{connection_id}", tags=["connections"], **describe(Connection, example=FOUND, refusals=(404,)))
    async def get_connection(request: Request, connection_id: UUID) -> Response:
        """One connection."""
        asked = asked_of(request)
        asked.require_person(WHAT, "send", "watch")
        async with api.services.records.looking(asked.tenant_id) as look:
            return json_answer(_told(await api.services.connections.within(look).get(connection_id, tenant=asked.tenant)))

    @router.get("/connections/{connection_id}/schema", tags=["connections"], **describe(Schema, example=READ, refusals=(404,)))
    async def get_schema(request: Request, connection_id: UUID) -> Response:
        """The schema that was last read; 404 also while none was read yet."""
        asked = asked_of(request)
        asked.require_person(WHAT, "send", "watch")
        await api.services.connections.get(connection_id, tenant=asked.tenant)
        found = await api.services.connections.schema(connection_id, tenant=asked.tenant)
        return json_answer(
            Schema(
                connection_id=found.connection_id,
                fingerprint=found.fingerprint,
                captured_at=found.captured_at,
                checked_at=found.checked_at,
                schema=msgspec.Raw(found.schema.encode()),
            )
        )


def _told(view: ConnectionView) -> Connection:
    return Connection(
        id=view.id,
        name=view.name,
        dialect=view.dialect,
        url=view.url,
        server=view.server,
        created_by=view.created_by,
        created_at=view.created_at,
    )
