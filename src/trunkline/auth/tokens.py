"""Customer tokens: made, imported, listed, ended. The plain value exists in memory only, and is shown once.

A token of ours is `tl_` and 256 random bits as base64url. One that customers already use may have any form; its SHA-256 is
kept in the same way.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from trunkline.auth.principal import checked_scopes
from trunkline.errors import InvalidInput, NotFound
from trunkline.model import as_uuid
from trunkline.model.job import new_id
from trunkline.store import Store, tokens
from trunkline.store.tokens import TokenView

PREFIX = "tl_"
DEFAULT_SCOPES = ("send", "work", "watch")
LONGEST = 500  # characters; nothing longer is hashed
_PLAIN = re.compile(rf"[\x21-\x7e]{{8,{LONGEST}}}")


def new_secret() -> str:
    """A token that nobody can guess."""
    return PREFIX + secrets.token_urlsafe(32)


def token_hash(plain: object) -> bytes | None:
    """What is kept of a token; None for what can be no token, so nothing needs to be asked."""
    if not isinstance(plain, str) or not _PLAIN.fullmatch(plain):
        return None
    return hashlib.sha256(plain.encode()).digest()


class Tokens:
    """The tokens of all tenants."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(
        self, tenant_id: int, *, description: str = "", scopes: Iterable[str] = DEFAULT_SCOPES, expires_at: datetime | None = None
    ) -> tuple[UUID, str]:
        """A new token: its id, and its plain value, which cannot be shown again."""
        plain = new_secret()
        return await self.import_token(tenant_id, plain, description=description, scopes=scopes, expires_at=expires_at), plain

    async def import_token(
        self,
        tenant_id: int,
        plain: str,
        *,
        description: str = "",
        scopes: Iterable[str] = DEFAULT_SCOPES,
        expires_at: datetime | None = None,
    ) -> UUID:
        """Let a token that a customer already uses be good here; the same again changes nothing.

        Args:
            plain: 8 to 500 printable characters without blanks.
        Raises:
            InvalidInput: it can be no token, is another tenant's, or was deactivated before.
        """
        hashed = token_hash(plain)
        if hashed is None:  # the value is not quoted: a secret with a typing error is nearly a secret
            raise InvalidInput(f"this can be no token: need 8 to {LONGEST} printable ASCII characters without blanks.")
        if not isinstance(description, str) or len(description) > LONGEST or "\x00" in description:
            raise InvalidInput(f"the description is too long, or holds U+0000: need up to {LONGEST} characters.")
        return await tokens.create(self._store, tenant_id, new_id(), hashed, description, checked_scopes(scopes), expires_at)

    async def of(self, tenant_id: int) -> list[TokenView]:
        """A tenant's tokens, newest first, at most 1,000."""
        return await tokens.of(self._store, tenant_id)

    async def get(self, tenant_id: int, token_id: UUID | str) -> TokenView:
        """One token; NotFound when this tenant has none of that id."""
        found = await tokens.of(self._store, tenant_id, as_uuid(token_id, "token"))
        if not found:
            raise NotFound(f"token {token_id}: this tenant has no such token. List them: trunkline tokens list")
        return found[0]

    async def deactivate(self, tenant_id: int, token_id: UUID | str) -> bool:
        """End a token for good; every open socket of it is cut within 5 s. False: it was inactive. NotFound as `get`."""
        view = await self.get(tenant_id, token_id)
        return await tokens.deactivate(self._store, tenant_id, view.token_id)
