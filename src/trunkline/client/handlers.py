"""What a remote worker can do, and how a handler's end is said: result, failure, a wish to be called later.

Called by: client.client, client.working.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any

import msgspec

from trunkline.client.job import Job
from trunkline.errors import InvalidInput, InvalidPayload
from trunkline.model import Fail, RetryAfter, Snooze, kind_name
from trunkline.model.binding import Bind, bind
from trunkline.model.payload import encode
from trunkline.model.trace import continuing
from trunkline.wire import Call
from trunkline.wire.calls import ABSENT, MAX_CAPACITY, JobCompleted, JobFailed

OUTCOMES = (Fail, RetryAfter, Snooze)
KEPT = 4000  # characters of an error's message, and of its traceback's end


@dataclass(slots=True, eq=False)
class Handler:
    """A name of jobs and how they are done here. `running`: attempts, and threads that nobody waits for any more."""

    kind: str
    function: Callable[..., Any]
    concurrency: int
    is_async: bool
    bind: Bind
    running: int = 0
    waiting: list[Job] = field(default_factory=list)

    @classmethod
    def of(cls, kind: str, function: Callable[..., Any], concurrency: int) -> Handler:
        """A checked declaration.

        Raises:
            InvalidInput: the name, the number or the function's parameters cannot serve.
        """
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or not 1 <= concurrency <= MAX_CAPACITY:
            raise InvalidInput(f"concurrency of {kind!r} is {concurrency!r}: need an integer from 1 to {MAX_CAPACITY}.")
        name = kind_name(kind)
        return cls(name, function, concurrency, inspect.iscoroutinefunction(function), bind(function, name, takes_job=True))

    async def run(self, job: Job, left: Callable[[], None]) -> Any:
        """What the function returns or raises. `left` is called once its place is free: for a thread, when that has ended."""
        thread: asyncio.Future[Any] | None = None
        try:
            args, kwargs = self.bind(job)
            with continuing(job.traceparent):
                if self.is_async:
                    return await self.function(*args, **kwargs)
                thread = in_thread(self.function, *args, **kwargs)
                return await asyncio.shield(thread)
        finally:
            if thread is None or thread.done():
                left()
            else:
                thread.add_done_callback(lambda _: left())


def in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
    """Run a plain function in a thread of its own, a daemon: one that hangs does not keep the process alive."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    context = copy_context()

    def run() -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = context.run(function, *args, **kwargs)
        except BaseException as raised:  # noqa: BLE001 - it is the answer
            error = RuntimeError(f"the handler raised {raised!r}") if isinstance(raised, StopIteration) else raised
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_answer, future, result, error)

    threading.Thread(target=run, name="trunkline-handler", daemon=True).start()
    return future


def _answer(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
        future.exception()


def completed(job: Job, result: Any) -> Call:
    """The report of a handler that returned."""
    if isinstance(result, OUTCOMES):
        return failed(job, result)
    try:
        raw = ABSENT if result is None else msgspec.Raw(encode(result, what="result").encode())
    except InvalidPayload as error:
        return failed(job, error)
    return JobCompleted(job_name=job.kind, job_id=job.id, attempt=job.attempt, result=raw)


def failed(job: Job, error: BaseException) -> Call:
    """The report of a handler that raised: retried by the policy, later without a failure (RetryAfter, Snooze), or never (Fail)."""
    return JobFailed(
        job_name=job.kind,
        job_id=job.id,
        attempt=job.attempt,
        error=msgspec.Raw(msgspec.json.encode(_said(error))),
        retryable=not isinstance(error, (Fail, InvalidPayload)),
        retry_after=float(error.seconds) if isinstance(error, (RetryAfter, Snooze)) else None,
    )


def released(job: Job) -> Call:
    """Handed back by a worker that stops: offered again at once, which counts as no failure."""
    return failed(job, RetryAfter(0, "its worker was stopped"))


def _said(error: BaseException) -> dict[str, str]:
    said = {"type": type(error).__name__, "message": _storable(str(error) or type(error).__name__)[:KEPT]}
    if not isinstance(error, OUTCOMES) and error.__traceback__ is not None:
        said["traceback"] = _storable("".join(traceback.format_exception(error)))[-KEPT:]
    return said


def _storable(text: str) -> str:
    return text.replace("\x00", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
