"""Encrypted values in the database: which kinds have them, where they stand, and putting newly sealed text in their place.

Always true: nothing here opens one; lists are bounded and go on behind the last row.
Called by: engine.sealing, engine.privacy, engine.worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from trunkline.store.pool import Store

SEAL_KIND = "select trunkline.seal_kind($1, $2, $3)"
SEALED_KINDS = "select trunkline.sealed_kinds($1, $2)"
# One statement on the caller's own connection: a refusal there would cost the caller's transaction, so it is asked first.
TENANT_AND_SEALED = "select t.id, trunkline.sealed_kinds(t.id, $2) from trunkline.tenant_id($1) as t (id)"
KEPT = "select tenant_id, name, kind, kept, is_encrypted from trunkline.kept_payloads($1, $2, $3, $4)"
RESEAL_KEPT = "select trunkline.reseal_kept($1, $2, $3, $4, $5)"
RESEAL = "select trunkline.reseal($1, $2, $3, $4, $5)"
_SEALED = "case when left({value}::text, 14) = '{{\"$encrypted\":' then {value}::text end"
_PAGE = """select p.tenant_id, p.id, p.sealed from (
  select tenant_id, {id} as id, {sealed} as sealed from {table} where (tenant_id, {id}) > ($1, $2) order by tenant_id, {id} limit $3
) as p"""
PLACES = {
    "payload": _PAGE.format(id="id", sealed=_SEALED.format(value="payload"), table="trunkline.job"),
    "result": _PAGE.format(id="job_id", sealed=_SEALED.format(value="result"), table="trunkline.outcome"),
    "checkpoint": _PAGE.format(id="job_id", sealed=_SEALED.format(value="value"), table="trunkline.checkpoint"),
    "connection": _PAGE.format(id="id", sealed="sealed", table="trunkline.connection"),
}


class Row(NamedTuple):
    """A row that was looked at; `sealed` None: it holds no encrypted value."""

    tenant_id: int
    job_id: UUID
    sealed: str | None


class Kept(NamedTuple):
    """What a template, a schedule or a callback keeps for its jobs; `text` None: nothing. `is_encrypted`: whether its kind is."""

    tenant_id: int
    name: str
    kind: str
    text: str | None
    is_encrypted: bool


async def seal_kind(store: Store, tenant_id: int | None, kind: str, seals: int) -> None:
    """Say that a kind is encrypted in one tenant, or (None) in all: 1 payload, 2 result, 3 both, 0 neither."""
    await store.fetch(SEAL_KIND, tenant_id, kind, seals)


async def sealed_kinds(store: Store, tenant_id: int, kinds: Sequence[str]) -> set[str]:
    """Which of these kinds have encrypted payloads."""
    return set(await store.fetchval(SEALED_KINDS, tenant_id, list(kinds)))


async def page(store: Store, what: str, after: tuple[int, UUID], limit: int) -> list[Row]:
    """The next `limit` rows of jobs (payload), outcomes (result), checkpoints or connections, behind (tenant, job) in that order."""
    return [Row(*row) for row in await store.fetch(PLACES[what], *after, limit)]


async def reseal(store: Store, tenant_id: int, what: str, rows: Sequence[tuple[UUID, str, str]]) -> int:
    """Replace (job, old text, new text) where the old text still stands; how many."""
    ids, old, new = zip(*sorted(rows), strict=True)
    return int(await store.fetchval(RESEAL, tenant_id, what, list(ids), list(old), list(new)))


async def kept_page(store: Store, what: str, after: tuple[int, str], limit: int) -> list[Kept]:
    """The next `limit` payloads of a "template", "schedule" or "callback", behind (tenant, name) in that order."""
    return [Kept(*row) for row in await store.fetch(KEPT, what, *after, limit)]


async def reseal_kept(store: Store, what: str, kept: Kept, new: str) -> bool:
    """Put sealed text in its place; False: it changed meanwhile."""
    return bool(await store.fetchval(RESEAL_KEPT, kept.tenant_id, what, kept.name, kept.text, new))
