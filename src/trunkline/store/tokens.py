"""Customer tokens in the database. Only hashes come here; a plain token never does.

Called by: auth.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from trunkline.store.pool import Store

CREATE = "select trunkline.create_token($1, $2, $3, $4, $5, $6)"
BY_HASH = "select tenant_id, tenant, token_id, hash, scopes, expires_at from trunkline.token_by_hash($1)"
OF = """select token_id, description, scopes, is_active, is_live, created_at, updated_at, expires_at, last_used_at, deactivated_at
  from trunkline.tokens_of($1, $2)"""
DEACTIVATE = "select trunkline.deactivate_token($1, $2)"
OVER = "select trunkline.tokens_over($1, $2)"
NOTE = "select trunkline.note_tokens($1, $2)"


class LiveToken(NamedTuple):
    """Whose a token is; columns of sql token_by_hash()."""

    tenant_id: int
    tenant: str
    token_id: UUID
    hash: bytes
    scopes: list[str]
    expires_at: datetime | None


class TokenView(NamedTuple):
    """A token as people see it; columns of sql tokens_of(). `is_live`: active, and its time is not over."""

    token_id: UUID
    description: str
    scopes: list[str]
    is_active: bool
    is_live: bool
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    deactivated_at: datetime | None


async def create(
    store: Store, tenant_id: int, token_id: UUID, hash: bytes, description: str, scopes: Sequence[str], expires_at: datetime | None
) -> UUID:
    """Keep the hash of a token; its id, or that of the live token which this tenant has with the same hash.

    Raises:
        InvalidInput: the hash is another tenant's or was deactivated, or a scope or the time is wrong.
    """
    found: UUID = await store.fetchval(CREATE, tenant_id, token_id, hash, description, list(scopes), expires_at)
    return found


async def by_hash(store: Store, hash: bytes) -> LiveToken | None:
    """The live token with this hash, or None."""
    row = await store.fetchrow(BY_HASH, hash)
    return None if row is None else LiveToken(*row)


async def of(store: Store, tenant_id: int, token_id: UUID | None = None) -> list[TokenView]:
    """A tenant's tokens, newest first, at most 1,000; or the one with this id."""
    return [TokenView(*row) for row in await store.fetch(OF, tenant_id, token_id)]


async def deactivate(store: Store, tenant_id: int, token_id: UUID) -> bool:
    """End a token; False when there is none, or it was inactive."""
    return bool(await store.fetchval(DEACTIVATE, tenant_id, token_id))


async def over(store: Store, tokens: Sequence[tuple[int, UUID]]) -> set[UUID]:
    """Which of these (tenant, token) are no longer live."""
    return {row[0] for row in await store.fetch(OVER, [tenant for tenant, _ in tokens], [token for _, token in tokens])}


async def note_used(store: Store, tokens: Sequence[tuple[int, UUID]]) -> None:
    """Note that these (tenant, token) were used just now, good to a minute."""
    await store.fetch(NOTE, [tenant for tenant, _ in tokens], [token for _, token in tokens])
