"""Runs a blocking reading in a thread of its own and carries its progress back to the job on the event loop.

Always true: `job.progress` runs on the loop and never in the thread; the thread waits for each report, so it cannot
run ahead of the loop; once the job is cancelled, by flag or by its task, the next `report` raises `Stopped` there.
The thread is a daemon and not one of the loop's pool: a server that hangs holds up neither the process's exit nor the
name lookups that share the pool; the reader's own timeouts end it.
Called by: schema_rebuild, data_export, imports, backup_connection, crm.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from trunkline.connections.aside import in_thread
from trunkline.engine import Job

T = TypeVar("T")

# A report that the loop has not taken after this long means that the loop is gone; seconds.
LOOP_IS_GONE_S = 60.0
ASK_AGAIN_S = 1.0  # how often a thread that waits for the loop looks whether its job is over


class Stopped(Exception):
    """The job was cancelled; the reading ends here and its result is not wanted."""


class Bridge:
    """One job's way from the thread to the loop. Make it on the loop, use `report` in the thread."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()

    def report(self, percent: float, message: str, *, current: int | None = None, total: int | None = None) -> None:
        """Tell the job's progress from the thread and wait until the loop has taken it.

        Raises:
            Stopped: The job is cancelled; nothing was reported.
            LeaseLost: The job belongs to somebody else now (from `job.progress`).
        """
        self.check()
        progress = self._job.progress(percent, message, current=current, total=total)
        asyncio.run_coroutine_threadsafe(progress, self._loop).result(LOOP_IS_GONE_S)

    def keep(self, value: Any) -> None:
        """Write the job's checkpoint from the thread; durable when this returns. Raises as `report`."""
        self.check()
        asyncio.run_coroutine_threadsafe(self._job.checkpoint(value), self._loop).result(LOOP_IS_GONE_S)

    def ask(self, asking: Coroutine[Any, Any, T]) -> T:
        """The answer of a coroutine that runs on the loop, in the thread; it ends by itself, so there is no limit here.

        Raises:
            Stopped: The job was cancelled meanwhile. Else what the coroutine raised.
        """
        try:
            self.check()
        except Stopped:
            asking.close()
            raise
        asked = asyncio.run_coroutine_threadsafe(asking, self._loop)
        while True:
            try:
                return asked.result(ASK_AGAIN_S)
            except TimeoutError:
                if asked.done():
                    return asked.result()  # it came at this moment, or raises a TimeoutError of its own
                if self._stopped.is_set():
                    asked.cancel()
                    raise Stopped from None

    def check(self) -> None:
        """Raise `Stopped` when the job is cancelled; cheap, callable anywhere."""
        if self._stopped.is_set() or self._job.cancelled:
            raise Stopped

    async def run(self, reading: Callable[[], T]) -> T:
        """Run `reading` in a new thread and wait for what it returns or raises.

        Raises:
            asyncio.CancelledError: The job was cancelled. The thread ends at its next report, or at a timeout of the
                database it reads; nobody waits for it.
        """
        try:
            return await in_thread(reading, name=f"reading-{self._job.id}")
        except Stopped:
            raise asyncio.CancelledError(f"job {self._job.id} was cancelled") from None
        finally:
            self._stopped.set()
