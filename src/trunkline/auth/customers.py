"""Customer tokens to principals, fast: a short memory in front of the database.

Always true: a token that is unknown, inactive or over is refused in the same words and as fast as any other; what the memory
says is at most REMEMBER_S old, and a revocation that is heard empties it at once; the memory holds at most MOST tokens, and
hashes only.
Called by: gateway, rest.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from uuid import UUID

import structlog

from trunkline.auth.principal import SCOPES, Principal
from trunkline.auth.tokens import token_hash
from trunkline.errors import TrunklineError, Unauthenticated
from trunkline.store import Store, tokens

REMEMBER_S = 2.0
MOST = 10_000
NOTE_EVERY_S = 60.0
log = structlog.get_logger("trunkline.auth")


class Customers:
    """Who a customer token stands for. Subscribe `heard` to the signals; `run` writes down, lazily, which tokens were used."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[float, Principal | None]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[Principal | None]] = {}
        self._used: set[tuple[int, UUID]] = set()
        self._emptied = 0  # times the memory lost something to a revocation

    async def principal(self, plain: object) -> Principal:
        """Whom a plain token stands for.

        Raises:
            Unauthenticated: there is no such token, or none that is live.
        """
        hashed = token_hash(plain)
        found = None if hashed is None else await self._look_up(hashed)
        if found is None:
            raise Unauthenticated("Invalid authentication token")
        assert found.token_id is not None
        self._used.add((found.tenant_id, found.token_id))
        return found

    async def _look_up(self, hashed: bytes) -> Principal | None:
        at, found = self._known.get(hashed, (float("-inf"), None))
        if self._clock() - at < REMEMBER_S:
            return found
        asking = self._asking.get(hashed)
        if asking is None:  # a thousand connections that come back with one token are one question
            asking = self._asking[hashed] = asyncio.create_task(self._ask(hashed))
            asking.add_done_callback(lambda _: self._asking.pop(hashed, None))
        return await asyncio.shield(asking)

    async def _ask(self, hashed: bytes) -> Principal | None:
        asked_at, emptied = self._clock(), self._emptied
        row = await tokens.by_hash(self._store, hashed)
        found = None
        if row is not None and hmac.compare_digest(row.hash, hashed):
            scopes = frozenset(scope for scope in SCOPES if scope in row.scopes)
            found = Principal(row.tenant_id, row.tenant, scopes, token_id=row.token_id, expires_at=row.expires_at)
        if emptied == self._emptied:  # else the answer may be older than the revocation
            self._known[hashed] = (asked_at, found)
            self._known.move_to_end(hashed)
            while len(self._known) > MOST:
                self._known.popitem(last=False)
        return found

    def heard(self, word: str, arguments: list[str]) -> None:
        """A signal: after `revoked` (and `resync`: signals were lost) nothing is believed unasked."""
        if word == "resync":
            self._emptied += 1
            self._known.clear()
        elif word == "revoked":
            self._emptied += 1
            gone = UUID(arguments[1])
            for hashed in [key for key, (_, known) in self._known.items() if known is not None and known.token_id == gone]:
                del self._known[hashed]

    async def run(self) -> None:
        """Note which tokens were used, once a minute, until cancelled."""
        while True:
            await asyncio.sleep(NOTE_EVERY_S)
            await self.note_used()

    async def note_used(self) -> None:
        """Write it now. What the database does not take is forgotten: it is for people who tidy up."""
        used, self._used = self._used, set()
        if used:
            try:
                await tokens.note_used(self._store, sorted(used))
            except TrunklineError as error:
                log.warning("auth.use_not_noted", error=str(error), tokens=len(used))
