"""Which key verifies a JWT: the shared secret, a public key, or the key of that id from a JWKS address.

Always true: the algorithm is that of our key, never what the token asks for; `jku`, `x5u`, `jwk` and the like in a token are not
looked at; a key id is compared and nothing else is done with it.
Called by: auth.users.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jwt

from trunkline.auth.jwks import Jwks
from trunkline.errors import InvalidSetting, Unauthenticated
from trunkline.settings import Settings

INVALID = "Invalid authentication token"


@dataclass(frozen=True, slots=True)
class Verifier:
    """A key and the one algorithm that it is for."""

    key: Any
    algorithm: str


class Keys:
    """The keys that the settings name; none: no JWT is good."""

    def __init__(self, settings: Settings, jwks: Jwks | None = None) -> None:
        """Raises InvalidSetting where JWT_PUBLIC_KEY is none that can be used."""
        self._fixed: Verifier | None = None
        self._jwks = jwks
        if settings.jwt_secret is not None:
            self._fixed = Verifier(settings.jwt_secret, "HS256")
        elif settings.jwt_public_key is not None:
            self._fixed = _public(settings.jwt_public_key)
        elif settings.jwt_jwks_url is not None and jwks is None:
            self._jwks = Jwks(settings.jwt_jwks_url)

    @property
    def are_set(self) -> bool:
        """Whether any JWT can be good."""
        return self._fixed is not None or self._jwks is not None

    async def verifier(self, token: str) -> Verifier:
        """The key for this token.

        Raises:
            Unauthenticated: there is none.
        """
        if self._fixed is not None:
            return self._fixed
        if self._jwks is None:
            raise Unauthenticated(INVALID)
        try:
            kid = jwt.get_unverified_header(token).get("kid")
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise Unauthenticated(INVALID) from None
        found = await self._jwks.key(kid) if kid is None or (isinstance(kid, str) and len(kid) <= 500) else None
        if found is None:
            raise Unauthenticated(INVALID)
        return Verifier(*found)


def _public(pem: str) -> Verifier:
    """The algorithm follows from the key."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem.replace("\\n", "\n").encode())  # environments often carry the two characters
    except ValueError:
        raise InvalidSetting("TRUNKLINE_JWT_PUBLIC_KEY cannot be read: need a public key in PEM (-----BEGIN PUBLIC KEY-----).") from None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048:
        return Verifier(key, "RS256")
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1":
        return Verifier(key, "ES256")
    if isinstance(key, ed25519.Ed25519PublicKey):
        return Verifier(key, "EdDSA")
    raise InvalidSetting("TRUNKLINE_JWT_PUBLIC_KEY is of a sort that is not taken: need RSA of 2048 bits or more, P-256, or Ed25519.")
