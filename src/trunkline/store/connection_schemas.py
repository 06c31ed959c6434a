"""The stored schemas of registered databases.

Always true: one row per tenant and connection, the latest schema only; no URL enters this table.
Called by: connections.cache. Calls: sql/functions/70_connection_schema.sql.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from trunkline.store.pool import Store

SAVE = "select trunkline.save_connection_schema($1, $2, $3, $4, $5, $6)"
GET = """select s.connection_id, s.fingerprint, s.schema, s.tables, s.captured_at, s.checked_at
  from trunkline.connection_schema_of($1, $2) as s"""
BEFORE = "select s.schema, s.captured_at from trunkline.connection_schema_before($1, $2) as s"
FINGERPRINT = "select s.fingerprint from trunkline.connection_schema_of($1, $2) as s"


@dataclass(frozen=True, slots=True)
class ConnectionSchema:
    """What was last read from a registered database."""

    connection_id: str
    fingerprint: str
    schema: str  # JSON text, as `jobtypes.schema.shape.Reading` writes it
    tables: int
    captured_at: datetime  # when `schema` was stored
    checked_at: datetime  # when it was last read, changed or not


async def save(store: Store, tenant_id: int, connection_id: str, *, fingerprint: str, schema: str, tables: int, force: bool) -> bool:
    """Store `schema` (JSON text) unless the stored fingerprint is the same; `force` stores it anyway.

    Returns:
        True when it was stored; False when it was unchanged and only `checked_at` moved.
    """
    return bool(await store.fetchval(SAVE, tenant_id, connection_id, fingerprint, schema, tables, force))


async def get(store: Store, tenant_id: int, connection_id: str) -> ConnectionSchema | None:
    """The stored schema, or None when none was stored yet."""
    row = await store.fetchrow(GET, tenant_id, connection_id)
    return ConnectionSchema(*row) if row else None


async def before(store: Store, tenant_id: int, connection_id: str) -> tuple[str, datetime] | None:
    """The schema (JSON text) that stood there before the stored one, and when it had been stored; None: there was none."""
    row = await store.fetchrow(BEFORE, tenant_id, connection_id)
    return (row[0], row[1]) if row else None


async def fingerprint_of(store: Store, tenant_id: int, connection_id: str) -> str | None:
    """The fingerprint of the stored schema, without the schema; None when none was stored yet."""
    found: str | None = await store.fetchval(FINGERPRINT, tenant_id, connection_id)
    return found
