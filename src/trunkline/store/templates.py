"""Templates in the database: one function per SQL function (sql/functions/36_templates.sql).

Called by: engine.templates.
"""

from __future__ import annotations

from typing import Any

import asyncpg

from trunkline.model import TemplateView
from trunkline.model.payload import decode
from trunkline.store.pool import Store

SAVE = "select trunkline.save_template($1, $2, $3, $4, $5)"
DELETE = "select trunkline.delete_template($1, $2)"
EXPAND = "select kind, payload, options from trunkline.expand_template($1, $2, $3, $4)"
_COLUMNS = "select name, kind, payload, options, updated_at from trunkline.template where tenant_id = $1"
GET = f"{_COLUMNS} and name = $2"
LIST = f"{_COLUMNS} order by name limit 1000"


async def save(store: Store, tenant_id: int, name: str, kind: str, payload: str, options: str) -> bool:
    """Make a template (True), or replace the one of that name; payload and options are JSON text."""
    return bool(await store.fetchval(SAVE, tenant_id, name, kind, payload, options))


async def delete(store: Store, tenant_id: int, name: str) -> bool:
    """False: there was none."""
    return bool(await store.fetchval(DELETE, tenant_id, name))


async def expand(store: Store, tenant_id: int, name: str, payload: str | None) -> tuple[str, Any, dict[str, Any]]:
    """(kind, payload, options) of a job made from it, `payload` (JSON text) merged over its own; NotFound without one."""
    row = await store.fetchrow(EXPAND, tenant_id, name, payload, "{}")
    assert row is not None
    return row[0], decode(row[1]), decode(row[2])


async def get(store: Store, tenant_id: int, name: str) -> TemplateView | None:
    """One template, or None."""
    row = await store.fetchrow(GET, tenant_id, name)
    return None if row is None else _view(row)


async def templates(store: Store, tenant_id: int) -> list[TemplateView]:
    """The tenant's templates by name, at most 1,000."""
    return [_view(row) for row in await store.fetch(LIST, tenant_id)]


def _view(row: asyncpg.Record) -> TemplateView:
    return TemplateView(row[0], row[1], decode(row[2]), decode(row[3]), row[4])
