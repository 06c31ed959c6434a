"""Works on jobs: takes what the gateway sends, runs handlers, reports.

A request that finds no free place (a thread that was told to end and has not) waits here unstarted, and goes back when the worker
stops. `job_started` goes out before the handler runs, and again after each reconnect: an answer `lease_lost` ends the handler.
Always true: each attempt is reported once, or is not ours any more and its result is dropped; what is out of time by the
gateway's clock is stopped also while no gateway is there; after `run` nothing of it runs but threads that do not end.
Called by: client.client.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from trunkline.client.backoff import Backoff
from trunkline.client.handlers import Handler, completed, failed, released
from trunkline.client.job import Job
from trunkline.client.link import Link
from trunkline.errors import InvalidInput, InvalidPayload, LeaseLost, TrunklineError
from trunkline.model import Fail, kind_name
from trunkline.wire import Call
from trunkline.wire.calls import JobStarted, RegisterWorker, UnregisterWorker, WorkerOptions
from trunkline.wire.pushes import CancelRequest, WorkRequest

CANCEL_GRACE_S = 10.0  # then the gateway gives the job away
LATE_S = 2.0  # the gateway ends an attempt at its time; we, who know its clock to a second, a little later
ANSWER_WITHIN_S = 5.0
log = logging.getLogger("trunkline.client")
_request, _cancel = msgspec.json.Decoder(WorkRequest), msgspec.json.Decoder(CancelRequest)


class Working:
    """The handlers of one client and the attempts they work on."""

    def __init__(self, link: Link, handlers: dict[str, Handler]) -> None:
        self._link, self._handlers = link, handlers
        self._jobs: dict[tuple[UUID, int], Job] = {}
        self._stop = asyncio.Event()
        self._in_a_hurry = asyncio.Event()
        self._has_ended = asyncio.Event()
        self._has_ended.set()
        self.is_running = False
        link.on_ready.append(self._came_back)

    # -- from start to stop ------------------------------------------------------------

    async def run(self, stop_timeout_s: float, *, signals: bool) -> None:
        """Work until `stop`, or a signal, or the end of the link, which is raised."""
        if not self._handlers:
            raise InvalidInput("no handler is declared: decorate a function with @client.worker(...).")
        if self.is_running:
            raise InvalidInput("this client works already. Make another client, or raise concurrency.")
        self.is_running = True
        for event in (self._stop, self._in_a_hurry, self._has_ended):
            event.clear()
        try:
            with _on_signals(self.stop) if signals else nullcontext():
                await asyncio.gather(*map(self._link.submit, map(_registration, self._handlers.values())))
                stopped = asyncio.ensure_future(self._stop.wait())
                await asyncio.wait((stopped, self._link.over), return_when=asyncio.FIRST_COMPLETED)
                stopped.cancel()
                await self._wind_up(stop_timeout_s)
        finally:
            if not self._stop.is_set():  # refused, or cancelled: nobody here takes what would still be sent
                self._goodbyes()
            self.is_running = False
            for job in tuple(self._jobs.values()):
                self._end(job, "released")
            self._has_ended.set()
        if self._link.over.done():
            raise self._link.over.result()

    def stop(self) -> None:
        """Take no more jobs, finish those that are started; said again: hand them back at once."""
        if self._stop.is_set():
            self._in_a_hurry.set()
        self._stop.set()

    async def close(self) -> None:
        """Stop, and let what is handed back be said; the link is closed after this."""
        self.stop()
        if not self._link.over.done():
            await self._has_ended.wait()
            await self._until_idle(ANSWER_WITHIN_S, hurried=True)

    def _goodbyes(self) -> list[asyncio.Future[Any]]:
        return [self._link.submit(UnregisterWorker(handler.kind)) for handler in self._handlers.values()]

    async def _wind_up(self, timeout_s: float) -> None:
        self._stop.set()
        for handler in self._handlers.values():
            for job in tuple(handler.waiting):
                self._end(job, "released")
        if not self._link.over.done():
            _, unanswered = await asyncio.wait(self._goodbyes(), timeout=ANSWER_WITHIN_S)
            for goodbye in unanswered:  # another connection, if there comes one, is not registered
                goodbye.cancel()
            await self._until_idle(timeout_s)
        for job in tuple(self._jobs.values()):
            self._end(job, "released")
        await self._until_idle(ANSWER_WITHIN_S, hurried=True)

    async def _until_idle(self, within_s: float, *, hurried: bool = False) -> None:
        hurry = asyncio.ensure_future(self._in_a_hurry.wait())
        try:
            async with asyncio.timeout(within_s):
                while tasks := {job.task for job in self._jobs.values() if job.task is not None}:
                    await asyncio.wait({*tasks, *(() if hurried else (hurry,))}, return_when=asyncio.FIRST_COMPLETED)
                    if hurry.done() and not hurried:
                        return
        except TimeoutError:
            pass
        finally:
            hurry.cancel()

    def _came_back(self) -> None:
        if not self.is_running:
            return
        if not self._stop.is_set():
            for handler in self._handlers.values():
                self._link.submit(_registration(handler))
        for job in tuple(self._jobs.values()):
            if job.task is None:  # nobody had started it, so it was handed back when the connection ended
                self._end(job, "lost")
            elif not job.is_reported:
                job.said(_started(job))

    # -- what the gateway says -----------------------------------------------------------

    def heard(self, event: str, data: msgspec.Raw) -> None:
        """A job, or the wish that one ends."""
        if event == "cancel_request":
            asked = _cancel.decode(data)
            if (job := self._jobs.get((asked.id, asked.attempt))) is not None:
                self._end(job, "cancelled")
        elif event == "work_request":
            request = _request.decode(data)
            handler = self._handlers.get(kind_name(request.name))
            if handler is None or (request.id, request.attempt) in self._jobs or not self.is_running:
                return  # stopped meanwhile: it is offered again, as nobody has started it
            loop = asyncio.get_running_loop()
            left_s = request.expires_at.timestamp() - datetime.now(UTC).timestamp() - self._link.clock_off_s
            job = Job(request, loop.time() + left_s + LATE_S, self._link.submit, lambda lost: self._end(lost, "lost"))
            self._jobs[job.fence] = job
            if self._stop.is_set():
                self._jobs.pop(job.fence)
            else:
                handler.waiting.append(job)
                self._fill(handler)

    def _fill(self, handler: Handler) -> None:
        while handler.waiting and handler.running < handler.concurrency:
            job = handler.waiting.pop(0)
            handler.running += 1
            job.task = asyncio.create_task(self._attempt(handler, job))

    def _end(self, job: Job, reason: str) -> None:
        """Stop an attempt. A thread cannot be stopped: it may look at `job.cancelled`, and after the grace its result is dropped."""
        if job.stop_reason is not None:
            return
        job.stop_reason, job.cancelled = reason, True
        handler = self._handlers[kind_name(job.kind)]
        if job.task is None:
            handler.waiting.remove(job)
            self._jobs.pop(job.fence, None)
        elif reason == "cancelled" and not handler.is_async:
            asyncio.get_running_loop().call_later(CANCEL_GRACE_S, job.task.cancel)
        elif not job.is_reported:
            job.task.cancel()

    # -- one attempt ---------------------------------------------------------------------

    async def _attempt(self, handler: Handler, job: Job) -> None:
        def left() -> None:
            handler.running -= 1
            self._fill(handler)

        overdue = asyncio.get_running_loop().call_at(job.deadline_at, self._end, job, "timed_out")
        job.said(_started(job))
        try:
            try:
                report = completed(job, await handler.run(job, left))
            except asyncio.CancelledError:
                report = self._stopped(job)
            except BaseException as error:  # noqa: BLE001 - a handler may raise anything; it ends as a report
                report = failed(job, error)
                if not isinstance(error, Exception):
                    log.error("%s %s raised %r", job.kind, job.id, error)
            if job.stop_reason not in ("lost", "timed_out"):
                job.flush()
                job.is_reported = True
                await self._report(job, report)
        finally:
            overdue.cancel()
            self._jobs.pop(job.fence, None)

    def _stopped(self, job: Job) -> Call:
        if job.stop_reason == "released":
            return released(job)
        return failed(job, RuntimeError("cancelled by request" if job.stop_reason else "the handler cancelled itself"))

    async def _report(self, job: Job, report: Call) -> None:
        """Until it is answered: the link carries it through reconnects, and what may pass is said again until the deadline."""
        backoff = Backoff()
        while True:
            try:
                await self._link.submit(report)
            except LeaseLost as error:
                log.info("%s %s attempt %s: the result is dropped: %s", job.kind, job.id, job.attempt, error)
            except InvalidPayload as error:
                report = failed(job, Fail(str(error)))
                continue
            except TrunklineError as error:
                wait_s = backoff.next_s()
                if error.retryable and not self._link.over.done() and asyncio.get_running_loop().time() + wait_s < job.deadline_at:
                    await asyncio.sleep(wait_s)
                    continue
                log.warning("%s %s attempt %s could not be reported: %s", job.kind, job.id, job.attempt, error)
            return


def _registration(handler: Handler) -> Call:
    teams = -(-handler.concurrency // 1000)  # each factor is 1,000 at the most
    size = handler.concurrency if teams == 1 else -(-handler.concurrency // teams)
    return RegisterWorker(handler.kind, WorkerOptions(size, teams))


def _started(job: Job) -> Call:
    return JobStarted(job_name=job.kind, job_id=job.id, attempt=job.attempt)


@contextmanager
def _on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and Ctrl-C stop the worker; twice: at once. Elsewhere than in the main thread signals are not ours."""
    loop, caught = asyncio.get_running_loop(), []
    before: dict[Any, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in (signal.SIGTERM, signal.SIGINT):
            before[name] = signal.getsignal(name)
            with suppress(NotImplementedError, RuntimeError):
                loop.add_signal_handler(name, stop)
                caught.append(name)
    try:
        yield
    finally:
        for name in caught:
            loop.remove_signal_handler(name)
            signal.signal(name, before[name])
