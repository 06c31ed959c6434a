"""A process of a run: does one role, tells its parent in JSON lines on stdout, and takes orders from stdin.

Always true: it ends when its role is done, when stdin closes (its parent is gone), or when its deadline has passed.
Used by: every role; measure.roles.__main__ starts one.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Parent:
    """Who started this process."""

    def __init__(self) -> None:
        self.handled = 0  # how far the worker is, as the parent last said: "handled K"
        self._orders: asyncio.Queue[str] = asyncio.Queue()
        self._reading: asyncio.Task[None] | None = None

    async def listen(self) -> None:
        """Begin to read orders."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        self._reading = asyncio.create_task(self._read(reader))

    def say(self, event: str, **values: Any) -> None:
        """Answer."""
        sys.stdout.write(json.dumps({"event": event, **values}) + "\n")
        sys.stdout.flush()

    async def order(self) -> str:
        """Wait for the next one."""
        return await self._orders.get()

    async def expect(self, order: str) -> None:
        """Wait for this order."""
        word = await self.order()
        if word != order:
            raise RuntimeError(f"order {word!r}: need {order!r}.")

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            word, *number = line.decode().split()
            if word == "handled":
                self.handled = int(number[0])
            else:
                self._orders.put_nowait(word)
        os._exit(3)  # nobody is left to read an answer; nothing here is worth a slow end


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run on uvloop where it is installed: what a worker of ours does, too."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.run(main())
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main())
