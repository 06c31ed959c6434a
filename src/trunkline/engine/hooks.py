"""What an application puts around its handlers: middleware, which surrounds each attempt, and observers, which are told.

Middleware is `async def name(job, proceed)`: it awaits `proceed()` for the handler's result and returns a result; the first one
registered is the outermost. It sees what the handler raises, may raise anything a handler may (Snooze, RetryAfter, Fail), and may
answer without proceeding. It runs in the worker's process, whatever the handler is: async, thread or process.
Observers hear of an event after it happened and cannot change it: an exception in one is logged, and a slow one loses events, it
never holds up a job.
Always true: an application without hooks runs no line of this module.
Called by: app, engine.runner, engine.worker.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import structlog

from trunkline.engine.context import Job
from trunkline.errors import InvalidInput
from trunkline.observe.metrics import Metrics
from trunkline.observe.trace import Tracing

EVENTS = ("started", "completed", "failed", "retrying", "snoozed", "released", "cancelled", "lost")
BESIDE_JOBS = ("alert", "monitor-states")  # told by engine.alarms
MOST_UNTOLD = 10_000  # events that wait for an observer; further ones are dropped and counted
STOP_WITHIN_S = 5.0
# How a report ended whose job runs again -> the event. A job without a handler here had no attempt.
_AGAIN = {"failed": "retrying", "timed_out": "retrying", "snoozed": "snoozed", "retry_after": "snoozed", "released": "released"}
log = structlog.get_logger("trunkline.hooks")

Proceed = Callable[[], Awaitable[Any]]
Middleware = Callable[[Job, Proceed], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Something that happened to an attempt.

    Attributes:
        name: started; completed; failed (for good); retrying (it will run again after a failure); snoozed (it asked to run later);
            released (handed back unfinished); cancelled; lost (the attempt was no longer ours).
        run_at: when it runs again, for retrying and snoozed.
        error: what the handler raised, where it did.
    """

    name: str
    job: Job
    run_at: datetime | None = None
    error: BaseException | None = None


Observer = Callable[[Any], Any]  # of a JobEvent; of an Alert or States for the two beside jobs
M = TypeVar("M", bound=Middleware)
Seen = TypeVar("Seen", bound=Observer)


class Hooks:
    """What was registered. Read by a worker when it starts; later registrations count from its next start."""

    def __init__(self) -> None:
        self.middleware: list[Middleware] = []
        self.observers: dict[str, list[Observer]] = {}

    def add_middleware(self, function: Middleware) -> None:
        """Put one more around every attempt, inside those that are there."""
        if not (inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)):
            raise InvalidInput(f"middleware {function!r}: need async def name(job, proceed), or an object with such a __call__.")
        self.middleware.append(function)

    def add_observer(self, event: str, function: Observer) -> None:
        """Tell a function, plain or async, of every event of that name."""
        check_event(event)
        self.observers.setdefault(event, []).append(function)

    def of_jobs(self) -> dict[str, list[Observer]]:
        """The observers of attempts."""
        return {event: functions for event, functions in self.observers.items() if event in EVENTS}

    @property
    def metrics(self) -> Metrics | None:
        """What counts attempts, where something does."""
        return next((each for each in self.middleware if isinstance(each, Metrics)), None)

    @property
    def tracing(self) -> Tracing | None:
        """What makes spans, where something does."""
        return next((each for each in self.middleware if isinstance(each, Tracing)), None)

    def copy(self) -> Hooks:
        """The same registrations in lists of their own."""
        other = Hooks()
        other.middleware = list(self.middleware)
        other.observers = {event: list(functions) for event, functions in self.observers.items()}
        return other


def check_event(event: str) -> None:
    """InvalidInput: there is no event of this name; says which there are."""
    if event not in EVENTS + BESIDE_JOBS:
        raise InvalidInput(f"event is {event!r}: there are {', '.join(EVENTS + BESIDE_JOBS)}.")


class Extensible:
    """The methods of an application that register hooks."""

    hooks: Hooks

    def middleware(self, function: M) -> M:
        """Put `async def name(job, proceed)` around every attempt of this application; a decorator, or called with an object.

        The first one registered is the outermost. It awaits `proceed()` at most once, for the handler's result, and returns a result.
        """
        self.hooks.add_middleware(function)
        return function

    def on(self, event: str) -> Callable[[Seen], Seen]:
        """Tell a function, plain or async, of every `JobEvent` of a name (see EVENTS). It cannot break or delay a job.

        Two more: `alert`, an `Alert` each time one is raised or resolved, and `monitor-states`, `States` once a minute; of all the
        processes of an installation that registered for them, one is told. A plain function of these runs in a thread.
        """

        check_event(event)

        def register(function: Seen) -> Seen:
            self.hooks.add_observer(event, function)
            return function

        return register


async def surround(middleware: Sequence[Middleware], job: Job, call: Proceed) -> Any:
    """Run `call` inside all of them, the first outermost; the result of the outermost."""
    if not middleware:
        return await call()
    first, rest = middleware[0], middleware[1:]
    proceeded = False

    async def proceed() -> Any:
        nonlocal proceeded
        if proceeded:
            raise InvalidInput(f"middleware {name_of(first)} proceeded twice: an attempt runs its handler once. Raise to have it retried.")
        proceeded = True
        return await surround(rest, job, call)

    return await first(job, proceed)


class Told:
    """Tells the observers of one worker, in the order of events, from a task of its own."""

    def __init__(self, observers: dict[str, list[Observer]]) -> None:
        self._observers = observers
        self._waiting: asyncio.Queue[JobEvent] = asyncio.Queue(MOST_UNTOLD)
        self.dropped = 0

    def ended(self, job: Job, what: str, run_at: datetime | None) -> None:
        """An attempt was reported: completed, lost, or what the database made of it (failed, cancelled, deferred, ready)."""
        if what in ("deferred", "ready"):
            what = _AGAIN.get(job.ending, "")
        self.tell(what, job, run_at)

    def tell(self, name: str, job: Job, run_at: datetime | None = None) -> None:
        """Hand an event over to whoever wants those of its name; it is dropped when too many wait."""
        if name not in self._observers:
            return
        try:
            self._waiting.put_nowait(JobEvent(name, job, run_at, getattr(job, "error", None)))
        except asyncio.QueueFull:
            self.dropped += 1
            if self.dropped & (self.dropped - 1) == 0:  # 1, 2, 4, 8, ...
                log.warning("hooks.events_dropped", dropped=self.dropped, reason="observers are slower than events")

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            event = await self._waiting.get()
            try:
                for observer in self._observers.get(event.name, ()):
                    await self._call(observer, event)
            finally:
                self._waiting.task_done()

    async def drain(self) -> None:
        """Wait until everything was told, but not for long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_WITHIN_S):
                await self._waiting.join()

    async def _call(self, observer: Observer, event: JobEvent) -> None:
        try:
            answer = observer(event)
            if inspect.isawaitable(answer):
                await answer
        except Exception as error:  # noqa: BLE001 - an observer cannot break a job
            log.error(
                "hooks.observer_failed", observer=name_of(observer), event_name=event.name, job_id=str(event.job.id), error=repr(error)
            )


def name_of(function: object) -> str:
    """What a function is called in messages."""
    return str(getattr(function, "__qualname__", type(function).__qualname__))
