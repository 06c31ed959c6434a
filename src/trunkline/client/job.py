"""`Job`: one attempt as its handler on a remote machine sees it.

Always true: progress leaves at most four times a second, the latest first of all, and the last before the job's end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from trunkline.errors import InvalidInput
from trunkline.model.payload import decode, encode
from trunkline.wire import Call
from trunkline.wire.calls import ABSENT, JobProgress
from trunkline.wire.pushes import WorkRequest

PROGRESS_EVERY_S = 0.25
Submit = Callable[[Call], "asyncio.Future[Any]"]


class _Said:
    """What `await job.progress(...)` waits for: one turn of the loop. A plain function need not await it."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Job:
    """One attempt of one job.

    Attributes:
        id, kind, priority, created_at: as sent.
        attempt: number of this attempt, from 1; with `id` it is the fence.
        failures: attempts so far that counted against the retry limit.
        cancelled: whether this attempt is to end: cancelled, out of time, no longer ours, or the worker stops; a long plain
            function looks at it.
        payload_text: the payload as JSON text.
        traceparent: the W3C trace context that it was sent in; what the handler sends carries it on, and so do OpenTelemetry's spans.
        stop_reason: why, where `cancelled`: cancelled, timed_out, lost or released.
    """

    def __init__(self, request: WorkRequest, deadline_at: float, submit: Submit, lost: Callable[[Job], None]) -> None:
        self.id, self.kind, self.priority, self.created_at = request.id, request.name, request.priority, request.created_at
        self.attempt, self.failures, self.traceparent = request.attempt, request.retry_count, request.traceparent
        self.payload_text = bytes(request.data).decode()
        self.deadline_at = deadline_at
        self.cancelled = False
        self.stop_reason: str | None = None
        self.is_reported = False
        self.task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._submit, self._lost = submit, lost
        self._unsaid: JobProgress | None = None
        self._said_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._under_way: asyncio.Future[Any] | None = None

    created_at: datetime

    @property
    def fence(self) -> tuple[UUID, int]:
        """(id, attempt): give it to outside systems so that they can refuse a late attempt."""
        return (self.id, self.attempt)

    @property
    def payload(self) -> Any:
        """The payload, decoded at each access."""
        return decode(self.payload_text)

    def progress(self, percent: float, message: str | None = None, data: Any = None) -> _Said:
        """Tell watchers how far it is, 0..100. Cheap: `await` it in a coroutine, just call it in a plain function.

        Raises:
            InvalidInput, InvalidPayload: what is given cannot be said.
        """
        if isinstance(percent, bool) or not isinstance(percent, (int, float)) or not 0 <= percent <= 100:
            raise InvalidInput(f"progress is {percent!r}: need a number from 0 to 100.")
        said = JobProgress(
            job_name=self.kind,
            job_id=self.id,
            attempt=self.attempt,
            progress=float(percent),
            message=None if message is None else str(message)[:2000],
            data=ABSENT if data is None else msgspec.Raw(encode(data, what="progress data", max_bytes=64 * 1024).encode()),
        )
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._say(said)
        else:
            self._loop.call_soon_threadsafe(self._say, said)
        return _Said()

    def _say(self, said: JobProgress) -> None:
        if self.is_reported or self.stop_reason is not None:
            return
        self._unsaid = said
        wait_s = self._said_at + PROGRESS_EVERY_S - self._loop.time()
        if self._timer is None and (self._under_way is None or self._under_way.done()):
            if wait_s <= 0:
                self.flush()
            else:
                self._timer = self._loop.call_later(wait_s, self.flush)

    def flush(self) -> None:
        """Send the latest progress now, if it was not sent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._unsaid is not None:
            said, self._unsaid = self._unsaid, None
            self._said_at = self._loop.time()
            self._under_way = self._submit(said)
            self._under_way.add_done_callback(self._answered)

    def _answered(self, answer: asyncio.Future[Any]) -> None:
        self._lost_if_so(answer)
        if self._unsaid is not None and self._timer is None:  # said while the gateway was away
            self._say(self._unsaid)

    def _lost_if_so(self, answer: asyncio.Future[Any]) -> None:
        if not answer.cancelled() and getattr(answer.exception(), "code", None) == "lease_lost" and not self.is_reported:
            self._lost(self)

    def said(self, call: Call) -> None:
        """Send a report about this attempt; an answer that it is not ours (any more) ends it."""
        self._submit(call).add_done_callback(self._lost_if_so)
