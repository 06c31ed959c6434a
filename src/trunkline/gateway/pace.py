"""How fast one socket is read: the rest waits with its sender, and nobody else waits for it.

Always true: over any span no more than `rate` a second and one second's worth at once is taken; whoever takes without end lets
others run every YIELD_EVERY messages, also while its messages are here already.
Called by: raw, socketio.engine.
"""

from __future__ import annotations

import asyncio
import time

YIELD_EVERY = 16
WORTH_SLEEPING_S = 0.005  # shorter sleeps take as long as this one


class Pace:
    """Of one socket."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._tokens, self._at = rate, time.monotonic()
        self._since = 0

    async def take(self, messages: int = 1) -> None:
        """Wait until so many more may be read."""
        now = time.monotonic()
        self._tokens = min(self._rate, self._tokens + (now - self._at) * self._rate) - messages
        self._at = now
        self._since += messages
        if (debt_s := -self._tokens / self._rate) > WORTH_SLEEPING_S:
            self._since = 0
            await asyncio.sleep(debt_s)
        elif self._since >= YIELD_EVERY:
            self._since = 0
            await asyncio.sleep(0)
