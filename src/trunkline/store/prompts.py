"""Prompts in the database (sql/functions/75_prompts.sql).

Called by: engine.prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from trunkline.store.pool import Store

SAVE = "select trunkline.save_prompt($1, $2, $3, $4, $5)"
_COLUMNS = "select name, version, system, body, created_by, created_at from trunkline.prompt where tenant_id = $1"
VERSIONS = f"{_COLUMNS} and name = $2 and version <= coalesce($3, 2147483647) order by version desc limit $4"
NEWEST = """select distinct on (name) name, version, system, body, created_by, created_at
  from trunkline.prompt where tenant_id = $1 order by name, version desc limit 1000"""


@dataclass(frozen=True, slots=True)
class PromptView:
    """One version of a prompt. `system`: what the model is told about its role."""

    name: str
    version: int
    system: str | None
    body: str
    created_by: str | None
    created_at: datetime


async def save(store: Store, tenant_id: int, name: str, system: str | None, body: str, user_id: str | None) -> int:
    """Store the next version, unless nothing changed; its number."""
    return int(await store.fetchval(SAVE, tenant_id, name, system, body, user_id))


async def versions(store: Store, tenant_id: int, name: str, newest: int | None, limit: int) -> list[PromptView]:
    """The versions of one prompt up to `newest` (None: the last), newest first."""
    return [PromptView(*row) for row in await store.fetch(VERSIONS, tenant_id, name, newest, limit)]


async def every(store: Store, tenant_id: int) -> list[PromptView]:
    """The newest version of each of the tenant's prompts, by name, at most 1,000."""
    return [PromptView(*row) for row in await store.fetch(NEWEST, tenant_id)]
