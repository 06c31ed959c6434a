"""The public keys of an identity provider, kept as its JWKS address lists them.

Always true: what the address says is believed for FRESH_S, and used for up to STALE_S where it does not answer; an unknown key id
asks again, at most once in AGAIN_S whatever tokens come; one question is under way at a time; the answer is bounded.
Called by: auth.keys.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import jwt
import structlog

FRESH_S, STALE_S, AGAIN_S = 300.0, 3600.0, 10.0
MOST_BYTES, MOST_KEYS, FETCH_S = 256 * 1024, 100, 5.0
# The one algorithm of a key by its type and curve. Symmetric keys have no business in a public list.
ALGORITHMS = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
log = structlog.get_logger("trunkline.auth")
Key = tuple[Any, str]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Whoever moves the address says so in the settings."""


def fetch(url: str) -> bytes:
    """The document at an address; blocks. Redirects are not followed."""
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - https, checked by the settings
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=FETCH_S) as answer:
        found: bytes = answer.read(MOST_BYTES + 1)
    if len(found) > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES} bytes")
    return found


class Jwks:
    """The keys of one address."""

    def __init__(self, url: str, *, get: Callable[[str], bytes] = fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self._url, self._get, self._clock = url, get, clock
        self._keys: dict[str | None, Key] = {}
        self._read_at = self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def key(self, kid: str | None) -> Key | None:
        """(key, algorithm) by id, or None. Without an id: the only key there is."""
        now = self._clock()
        if now - self._read_at > FRESH_S or self._find(kid) is None:
            await self._ask_again()
        return self._find(kid) if self._clock() - self._read_at < STALE_S else None

    def _find(self, kid: str | None) -> Key | None:
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid)

    async def _ask_again(self) -> None:
        if self._asking is None:
            if self._clock() - self._asked_at < AGAIN_S:
                return
            self._asked_at = self._clock()
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(self._asked)
        await asyncio.shield(self._asking)

    def _asked(self, _: asyncio.Task[None]) -> None:
        self._asking = None

    async def _ask(self) -> None:
        try:
            document = json.loads(await asyncio.to_thread(self._get, self._url))
            self._keys = _read(document)
        except (OSError, ValueError, RecursionError) as error:
            log.warning("auth.jwks_not_read", url=self._url, error=str(error), known=len(self._keys))
            return
        self._read_at = self._clock()


def _read(document: Any) -> dict[str | None, Key]:
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("no list of keys")
    found: dict[str | None, Key] = {}
    for one in listed[:MOST_KEYS]:
        if not isinstance(one, dict) or one.get("use", "sig") != "sig":
            continue
        algorithm = ALGORITHMS.get((str(one.get("kty")), one.get("crv")))
        if algorithm is None or one.get("alg", algorithm) != algorithm:
            continue
        try:
            key = jwt.PyJWK(one, algorithm=algorithm).key
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
        if algorithm == "RS256" and key.key_size < 2048:
            continue
        kid = one.get("kid")
        found[kid if isinstance(kid, str) else None] = (key, algorithm)
    return found
