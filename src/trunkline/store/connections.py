"""Registered databases in ours: one function per SQL function (sql/functions/71_connections.sql), and the reading of them.

Always true: a URL is here only as sealed text; every question names its tenant.
Called by: connections.service.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from trunkline.store.pool import Store

ADD = "select trunkline.add_connection($1, $2, $3, $4, $5, $6, $7, $8)"
DELETE = "select trunkline.delete_connection($1, $2)"
_COLUMNS = "select id, name, dialect, shown, server, created_by, created_at, sealed from trunkline.connection where tenant_id = $1"
BY_ID = f"{_COLUMNS} and id = $2"
BY_NAME = f"{_COLUMNS} and name = $2"
LIST = f"{_COLUMNS} order by name limit 1000"


@dataclass(frozen=True, slots=True)
class ConnectionView:
    """A registered database as people see it.

    Attributes:
        url: with *** for its password.
        server: what answered when it was registered.
        created_by: the user, where one is known.
    """

    id: UUID
    name: str
    dialect: str
    url: str
    server: str
    created_by: str | None
    created_at: datetime


class Stored(NamedTuple):
    """A row: what people see, and the URL as sealed text."""

    view: ConnectionView
    sealed: str


async def add(
    store: Store, tenant_id: int, connection_id: UUID, *, name: str, dialect: str, sealed: str, shown: str, server: str, user_id: str | None
) -> None:
    """Store one. InvalidInput: the name is taken, or there are too many."""
    await store.fetch(ADD, tenant_id, connection_id, name, dialect, sealed, shown, server, user_id)


async def delete(store: Store, tenant_id: int, connection_id: UUID) -> bool:
    """Take one away with its schema. False: there was none."""
    return bool(await store.fetchval(DELETE, tenant_id, connection_id))


async def find(store: Store, tenant_id: int, identity: UUID | str) -> Stored | None:
    """One by id, or by name where it is text; None: this tenant has none."""
    row = await store.fetchrow(BY_ID if isinstance(identity, UUID) else BY_NAME, tenant_id, identity)
    return None if row is None else _stored(row)


async def every(store: Store, tenant_id: int) -> list[ConnectionView]:
    """The tenant's, by name, at most 1,000."""
    return [_stored(row).view for row in await store.fetch(LIST, tenant_id)]


def _stored(row: asyncpg.Record) -> Stored:
    return Stored(ConnectionView(*row[:7]), row[7])
