"""One transaction after the other, where the end of each is written beside the beginning of the next.

Whoever feeds transactions from one source stands still while one of them is committed, and the database stands still while the next
is made ready. So each hands the source on as soon as it has read its part of it.
Always true: at most two are under way, the source is in the hands of one, and none is committed unless the one before it was, nor in
its place: where one is undone and done once more, the one behind it is undone, too, and follows it. (It would stand before it, and it
may hold what the one before needs: a lock, or the last connection.)
Called by: engine.producer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class BeforeFailed(Exception):
    """The transaction before this one failed, so this one is undone; nobody sees it but who waits for both."""


class BeforeBeginsAgain(Exception):
    """The transaction before this one is done once more, so this one is to be undone and done once more behind it."""


class Leg:
    """What a transaction knows of the others."""

    def __init__(self, before: Leg | None) -> None:
        self._before: Leg | None = None if before is None or before._is_kept else before
        self._handed_on = asyncio.Event()
        self._decided = asyncio.Event()  # it has ended, or begins again
        self._ended = asyncio.Event()
        self._begins_again: bool = False
        self._is_kept: bool = False

    def hand_on(self) -> None:
        """The source is no longer needed here."""
        self._handed_on.set()

    async def turn(self) -> None:
        """Wait for the one before, with a transaction open.

        Raises:
            BeforeFailed: it failed.
            BeforeBeginsAgain: undo this one, and say `begin_again`.
        """
        if self._before is not None:
            await self._before._decided.wait()
            if self._before._begins_again:
                raise BeforeBeginsAgain
            self._before._check()

    async def begin_again(self) -> None:
        """This was undone: wait for the one before, to do it once more. None begins behind it until it has ended.

        Raises:
            BeforeFailed: the one before failed.
        """
        self._begins_again = True
        self._handed_on.clear()
        self._decided.set()
        if self._before is not None:
            await self._before._ended.wait()
            self._before._check()

    async def is_free(self) -> None:
        """Wait until the source is, or this has ended."""
        while not self._handed_on.is_set():  # it may have been taken back before who waits gets to hear of it
            await self._handed_on.wait()

    def end(self, *, is_kept: bool) -> None:
        """It is committed, or failed."""
        self._is_kept = is_kept
        self._ended.set()
        self._decided.set()
        self._before = None  # else each would keep all before it
        self.hand_on()

    def _check(self) -> None:
        if not self._is_kept:
            raise BeforeFailed


class Relay(Generic[T]):
    """Use it as a context: what is under way when it is left is undone."""

    def __init__(self) -> None:
        self._under_way: list[asyncio.Task[T]] = []
        self._last: Leg | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def run(self, transaction: Callable[[Leg], Awaitable[T]]) -> list[T]:
        """Let `transaction` begin; returns when the source may be read again, with what those before it gave.

        Raises:
            What one of those before it raised, or this one, if it has ended already.
        """
        leg = self._last = Leg(self._last)
        self._under_way.append(asyncio.create_task(_run(transaction, leg)))
        await leg.is_free()
        before = [await self._next() for _ in self._under_way[:-1]]
        await leg.is_free()  # one of those before may have begun again, and this one with it
        return before + ([await self._next()] if self._under_way[0].done() else [])

    async def over(self) -> list[T]:
        """Wait for all; what they gave, in their order. Raises what the first of them raised."""
        return [await self._next() for _ in list(self._under_way)]

    async def _next(self) -> T:
        result = await self._under_way[0]
        self._under_way.pop(0)
        return result


async def _run(transaction: Callable[[Leg], Awaitable[T]], leg: Leg) -> T:
    is_kept = False
    try:
        result = await transaction(leg)
        is_kept = True
        return result
    finally:
        leg.end(is_kept=is_kept)
