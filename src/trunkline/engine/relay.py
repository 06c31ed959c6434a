"""One transaction after the other, where the end of each is written beside the beginning of the next.

Whoever feeds transactions from one source stands still while one of them is committed, and the database stands still while the next
is made ready. So each hands the source on as soon as it has read its part of it.
Always true: at most two are under way, the source is in the hands of one, and none is committed unless the one before it was.
Called by: engine.producer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class BeforeFailed(Exception):
    """The transaction before this one failed, so this one is undone; nobody sees it but who waits for both."""


class Leg(Generic[T]):
    """What a transaction knows of the others."""

    def __init__(self, before: asyncio.Task[T] | None) -> None:
        self._before = before
        self._handed_on = asyncio.Event()

    def hand_on(self) -> None:
        """The source is no longer needed here."""
        self._handed_on.set()

    async def turn(self) -> None:
        """Wait for the one before.

        Raises:
            BeforeFailed: it failed.
        """
        if self._before is not None:
            await asyncio.wait([self._before])
            if self._before.cancelled() or self._before.exception() is not None:
                raise BeforeFailed

    async def is_free(self) -> None:
        """Wait until the source is, or this has ended."""
        await self._handed_on.wait()


class Relay(Generic[T]):
    """Use it as a context: what is under way when it is left is undone."""

    def __init__(self) -> None:
        self._under_way: list[asyncio.Task[T]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def run(self, transaction: Callable[[Leg[T]], Awaitable[T]]) -> list[T]:
        """Let `transaction` begin; returns when the source may be read again, with what those before it gave.

        Raises:
            What one of those before it raised, or this one, if it has ended already.
        """

        async def run(leg: Leg[T]) -> T:
            try:
                return await transaction(leg)
            finally:
                leg.hand_on()

        leg = Leg(self._under_way[-1] if self._under_way else None)
        self._under_way.append(asyncio.create_task(run(leg)))
        await leg.is_free()
        before = [await self._next() for _ in self._under_way[:-1]]
        return before + ([await self._next()] if self._under_way[0].done() else [])

    async def over(self) -> list[T]:
        """Wait for all; what they gave, in their order. Raises what the first of them raised."""
        return [await self._next() for _ in list(self._under_way)]

    async def _next(self) -> T:
        result = await self._under_way[0]
        self._under_way.pop(0)
        return result
