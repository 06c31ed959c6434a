"""Users' JWTs to principals. The algorithm is that of our key: what the token says about it is not believed.

Always true: a token passes only with a good signature by the key that the settings name (JWT_SECRET, JWT_PUBLIC_KEY or
JWT_JWKS_URL), an `exp` to come, a `sub`, and the audience and issuer that are set; anything else is the same `Unauthenticated`,
whatever was wrong. Without a key no JWT is good. A user is noted at first sight.
Called by: gateway, rest.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import jwt

from trunkline.auth.keys import INVALID, Keys, Verifier
from trunkline.auth.people import People
from trunkline.auth.principal import Principal, Scope
from trunkline.errors import Forbidden, InvalidInput, Unauthenticated
from trunkline.model import checked_tenant
from trunkline.settings import Settings
from trunkline.store import Store, sessions

LONGEST = 8192  # characters; a JWT is sent with every request, so an honest one is short
LEEWAY_S = 5.0
USER_SCOPES: frozenset[Scope] = frozenset(("send", "watch"))
ADMIN_SCOPES: frozenset[Scope] = frozenset(("send", "watch", "admin"))


_UNSTORABLE = re.compile("[\\x00\\ud800-\\udfff]")  # JSON can spell it, and no PostgreSQL text holds it
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*")


def looks_like_jwt(credential: str) -> bool:
    """Whether a credential has the form of a JWT; customer tokens have another."""
    return _JWT.fullmatch(credential) is not None


class Users:
    """Who a JWT stands for."""

    def __init__(self, store: Store, settings: Settings, *, keys: Keys | None = None) -> None:
        self._store = store
        self._settings = settings
        self._keys = Keys(settings) if keys is None else keys
        self._people = People(store)
        self._tenant_ids: dict[str, int] = {}

    @property
    def is_configured(self) -> bool:
        """Whether any JWT can be good."""
        return self._keys.are_set

    async def principal(self, token: object) -> Principal:
        """Whom a JWT stands for. Its tenant is the JWT_TENANT_CLAIM, else JWT_DEFAULT_TENANT.

        Raises:
            Unauthenticated: it is not good.
            Forbidden: it is good, and belongs to no tenant.
        """
        claims = await self._claims(token)
        user_id, tenant = claims["sub"], self._tenant(claims)
        if not isinstance(user_id, str) or not 1 <= len(user_id) <= 500 or _UNSTORABLE.search(user_id):
            raise Unauthenticated(INVALID)
        scopes = ADMIN_SCOPES if self._is_admin(claims) else USER_SCOPES
        expires_at = datetime.fromtimestamp(min(int(claims["exp"]), 2**35), UTC)
        tenant_id = await self._tenant_id(tenant)
        await self._people.see(tenant_id, user_id, claims)
        return Principal(tenant_id, tenant, scopes, user_id=user_id, expires_at=expires_at)

    async def _claims(self, token: object) -> dict[str, Any]:
        if not self.is_configured or not isinstance(token, str) or len(token) > LONGEST:
            raise Unauthenticated(INVALID)
        return self._decoded(token, await self._keys.verifier(token))

    def _decoded(self, token: str, verifier: Verifier) -> dict[str, Any]:
        settings = self._settings
        required = ["exp", "sub", *(["aud"] if settings.jwt_audience else []), *(["iss"] if settings.jwt_issuer else [])]
        try:
            return jwt.decode(
                token,
                verifier.key,
                algorithms=[verifier.algorithm],
                audience=settings.jwt_audience,
                issuer=settings.jwt_issuer,
                leeway=LEEWAY_S,
                options={"require": required},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise Unauthenticated(INVALID) from None

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
