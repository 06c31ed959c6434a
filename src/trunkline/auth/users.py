"""Users' JWTs (HS256) to principals. The algorithm is pinned: what the token says about it is not believed.

Always true: a token passes only with a good signature by JWT_SECRET, an `exp` to come, a `sub`, and the audience and issuer
that are set; anything else is the same `Unauthenticated`, whatever was wrong. Without JWT_SECRET no JWT is good.
Called by: gateway, rest.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import jwt

from trunkline.auth.principal import Principal, Scope
from trunkline.errors import Forbidden, InvalidInput, Unauthenticated
from trunkline.model import checked_tenant
from trunkline.settings import Settings
from trunkline.store import Store, sessions

ALGORITHMS = ["HS256"]
LONGEST = 8192  # characters; a JWT is sent with every request, so an honest one is short
LEEWAY_S = 5.0
USER_SCOPES: frozenset[Scope] = frozenset(("send", "watch"))
ADMIN_SCOPES: frozenset[Scope] = frozenset(("send", "watch", "admin"))


class Users:
    """Who a JWT stands for."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._tenant_ids: dict[str, int] = {}

    async def principal(self, token: object) -> Principal:
        """Whom a JWT stands for. Its tenant is the JWT_TENANT_CLAIM, else JWT_DEFAULT_TENANT.

        Raises:
            Unauthenticated: it is not good.
            Forbidden: it is good, and belongs to no tenant.
        """
        claims = self._claims(token)
        user_id, tenant = claims["sub"], self._tenant(claims)
        if not isinstance(user_id, str) or not 1 <= len(user_id) <= 500 or "\x00" in user_id:
            raise Unauthenticated("Invalid authentication token")
        scopes = ADMIN_SCOPES if self._is_admin(claims) else USER_SCOPES
        expires_at = datetime.fromtimestamp(min(int(claims["exp"]), 2**35), UTC)
        return Principal(await self._tenant_id(tenant), tenant, scopes, user_id=user_id, expires_at=expires_at)

    def _claims(self, token: object) -> dict[str, Any]:
        settings = self._settings
        if settings.jwt_secret is None or not isinstance(token, str) or len(token) > LONGEST:
            raise Unauthenticated("Invalid authentication token")
        required = ["exp", "sub", *(["aud"] if settings.jwt_audience else []), *(["iss"] if settings.jwt_issuer else [])]
        try:
            return jwt.decode(
                token,
                settings.jwt_secret,
                algorithms=ALGORITHMS,
                audience=settings.jwt_audience,
                issuer=settings.jwt_issuer,
                leeway=LEEWAY_S,
                options={"require": required},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise Unauthenticated("Invalid authentication token") from None

    def _tenant(self, claims: dict[str, Any]) -> str:
        named = claims.get(self._settings.jwt_tenant_claim)
        tenant = self._settings.jwt_default_tenant if named is None else named
        if tenant is None:
            raise Forbidden(
                f"this user belongs to no tenant: the token has no {self._settings.jwt_tenant_claim!r}, and JWT_DEFAULT_TENANT is not set."
            )
        try:
            return checked_tenant(tenant)
        except InvalidInput as error:
            raise Forbidden(f"this user belongs to no tenant: {error}") from None

    def _is_admin(self, claims: dict[str, Any]) -> bool:
        """Scope `admin`, or JWT_ADMIN_CLAIM: `name` (it is true) or `name=value` (it is that value, or a list with it)."""
        scope = claims.get("scope")
        if "admin" in (scope.split() if isinstance(scope, str) else scope if isinstance(scope, list) else ()):
            return True
        name, equals, value = (self._settings.jwt_admin_claim or "").partition("=")
        said = claims.get(name) if name else None
        return said is True if not equals else said == value or (isinstance(said, list) and value in said)

    async def _tenant_id(self, tenant: str) -> int:
        if tenant not in self._tenant_ids:
            self._tenant_ids[tenant] = await sessions.tenant_id(self._store, tenant)
        return self._tenant_ids[tenant]
