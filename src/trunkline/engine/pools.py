"""Where handlers run that are not `async def`: in a thread, or in a process of their own.

Always true: a thread cannot be stopped, so an abandoned one keeps its place in the pool until it ends; a process can, so a
`process=True` attempt that is stopped is killed at once.
Called by: engine.runner.
"""

from __future__ import annotations

from typing import Any

from trunkline.engine.context import Job
from trunkline.engine.processes import Processes
from trunkline.engine.threads import Threads


class Pools:
    """The threads and processes of one worker; none is started before it is needed."""

    def __init__(self, threads: int, processes: int) -> None:
        self._threads = Threads(threads)
        self._processes = Processes(processes)

    async def call(self, job: Job, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a handler that is not `async def` with its arguments; what it returns or raises."""
        handler = job.handler
        if handler.mode == "thread":
            return await self._threads.call(handler.function, *args, **kwargs)
        return await self._processes.call(handler.function.__module__, handler.function.__qualname__, job.payload_text, job.about())

    async def close(self) -> None:
        """Stop processes; threads that still run end with their function, or with this process."""
        self._threads.close()
        await self._processes.close()
