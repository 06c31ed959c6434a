"""Threads for plain handlers. Daemons: a handler that hangs must not keep the process alive after its shutdown.

Always true: at most `size` threads, made when needed and kept for the next call; a call whose waiter went away still keeps its
thread until the function ends, because nothing can stop a thread.
Called by: engine.pools.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any

_Call = tuple[Callable[[], Any], "asyncio.Future[Any]", asyncio.AbstractEventLoop]


class Threads:
    """The pool; `concurrent.futures` joins its threads when the interpreter ends, whatever they do."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._made = 0
        self._unclaimed = 0  # calls put in minus threads that wait for one

    async def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a function in a thread, in the context of the caller; what it returns or raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        context = copy_context()
        self._calls.put((lambda: context.run(function, *args, **kwargs), future, loop))
        with self._lock:
            self._unclaimed += 1
            grow = self._unclaimed > 0 and self._made < self._size
            self._made += grow
        if grow:
            threading.Thread(target=self._serve, name=f"trunkline-handler-{self._made}", daemon=True).start()
        return await future

    def close(self) -> None:
        """Let idle threads end; those that are busy end with their function, or with the process."""
        for _ in range(self._made):
            self._calls.put(None)

    def _serve(self) -> None:
        while (call := self._next()) is not None:
            function, future, loop = call
            result: Any = None
            error: BaseException | None = None
            try:
                result = function()
            except BaseException as raised:  # noqa: BLE001 - it is the answer
                error = raised
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_answer, future, result, error)

    def _next(self) -> _Call | None:
        with self._lock:
            self._unclaimed -= 1
        return self._calls.get()


def _answer(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):
        future.set_exception(RuntimeError(f"the handler raised {error!r}"))  # a future cannot carry it
    else:
        future.set_exception(error)
