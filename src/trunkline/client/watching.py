"""Follows jobs: what the gateway tells of its tenant's jobs, and what `get_job` says whenever something may have been missed.

A watch begins with a look, and looks again after each reconnect and, because events may be lost, every few seconds: LOOKS_A_SECOND
for all jobs together at the most. So nothing is missed, it comes late at worst.
Always true: a watch ends with the job's end or an error, and says nothing after it; its buffer is bounded: progress that was
not read is replaced by the newer one, a job's end is never dropped.
Called by: client.client.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from trunkline.client.link import Link
from trunkline.errors import Forbidden, JobCancelled, JobFailed, NotFound, TrunklineError
from trunkline.wire.answers import Found, Job
from trunkline.wire.calls import GetJob
from trunkline.wire.pushes import CancelledPush, Completed, FailedPush, Progress, Started

LOOK_EVERY_S = 2.0
LOOKS_A_SECOND = 50
MOST_UPDATES = 100
ENDS = ("completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Update:
    """What became of a job.

    Attributes:
        state: created, active, retry, completed, failed or cancelled.
        progress: percent, where its worker said so; with `message` and `data`.
        result: of a completed job. error: the sentence of the last failure.
    """

    job_id: UUID
    state: str
    progress: float | None = None
    message: str | None = None
    data: Any = None
    result: Any = None
    error: str | None = None

    @property
    def is_end(self) -> bool:
        """Whether the job has ended."""
        return self.state in ENDS

    def outcome(self) -> Any:
        """The result; JobFailed or JobCancelled where there is none."""
        if self.state == "failed":
            raise JobFailed(f"job {self.job_id} failed: {self.error or 'no reason was given'}")
        if self.state == "cancelled":
            raise JobCancelled(f"job {self.job_id} was cancelled")
        return self.result


class Watch:
    """One reader of one job."""

    def __init__(self, job_id: UUID) -> None:
        self.job_id = job_id
        self._updates: deque[Update | TrunklineError] = deque()
        self._something = asyncio.Event()
        self._last: Update | None = None
        self.is_over = False

    def tell(self, update: Update) -> None:
        """What happened, unless that was the last to be told, or it is over."""
        if self.is_over or update == self._last:
            return
        if self._updates and not update.is_end:
            unread = self._updates[-1]
            if (isinstance(unread, Update) and unread.state == update.state) or len(self._updates) >= MOST_UPDATES:
                self._updates.pop()  # it was not read, and is out of date
        self._last, self.is_over = update, update.is_end
        self._updates.append(update)
        self._something.set()

    def fail(self, error: TrunklineError) -> None:
        """It cannot be followed (any more)."""
        if not self.is_over:
            self.is_over = True
            self._updates.append(error)
            self._something.set()

    async def next(self) -> Update:
        """The next update, once there is one."""
        while not self._updates:
            self._something.clear()
            await self._something.wait()
        update = self._updates.popleft()
        if isinstance(update, TrunklineError):
            raise update
        return update


class Watching:
    """All watches of one client."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._watches: dict[UUID, set[Watch]] = defaultdict(set)
        self._looking: set[UUID] = set()
        self._looks: deque[UUID] = deque()
        self._task: asyncio.Task[None] | None = None
        link.on_ready.append(self._look_at_all)
        link.over.add_done_callback(self._ended)

    async def follow(self, job_id: UUID) -> AsyncGenerator[Update, None]:
        """Where a job stands, and everything from there to its end."""
        watch = Watch(job_id)
        self._watches[job_id].add(watch)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look_now_and_then())
        try:
            self._look(job_id)
            while True:
                update = await watch.next()
                yield update
                if update.is_end:
                    return
        finally:
            watching = self._watches[job_id]
            watching.discard(watch)
            if not watching:
                del self._watches[job_id]

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def heard(self, event: str, data: msgspec.Raw) -> None:
        """An event of the tenant."""
        if self._watches and (reader := _READERS.get(event)) is not None:
            job_id = _job_id.decode(data).job_id
            if job_id in self._watches:
                self._tell(_update(reader.decode(data)))

    def _tell(self, update: Update) -> None:
        for watch in tuple(self._watches.get(update.job_id, ())):
            watch.tell(update)

    def _ended(self, over: asyncio.Future[TrunklineError]) -> None:
        for watches in tuple(self._watches.values()):
            for watch in tuple(watches):
                watch.fail(over.result())

    # -- looks -------------------------------------------------------------------------

    def _look_at_all(self) -> None:
        for job_id in tuple(self._watches):
            self._look(job_id)

    async def _look_now_and_then(self) -> None:
        while self._watches:
            await asyncio.sleep(LOOK_EVERY_S)
            self._looks = self._looks or deque(self._watches)
            for _ in range(min(len(self._looks), int(LOOKS_A_SECOND * LOOK_EVERY_S))):
                if (job_id := self._looks.popleft()) in self._watches:
                    self._look(job_id)

    def _look(self, job_id: UUID) -> None:
        if job_id in self._looking:
            return  # what was asked for before comes, too, after a reconnect
        self._looking.add(job_id)
        self._link.submit(GetJob(job_id=job_id)).add_done_callback(lambda answer: self._looked(job_id, answer))

    def _looked(self, job_id: UUID, answer: asyncio.Future[Any]) -> None:
        self._looking.discard(job_id)
        if answer.cancelled():
            return
        error, watches = answer.exception(), tuple(self._watches.get(job_id, ()))
        if error is None:
            found = answer.result()
            assert isinstance(found, Found)
            if found.job is not None:
                self._tell(_seen(found.job))
                return
            error = NotFound(f"job {job_id}: this tenant has no such job. Ids end with their job when its retention is over.")
        if isinstance(error, (NotFound, Forbidden)) or self._link.over.done():
            for watch in watches:
                watch.fail(error if isinstance(error, TrunklineError) else TrunklineError(str(error)))


class _JobId(msgspec.Struct, rename="camel", frozen=True):
    job_id: UUID


_job_id = msgspec.json.Decoder(_JobId)
_READERS = {each.event: msgspec.json.Decoder(each) for each in (Started, Progress, Completed, FailedPush, CancelledPush)}


def _update(push: Any) -> Update:
    if isinstance(push, Progress):
        return Update(push.job_id, "active", push.progress, push.message or None, _value(push.data))
    if isinstance(push, Completed):
        return Update(push.job_id, "completed", result=_value(push.result))
    if isinstance(push, FailedPush):
        return Update(push.job_id, "retry" if push.will_retry else "failed", error=message_of(_value(push.error)))
    return Update(push.job_id, "active" if isinstance(push, Started) else "cancelled")


def _seen(job: Job) -> Update:
    said = job.progress if isinstance(job.progress, dict) else {}
    is_end = job.state in ENDS  # the same as the event that says so, which has no progress
    return Update(
        job.id,
        job.state,
        None if is_end else said.get("percentage"),
        None if is_end else said.get("message"),
        None if is_end else said.get("data"),
        job.output,
        message_of(job.error),
    )


def _value(raw: Any) -> Any:
    return msgspec.json.decode(raw) if isinstance(raw, msgspec.Raw) else None


def message_of(error: Any) -> str | None:
    """The sentence of an error as jobs keep it: text, or an object with a message."""
    if isinstance(error, dict):
        error = error.get("message") or error.get("type") or "failed"
    return None if error is None else str(error)


async def outcome(updates: AsyncIterator[Update]) -> Any:
    """The result of a job that is followed to its end."""
    with suppress(StopAsyncIteration):
        while True:
            if (update := await anext(updates)).is_end:
                return update.outcome()
    raise AssertionError("a watch ends with an update that says so")
