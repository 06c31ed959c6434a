"""What was last read from each registered database, kept in our own.

Always true: one schema per tenant and connection, the latest; an unchanged one is not written again unless forced;
no URL is kept.
Called by: jobtypes. Calls: store.connection_schemas.
"""

from __future__ import annotations

from dataclasses import dataclass

from trunkline.store import Store, connection_schemas
from trunkline.store.connection_schemas import ConnectionSchema


@dataclass(frozen=True, slots=True)
class Kept:
    """What `keep` did."""

    stored: bool  # the schema was written
    changed: bool  # it differs from what was there before, or nothing was


class SchemaCache:
    """The schemas of all tenants' connections. Cheap to make: it only holds the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def keep(self, tenant_id: int, connection_id: str, *, fingerprint: str, schema: str, tables: int, force: bool = False) -> Kept:
        """Store a schema that is new or changed; with `force`, any.

        Args:
            fingerprint: 64 hexadecimal characters that are equal when two schemas are.
            schema: JSON text.
            tables: how many tables it has, without views.
        """
        before = await connection_schemas.fingerprint_of(self._store, tenant_id, connection_id)
        stored = await connection_schemas.save(
            self._store, tenant_id, connection_id, fingerprint=fingerprint, schema=schema, tables=tables, force=force
        )
        return Kept(stored, changed=stored and before != fingerprint)

    async def get(self, tenant_id: int, connection_id: str) -> ConnectionSchema | None:
        """The schema last stored, or None."""
        return await connection_schemas.get(self._store, tenant_id, connection_id)
