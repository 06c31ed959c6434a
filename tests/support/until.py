"""Waiting for something to become true, with a bound that only a broken system reaches. Nothing here waits for a time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

LOOK_EVERY_S = 0.02
WITHIN_S = 30.0  # for a busy machine; never a measure


async def until(condition: Callable[[], Any], what: str, *, within_s: float = WITHIN_S) -> Any:
    """The first true answer of `condition`, plain or awaitable; `what` names it when it never comes."""
    begin = time.monotonic()
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() - begin < within_s, f"after {within_s:g} s still not: {what}"
        await asyncio.sleep(LOOK_EVERY_S)


def until_now(condition: Callable[[], Any], what: str, *, within_s: float = WITHIN_S) -> Any:
    """The same without an event loop."""
    begin = time.monotonic()
    while not (answer := condition()):
        assert time.monotonic() - begin < within_s, f"after {within_s:g} s still not: {what}"
        time.sleep(LOOK_EVERY_S)
    return answer
