"""Several processes that do anything at any moment, while one looks at what must always hold."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol


class Living(Protocol):
    """One process."""

    async def step(self) -> None:
        """Do something."""
        ...


async def live_together(lives: Sequence[Living], steps: int, wrongs: Callable[[], Awaitable[Sequence[Any]]]) -> None:
    """Let each take `steps` steps, all at once; until they are done, `wrongs` is asked again and again and must answer nothing."""
    over = asyncio.Event()

    async def watch() -> None:
        while not over.is_set():
            found = await wrongs()
            assert [] == found, found

    async def live(life: Living) -> None:
        for _ in range(steps):
            await life.step()

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch())
        await asyncio.gather(*(live(life) for life in lives))
        over.set()
        await watching
