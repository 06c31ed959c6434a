"""Requests that are carried out once, what was answered to them, and the sweep of both (sql/functions/75_requests.sql).

Called by: engine.acts, engine.history.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from trunkline.store.pool import Store

CLAIM = "select word, status, answer from trunkline.claim_request($1, $2, $3, $4, $5)"
ANSWER = "select trunkline.answer_request($1, $2, $3, $4, $5, $6, $7)"
SWEEP = "select answers, acts from trunkline.sweep_requests($1, $2)"
SECRET = "select trunkline.api_secret($1)"  # noqa: S105 - a statement


class Request(NamedTuple):
    """One request with a key: whose, to which route, with which body (its SHA-256)."""

    tenant_id: int
    asker: str
    route: str
    key: str
    body_hash: bytes


class Claim(NamedTuple):
    """new: carry it out; answered: `status` and `answer` were given; other: the key had another body; running: under way."""

    word: Literal["new", "answered", "other", "running"]
    status: int | None
    answer: str | None


async def claim(store: Store, request: Request) -> Claim:
    """Ask for the right to carry a request out, for as long as the transaction of `store` lasts."""
    row = await store.fetchrow(CLAIM, *request)
    assert row is not None
    return Claim(*row)


async def answer(store: Store, request: Request, status: int, text: str) -> None:
    """Keep an answer for 24 hours."""
    await store.fetch(ANSWER, *request, status, text)


async def sweep(store: Store, session_id: int, audit_keep_s: float) -> tuple[int, int]:
    """Delete what is over: (answers, audit rows). Only one process a minute does."""
    row = await store.fetchrow(SWEEP, session_id, audit_keep_s)
    assert row is not None
    return row[0] or 0, row[1] or 0


async def secret(store: Store, tenant_id: int) -> bytes:
    """32 bytes that are the tenant's own, for signatures of its cursors."""
    found: bytes = await store.fetchval(SECRET, tenant_id)
    return found
