"""Tokens for tests of the doors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from trunkline import Trunkline
from trunkline.auth import Tokens


def token_maker(app: Trunkline) -> Callable[..., Awaitable[str]]:
    """`make(tenant, *scopes)`: a token as its holder knows it; without scopes it may send, work and watch."""

    async def make(tenant: str = "customer-001", *scopes: str) -> str:
        _, plain = await Tokens(app.store).create(await app.tenant_id(tenant), scopes=scopes or ("send", "work", "watch"))
        return plain

    return make
