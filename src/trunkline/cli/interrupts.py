"""Ctrl-C and SIGTERM for commands that run until they are told to stop.

Always true: the first signal asks; the second ends the process at once with 130 (143 for SIGTERM), even while the event
loop is blocked. The handlers are plain `signal` ones: they behave the same under asyncio and uvloop.
Called by: up, worker.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from types import FrameType, TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

SHOW_CURSOR = "\x1b[?25h"  # a progress bar hides it


class Stopped(Exception):
    """Somebody asked to stop while something was still under way."""


class Interrupts:
    """Listens from `with` to its end. `asked` is set by the first signal."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._before: dict[int, Any] = {}
        self._count = 0

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    async def unless_asked(self, work: Coroutine[Any, Any, T]) -> T:
        """The answer of `work`; it is cancelled when somebody asks to stop first.

        Raises:
            Stopped: somebody did.
        """
        task, asked = asyncio.ensure_future(work), asyncio.ensure_future(self.asked.wait())
        try:
            await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Stopped
        finally:
            for each in (task, asked):
                each.cancel()
            await asyncio.gather(task, asked, return_exceptions=True)

    def _heard(self, number: int, _: FrameType | None) -> None:
        self._count += 1
        if self._count > 1:
            # Not through sys.stderr: its buffer may be in the middle of a write.
            before = f"\r{SHOW_CURSOR}" if os.isatty(2) else ""
            os.write(2, f"{before}Stopped at once. Jobs that were running are offered again within 10 s.\n".encode())
            os._exit(128 + number)
        self._loop.call_soon_threadsafe(self.asked.set)
