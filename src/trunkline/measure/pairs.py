"""Interleaved pairs: ours and the floors in turn, so that a machine that slows down slows all of them.

Called by: the measures.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
Side = Callable[[], Awaitable[T]]


async def interleaved(pairs: int, *sides: Side[T]) -> list[list[T]]:
    """Run every side `pairs` times, in turn; the answers of each side, in order.

    The order is turned round in every other pair: whatever grows during a pair then falls on both equally.
    """
    answers: list[list[T]] = [[] for _ in sides]
    for pair in range(pairs):
        order = list(range(len(sides)))
        for side in order if pair % 2 == 0 else reversed(order):
            answers[side].append(await sides[side]())
    return answers
