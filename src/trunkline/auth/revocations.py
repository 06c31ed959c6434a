"""Tells doors when somebody they let in has to leave: a token was deactivated or ran out, a JWT's time is over.

A door says `watch(principal, over)` for each open socket and calls what it got back when the socket closes. `over` is called
once, on the event loop, within CHECK_EVERY_S even if every signal is lost, at once when the signal comes.
Always true: what ended is told until it is unwatched, never twice; the database is asked about tokens that somebody holds
open, and not at all when there are none.
Called by: gateway, realtime.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

import structlog

from trunkline.auth.principal import Principal
from trunkline.errors import TrunklineError
from trunkline.store import Store, tokens

CHECK_EVERY_S = 3.0  # with one failed question in between, still about 5 s
Over = Callable[[], None]
log = structlog.get_logger("trunkline.auth")


class Revocations:
    """One per process. Subscribe `heard` to the signals and keep `run` going."""

    def __init__(self, store: Store, *, check_every_s: float = CHECK_EVERY_S) -> None:
        self._store = store
        self._every_s = check_every_s
        self._tokens: dict[tuple[int, UUID], set[Over]] = defaultdict(set)
        self._ending: dict[Over, datetime] = {}
        self._look = asyncio.Event()

    def watch(self, principal: Principal, over: Over) -> Callable[[], None]:
        """Call `over` once when this principal is no longer good; the answer unwatches."""

        def once() -> None:
            unwatch()
            over()

        key = None if principal.token_id is None else (principal.tenant_id, principal.token_id)

        def unwatch() -> None:
            self._ending.pop(once, None)
            if key is not None and key in self._tokens:
                self._tokens[key].discard(once)
                if not self._tokens[key]:
                    del self._tokens[key]

        if key is not None:
            self._tokens[key].add(once)
        elif principal.expires_at is not None:
            self._ending[once] = principal.expires_at
        self._look.set()  # it may have ended between the question who it is and this call
        return unwatch

    def heard(self, word: str, arguments: list[str]) -> None:
        """A signal: `revoked <tenant> <token>`, or `resync` (signals were lost)."""
        if word == "revoked":
            self._end((int(arguments[0]), UUID(arguments[1])))
        elif word == "resync":
            self._look.set()

    async def run(self) -> None:
        """Look at what is open every few seconds, and when told to, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every_s if self._tokens or self._ending else None):
                    await self._look.wait()
            self._look.clear()
            try:
                await self.look()
            except TrunklineError as error:
                log.warning("auth.revocations_not_read", error=str(error), sockets_of=len(self._tokens))
            except Exception:
                log.exception("auth.revocations_failed")
            await asyncio.sleep(0.2)  # a storm of connections is one question

    async def look(self) -> None:
        """Tell whoever holds something that is over by now."""
        now = datetime.now(UTC)  # as the JWT was judged: by this host's clock
        for once in [each for each, at in self._ending.items() if at <= now]:
            self._call(once)
        if self._tokens:
            asked = list(self._tokens)
            over = await tokens.over(self._store, asked)
            for key in asked:
                if key[1] in over:
                    self._end(key)

    def _end(self, key: tuple[int, UUID]) -> None:
        for once in tuple(self._tokens.get(key, ())):
            self._call(once)

    def _call(self, once: Over) -> None:
        try:
            once()
        except Exception:
            log.exception("auth.door_failed")  # one door's trouble must not keep the next one open
