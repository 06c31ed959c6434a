"""The one LISTEN connection of a process. Signals wake, reads tell: losing any of them costs latency, not correctness.

Always true: while `run` goes on there is a listening connection or an attempt to make one; after every (re)connect each
subscriber hears `resync` once, because signals sent in between are gone for good.
A LISTEN connection can die without a word until TCP gives up (asyncpg#519), so it is asked for a sign of life.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg
import structlog

from trunkline.settings import Settings
from trunkline.store.pool import keep_alive
from trunkline.store.sqlstate import translate

ALIVE_EVERY_S = 10.0
log = structlog.get_logger("trunkline.signals")
Hear = Callable[[str, list[str]], None]


class Signals:
    """Delivers signals as (word, arguments) to every subscriber, on the event loop, in order."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.listen_url or settings.database_url
        self._channel = f"{settings.schema_name}:signals"
        self._hearers: list[Hear] = []
        self._lost = asyncio.Event()
        self.connected = asyncio.Event()

    def subscribe(self, hear: Hear) -> Callable[[], None]:
        """Call `hear(word, args)` for each signal; the answer unsubscribes."""
        self._hearers.append(hear)
        return lambda: self._hearers.remove(hear) if hear in self._hearers else None

    async def run(self) -> None:
        """Listen until cancelled; reconnects with a growing pause of 0.1 to 2 s."""
        pause_s = 0.1
        while True:
            try:
                await self._listen()
                pause_s = 0.1
            except Exception as error:  # noqa: BLE001 - nothing that a server or a driver says may end the listening
                log.warning("signals.lost", error=str(translate(error) or repr(error)), retry_in_s=pause_s)
            self.connected.clear()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 2.0)

    async def _listen(self) -> None:
        self._lost.clear()
        conn = await asyncpg.connect(self._url, timeout=10, command_timeout=10, server_settings={"application_name": "trunkline-listen"})
        try:
            await keep_alive(conn)
            conn.add_termination_listener(lambda _: self._lost.set())
            await conn.add_listener(self._channel, self._heard)
            self.connected.set()
            self._tell("resync", [])
            while not self._lost.is_set():
                try:
                    async with asyncio.timeout(ALIVE_EVERY_S):
                        await self._lost.wait()
                except TimeoutError:
                    await conn.execute("select 1")
        finally:
            conn.terminate()

    def _heard(self, _: object, __: int, ___: str, payload: object) -> None:
        word, *arguments = str(payload).split(" ")
        self._tell(word, arguments)

    def _tell(self, word: str, arguments: list[str]) -> None:
        for hear in tuple(self._hearers):
            try:
                hear(word, arguments)
            except Exception:
                log.exception("signals.subscriber_failed", word=word)
