"""Middleware around attempts and observers of what became of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from tests.engine import process_handlers
from tests.support.until import until
from trunkline import Fail, Job, JobEvent, Metrics, Snooze, Tracing, Trunkline
from trunkline.errors import InvalidInput, WaitTimeout


async def ended(app: Trunkline, kind: str = "work", payload: Any = None, **options: Any):
    """Run one job to its end."""
    if app._worker is None:
        await app.start_worker()
    return await app.wait_ended(await app.enqueue(kind, payload, **options), 30)


async def test_the_first_middleware_is_the_outermost(app):
    """Each sees what the one inside answered, and may answer something else."""
    order: list[str] = []

    def around(name: str):
        async def middleware(job: Job, proceed: Any) -> Any:
            order.append(f"{name} in")
            result = await proceed()
            order.append(f"{name} out")
            return [name, result]

        return middleware

    app.middleware(around("outer"))
    app.middleware(around("inner"))

    @app.job("work")
    async def work(job: Job, payload: dict) -> int:
        order.append(f"handler {payload['n']}")
        return 1

    job = await ended(app, payload={"n": 7})

    assert ["outer in", "inner in", "handler 7", "inner out", "outer out"] == order
    assert ["outer", ["inner", 1]] == job.result


@pytest.mark.parametrize("mode", ["async", "thread", "process"])
async def test_middleware_goes_around_every_sort_of_handler(app, mode):
    """In the worker's process."""
    seen: list[Any] = []

    @app.middleware
    async def note(job: Job, proceed: Any) -> Any:
        seen.append((job.kind, job.payload, await proceed()))
        return seen[-1][2]

    if mode == "async":

        @app.job("work")
        async def work(payload: dict) -> dict:
            return payload
    elif mode == "thread":

        @app.job("work")
        def work_in_thread(payload: dict) -> dict:
            return payload
    else:
        app.job("work", process=True)(process_handlers.echo)
    job = await ended(app, payload={"a": 1})

    assert {"a": 1} == job.result
    assert [("work", {"a": 1}, {"a": 1})] == seen


async def test_middleware_sees_what_the_handler_raises_and_decides(app):
    """A returned outcome and a payload that does not fit come as exceptions, too; what leaves it counts."""
    seen: list[str] = []

    @app.middleware
    async def decide(job: Job, proceed: Any) -> Any:
        try:
            return await proceed()
        except Exception as error:
            seen.append(type(error).__name__)
            if job.kind == "mended":
                return "mended"
            if job.kind == "hopeless":
                raise Fail("not again") from error
            raise

    @app.job("mended")
    async def mended() -> None:
        raise RuntimeError("no")

    @app.job("hopeless", retry_limit=5)
    async def hopeless() -> None:
        raise RuntimeError("no")

    @app.job("later")
    async def later(job: Job) -> Any:
        return Snooze(0) if job.attempt == 1 else "done"

    @app.job("strict")
    async def strict(n: int) -> None: ...

    found = [await ended(app, kind) for kind in ("mended", "hopeless", "later", "strict")]

    assert [("completed", "mended"), ("failed", None), ("completed", "done"), ("failed", None)] == [(j.state, j.result) for j in found]
    assert [1, 1, 2, 1] == [j.attempt for j in found]
    assert ["RuntimeError", "RuntimeError", "Snooze", "Fail"] == seen


async def test_middleware_may_answer_or_refuse_without_the_handler(app):
    """And an error of its own is retried as the handler's would be."""
    ran: list[int] = []

    @app.middleware
    async def gate(job: Job, proceed: Any) -> Any:
        if job.kind == "cached":
            return "from the cache"
        if job.attempt == 1:
            raise ConnectionError("the gate is down")
        return await proceed()

    @app.job("cached")
    async def cached() -> None:
        ran.append(0)

    @app.job("work", retry_delay=0)
    async def work(job: Job) -> int:
        ran.append(job.attempt)
        return job.attempt

    assert "from the cache" == (await ended(app, "cached")).result
    assert 2 == (await ended(app)).result
    assert [2] == ran


async def test_to_proceed_twice_is_refused(app):
    """A handler runs once an attempt."""
    ran: list[int] = []

    @app.middleware
    async def eager(job: Job, proceed: Any) -> Any:
        await proceed()
        return await proceed()

    @app.job("work", retry_limit=0)
    async def work() -> None:
        ran.append(1)

    job = await ended(app)

    assert ("failed", [1]) == (job.state, ran)
    assert "proceeded twice" in job.error["message"]


async def test_a_cancel_reaches_middleware_and_handler(app):
    """Both can clean up, and the job ends cancelled, not failed."""
    running, cleaned = asyncio.Event(), []

    @app.middleware
    async def tidy(job: Job, proceed: Any) -> Any:
        try:
            return await proceed()
        except asyncio.CancelledError:
            cleaned.append("middleware")
            raise

    @app.job("work")
    async def work() -> None:
        running.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cleaned.append("handler")
            raise

    await app.start_worker()
    job_id = await app.enqueue("work")
    await running.wait()
    await app.cancel(job_id)

    assert "cancelled" == (await app.wait_ended(job_id, 30)).state
    assert ["handler", "middleware"] == cleaned


async def test_a_cancel_while_middleware_waits_never_starts_the_handler(app):
    """Before it proceeded."""
    waiting, ran = asyncio.Event(), []

    @app.middleware
    async def slow(job: Job, proceed: Any) -> Any:
        waiting.set()
        await asyncio.sleep(3600)
        return await proceed()

    @app.job("work")
    async def work() -> None:
        ran.append(1)

    await app.start_worker()
    job_id = await app.enqueue("work")
    await waiting.wait()
    await app.cancel(job_id)

    assert ("cancelled", []) == ((await app.wait_ended(job_id, 30)).state, ran)


async def test_observers_hear_what_became_of_attempts(app):
    """Each event once, in order, after it was written."""
    heard: list[tuple[str, str, int, Any]] = []
    for event in ("started", "completed", "failed", "retrying", "snoozed", "cancelled"):

        @app.on(event)
        async def note(event: JobEvent) -> None:
            error = type(event.error).__name__ if event.error else None
            heard.append((event.name, event.job.kind, event.job.attempt, error))

    @app.job("work", retry_limit=1, retry_delay=0)
    async def work(job: Job) -> None:
        if job.attempt == 1:
            raise Snooze(0)
        raise ValueError(job.attempt)

    @app.job("fine")
    async def fine() -> None: ...

    await ended(app)
    await ended(app, "fine")
    await until(lambda: ("completed", "fine", 1, None) in heard, "the last event")

    assert [
        ("started", "work", 1, None),
        ("snoozed", "work", 1, None),
        ("started", "work", 2, None),
        ("retrying", "work", 2, "ValueError"),
        ("started", "work", 3, None),
        ("failed", "work", 3, "ValueError"),
        ("started", "fine", 1, None),
        ("completed", "fine", 1, None),
    ] == heard


async def test_an_observer_that_raises_breaks_nothing(app):
    """Not the job, not the other observers, not its own next event."""
    heard: list[str] = []

    @app.on("completed")
    def broken(event: JobEvent) -> None:
        heard.append("broken")
        raise RuntimeError("observer")

    @app.on("completed")
    def whole(event: JobEvent) -> None:
        heard.append("whole")

    @app.job("work")
    async def work() -> None: ...

    assert ["completed"] * 2 == [(await ended(app)).state for _ in range(2)]
    await until(lambda: len(heard) == 4, "both events")
    assert ["broken", "whole"] * 2 == heard


async def test_a_slow_observer_holds_up_no_job_and_hears_the_rest_at_the_end(app):
    """Jobs end while it waits; a stop waits for it."""
    gate, heard = asyncio.Event(), []

    @app.on("completed")
    async def slow(event: JobEvent) -> None:
        await gate.wait()
        heard.append(event.job.id)

    @app.job("work")
    async def work() -> None: ...

    for _ in range(5):
        assert "completed" == (await ended(app)).state
    assert [] == heard
    gate.set()
    await app.stop_worker()
    assert 5 == len(heard)


async def test_a_worker_without_hooks_takes_the_plain_path(app):
    """Decided once, when it starts."""

    @app.job("work")
    async def work() -> None: ...

    worker = await app.start_worker()

    assert worker._runner._is_bare and worker._told is None


@pytest.mark.parametrize(
    "register", [lambda app: app.on("finished"), lambda app: app.middleware(lambda job, proceed: None)], ids=["event", "def"]
)
def test_what_cannot_serve_is_refused_when_it_is_registered(app_offline, register):
    """With what is accepted."""
    with pytest.raises(InvalidInput, match=r"need async def|there are started"):
        register(app_offline)(lambda event: None)


async def test_metrics_count_and_time_attempts(app):
    """In the registry they were given."""
    registry = CollectorRegistry()
    app.middleware(Metrics(registry))

    @app.job("work", queue="line", retry_limit=1, retry_delay=0)
    async def work(job: Job) -> None:
        if job.attempt == 1:
            raise RuntimeError("no")

    await ended(app, queue="line")
    labels = {"kind": "work", "queue": "line"}

    assert 1 == registry.get_sample_value("trunkline_jobs_completed_total", labels)
    assert 1 == registry.get_sample_value("trunkline_jobs_failed_total", labels)
    assert 2 == registry.get_sample_value("trunkline_job_duration_seconds_count", labels)


async def test_without_a_recording_span_a_job_stays_plain(app):
    """Having OpenTelemetry loaded is no reason to carry options."""
    import opentelemetry.trace

    assert opentelemetry.trace.get_current_span() is not None
    app.middleware(Tracing())

    @app.job("work")
    async def work() -> None: ...

    job = await ended(app)

    assert ("completed", None) == (job.state, job.options)


async def test_a_job_is_run_in_the_trace_that_enqueued_it(app):
    """The context travels with the job; sending it is a span, and so is each wait and each attempt, which tells how it ended."""
    finished = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(finished))
    app.middleware(Tracing(provider.get_tracer("test")))

    @app.job("work", queue="line", retry_limit=1, retry_delay=0)
    async def work(job: Job) -> None:
        if job.attempt == 1:
            raise RuntimeError("no")

    await app.start_worker()
    with provider.get_tracer("test").start_as_current_span("request") as request:
        job_id = await app.enqueue("work", queue="line")
    await app.wait(job_id, 30)
    spans = await until(lambda: len(finished.get_finished_spans()) == 6 and finished.get_finished_spans(), "both attempts")

    context = request.get_span_context()
    attempts = [span for span in spans if span.name == "process line"]
    assert [context.trace_id] * 2 == [span.context.trace_id for span in attempts]
    (sent,) = [span for span in spans if span.name == "send line"]
    assert (context.span_id, "PRODUCER") == (sent.parent.span_id, sent.kind.name)
    waits = [span for span in spans if span.name == "receive line"]
    assert [sent.context.span_id] * 4 == [span.parent.span_id for span in (*waits, *attempts)]
    assert all(wait.start_time <= wait.end_time <= attempt.end_time for wait, attempt in zip(waits, attempts, strict=True))
    assert [("ERROR", 1), ("UNSET", 2)] == [(span.status.status_code.name, span.attributes["trunkline.attempt"]) for span in attempts]


async def test_waiting_for_a_started_event_does_not_need_a_result(app):
    """A job that hangs is still told of."""
    heard = asyncio.Event()
    app.on("started")(lambda event: heard.set())

    @app.job("work")
    async def work() -> None:
        await asyncio.sleep(3600)

    await app.start_worker()
    job_id = await app.enqueue("work")
    await asyncio.wait_for(heard.wait(), 30)

    with pytest.raises(WaitTimeout):
        await app.wait(job_id, 0.01)
