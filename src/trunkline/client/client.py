"""`Client`: what a program on another machine does with Trunkline: send, wait, watch, schedule, work. Make one with `connect`.

Always true: it knows a token and an address and nothing of the database; a call may be sent twice and counts once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, TypeVar, cast
from uuid import UUID

import msgspec

from trunkline.client.batch import Batch
from trunkline.client.dialing import Token
from trunkline.client.handlers import Handler
from trunkline.client.link import Link
from trunkline.client.options import Given, batch_jobs, identity, made_id, options_of, payload_of
from trunkline.client.watching import Update, Watching, outcome
from trunkline.client.working import Working
from trunkline.errors import InvalidInput, NotFound, WaitTimeout
from trunkline.wire.answers import Job, ScheduleView, Sent
from trunkline.wire.calls import (
    CancelJob,
    GetJob,
    GetQueueSize,
    JobOptions,
    ListSchedules,
    ScheduleJob,
    ScheduleOptions,
    SendBatch,
    SendJob,
    UnscheduleJob,
)

F = TypeVar("F", bound=Callable[..., Any])


def connect(
    url: str, token: Token, *, events: bool = True, open_timeout: float = 10.0, call_timeout: float = 30.0, stop_timeout: float = 30.0
) -> Client:
    """A client of a gateway: `async with connect("wss://jobs.example.com", token) as client:`.

    Args:
        token: of the customer; or a function, plain or async, that gives one: it is asked at each connect.
        events: False for a program that only works or sends: what happens in its tenant is not told to it.
        open_timeout: seconds to get in at first; later it tries for ever.
        call_timeout: seconds one call may take, reconnects included.
        stop_timeout: seconds that started jobs have to end when a worker is stopped.
    """
    return Client(url, token, events=events, open_timeout=open_timeout, call_timeout=call_timeout, stop_timeout=stop_timeout)


class Client:
    """One connection to a gateway, kept up. Use it in one event loop."""

    def __init__(self, url: str, token: Token, *, events: bool, open_timeout: float, call_timeout: float, stop_timeout: float) -> None:
        self._how = (url, token, events)
        self._open_s, self._call_s, self._stop_s = open_timeout, call_timeout, stop_timeout
        self._handlers: dict[str, Handler] = {}
        self._parts: tuple[Link, Watching, Working] | None = None

    def __repr__(self) -> str:
        return f"<trunkline client of {self._how[0]}>"

    async def open(self) -> Self:
        """Connect.

        Raises:
            Unauthenticated, InvalidInput, RateLimited, Unavailable: why it could not.
        """
        if self._parts is None:
            url, token, events = self._how
            link = Link(url, token, events=events, hears=self._heard)
            self._parts = (link, Watching(link), Working(link, self._handlers))
            try:
                await link.open(self._open_s)
            except BaseException:
                self._parts = None
                raise
        return self

    async def close(self) -> None:
        """Stop working as `stop` does, then disconnect; calls without an answer fail. Twice is once."""
        if self._parts is not None:
            link, watching, working = self._parts
            try:
                await working.close()
            finally:
                self._parts = None
                await watching.close()
                await link.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    @property
    def customer_id(self) -> str:
        """The tenant that the token belongs to."""
        return self._link.customer_id

    @property
    def connects(self) -> int:
        """How often it was let in: 1 plus the reconnects so far."""
        return self._link.connects

    @property
    def _link(self) -> Link:
        if self._parts is None:
            raise InvalidInput("the client is not open: use `async with connect(...) as client`, or await client.open().")
        return self._parts[0]

    def _heard(self, event: str, data: msgspec.Raw) -> None:
        if self._parts is not None:
            _, watching, working = self._parts
            if event in ("work_request", "cancel_request"):
                working.heard(event, data)
            else:
                watching.heard(event, data)

    # -- send ----------------------------------------------------------------------------

    async def send(self, name: str, payload: Any = None, **options: Any) -> UUID | None:
        """Put one job in; its id. With an idempotency_key that is held the holder's id, with a unique_key that is held None.

        Args:
            options: priority, run_at or delay, timeout, retry_limit, retry_delay, retry_backoff, unique_key, idempotency_key,
                dead_letter, depends_on, user_id, id; durations in seconds.
        Raises:
            InvalidInput, InvalidPayload, Forbidden, QuotaExceeded, RateLimited: it was refused.
            Unavailable: no answer came; sent again with the same `id` it is the same job.
        """
        call = SendJob(name, payload_of(payload), options_of(options, JobOptions, self._link.clock_off_s))
        sent: Sent = await self._link.ask(call, self._call_s)
        return sent.job_id

    async def send_many(self, jobs: Iterable[Given]) -> list[UUID | None]:
        """Put jobs in, given as (name, payload) or (name, payload, options); their ids, in order. `batch` puts in all or none.

        Raises:
            TrunklineError: of the first that was refused; the others were put in.
        """
        link = self._link
        calls = [SendJob(job.name, job.data, job.options) for job in batch_jobs(jobs, link.clock_off_s)]
        answers = await link.ask_many(calls, self._call_s)
        sent = [cast(Sent, answer.result()) for answer in answers]
        return [answer.job_id for answer in sent]

    async def batch(self, jobs: Iterable[Given]) -> Batch:
        """Put up to 10,000 jobs in, all or none, to be awaited together: `await batch.wait()`.

        Raises:
            InvalidInput, InvalidPayload: names the job by its place, from 0; nothing was written.
        """
        batch_id = made_id(self._link.clock_off_s)
        call = SendBatch(batch_jobs(jobs, self._link.clock_off_s), batch_id)
        sent = await self._link.ask(call, self._call_s)
        return Batch(sent.batch_id, tuple(sent.job_ids), self._link)

    def batch_of(self, batch_id: UUID | str) -> Batch:
        """A batch that was sent before, to wait for; its `job_ids` are not known here."""
        return Batch(identity(batch_id), (), self._link)

    # -- look ----------------------------------------------------------------------------

    async def get(self, job_id: UUID | str) -> Job:
        """Where a job stands; NotFound when this tenant has no such job."""
        found = await self._link.ask(GetJob(job_id=identity(job_id)), self._call_s)
        if found.job is None:
            raise NotFound(f"job {job_id}: this tenant has no such job. Ids end with their job when its retention is over.")
        job: Job = found.job
        return job

    async def wait(self, job_id: UUID | str, timeout: float | None = None) -> Any:
        """The result of a job, as soon as it has ended.

        Raises:
            JobFailed, JobCancelled: how it ended instead.
            WaitTimeout: it had not ended within `timeout` seconds.
            NotFound: this tenant has no such job.
        """
        try:
            async with asyncio.timeout(timeout), aclosing(self._follow(job_id)) as updates:
                return await outcome(updates)
        except TimeoutError:
            raise WaitTimeout(f"job {job_id} had not ended after {timeout:g} s. Wait again.") from None

    def watch(self, job_id: UUID | str) -> AsyncGenerator[Update, None]:
        """Where a job stands now, then what becomes of it, to its end: `async for update in client.watch(job_id):`."""
        return self._follow(job_id)

    def _follow(self, job_id: UUID | str) -> AsyncGenerator[Update, None]:
        self._link  # noqa: B018 - says so when it is not open
        assert self._parts is not None
        return self._parts[1].follow(identity(job_id))

    async def cancel(self, job_id: UUID | str) -> bool:
        """Cancel a job; one that runs is told and has 10 s. False: it had already ended."""
        return bool((await self._link.ask(CancelJob(job_id=identity(job_id)), self._call_s)).cancelled)

    async def queue_size(self, name: str, before: str = "active") -> int:
        """Jobs of a name in states before `before`: retry, active, completed, cancelled or failed."""
        call = msgspec.convert({"jobName": name, "before": before}, GetQueueSize)
        return int((await self._link.ask(call, self._call_s)).queue_size)

    # -- schedule ------------------------------------------------------------------------

    async def schedule(self, name: str, cron: str, payload: Any = None, *, tz: str = "UTC", **options: Any) -> str:
        """Send a job of that name at each time of a cron pattern; the same name replaces. Its id.

        Args:
            cron: five fields, or six with seconds first, read in the IANA time zone `tz`.
        Raises:
            InvalidInput: it can never come true, or an option belongs to one job only.
        """
        call = ScheduleJob(name, cron, payload_of(payload), options_of({**options, "tz": tz}, ScheduleOptions))
        return str((await self._link.ask(call, self._call_s)).schedule_id)

    async def unschedule(self, name: str) -> None:
        """End a schedule; one that is not there is none now either."""
        await self._link.ask(UnscheduleJob(name), self._call_s)

    async def schedules(self) -> list[ScheduleView]:
        """The tenant's schedules, by name."""
        found: list[ScheduleView] = (await self._link.ask(ListSchedules(), self._call_s)).schedules
        return found

    # -- work ----------------------------------------------------------------------------

    def worker(self, name: str, *, concurrency: int = 1) -> Callable[[F], F]:
        """Declare what is done with jobs of a name: `async def`, or plain `def`, which runs in a thread.

        Its parameters are filled from the payload as those of a local handler are; one named `job` is the attempt.
        """

        def declare(function: F) -> F:
            handler = Handler.of(name, function, concurrency)
            if handler.kind in self._handlers:
                raise InvalidInput(f"{name!r} has a handler already: declare it once.")
            self._handlers[handler.kind] = handler
            return function

        return declare

    async def work(self, *, signals: bool = True) -> None:
        """Work on jobs until `stop`, SIGTERM or Ctrl-C: then take no more, and finish what is started within `stop_timeout`.

        A client that is not open is opened for it: `asyncio.run(client.work())` is a whole program.

        Raises:
            Unauthenticated: the token is over. Forbidden: it may not work.
        """
        if self._parts is None:
            async with self:
                await self.work(signals=signals)
        else:
            await self._parts[2].run(self._stop_s, signals=signals)

    def stop(self) -> None:
        """End `work`; said again: hand back at once what still runs."""
        if self._parts is not None:
            self._parts[2].stop()
