"""What a running handler says: progress, log lines, checkpoints, and who it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.until import until
from trunkline import Job, Trunkline
from trunkline.engine import current_job
from trunkline.errors import InvalidInput, InvalidPayload, LeaseLost
from trunkline.store import read


async def ended(app: Trunkline, kind: str = "work", payload: Any = None, **options: Any):
    """Run one job to its end."""
    if app._worker is None:
        await app.start_worker()
    return await app.wait_ended(await app.enqueue(kind, payload, **options), 30)


async def test_progress_is_seen_while_the_job_runs(app, queue):
    """By whoever looks."""
    gate = asyncio.Event()

    @app.job("work")
    async def work(job: Job) -> None:
        await job.progress(30, "copying", current=3, total=10)
        await gate.wait()

    await app.start_worker()
    job_id = await app.enqueue("work")

    async def said():
        return (await queue.view(job_id)).progress

    assert {"percentage": 30, "message": "copying", "current": 3, "total": 10} == await until(said, "progress")
    gate.set()


async def test_a_thousand_progresses_are_a_few_writes(app):
    """Of one job at most one waits: the latest."""
    writes: list[str] = []

    @app.job("work")
    async def work(job: Job) -> None:
        for n in range(1001):
            await job.progress(n / 10)

    fetch = app.store.fetch

    async def noted(text: str, *arguments: Any, **how: Any) -> Any:
        if "save_progress" in text:
            writes.append(text)
        return await fetch(text, *arguments, **how)

    app.store.fetch = noted
    job = await ended(app)

    assert 100 == job.progress["percentage"]
    assert len(writes) <= 20


async def test_log_lines_are_kept_with_the_job(app, queue):
    """From the loop and from a thread, in their order."""

    @app.job("on-loop")
    async def on_loop(job: Job) -> None:
        job.log("first")
        job.log("second \x00", level="error", n=1, deep={"a": [2]})

    @app.job("in-thread")
    def in_thread(job: Job) -> None:
        for n in range(3):
            job.log(f"line {n}")

    jobs = [await ended(app, kind) for kind in ("on-loop", "in-thread")]
    await app.stop_worker()
    lines = [
        [(row["level"], row["message"], row["fields"]) for row in await read.log(queue.store, queue.tenant_id, job.id)] for job in jobs
    ]

    assert [("info", "first", None), ("error", "second \ufffd", {"n": 1, "deep": {"a": [2]}})] == lines[0]
    assert [("info", f"line {n}", None) for n in range(3)] == lines[1]


async def test_a_line_that_is_no_unicode_does_not_take_the_others_along(app, queue):
    """File names and bytes decoded in haste carry lone surrogates."""

    @app.job("work")
    async def work(job: Job) -> None:
        job.log("good")
        job.log("file \ud800.txt")

    job = await ended(app)
    await app.stop_worker()

    assert ["good", "file \ufffd.txt"] == [row["message"] for row in await read.log(queue.store, queue.tenant_id, job.id)]


@pytest.mark.parametrize(("level", "fields"), [("fatal", {}), ("info", {"x": float("nan")}), ("info", {"x": object()})])
async def test_a_line_that_cannot_be_kept_is_refused_where_it_is_said(app, level, fields):
    """In the handler, with a sentence."""
    said: list[Exception] = []

    @app.job("work")
    async def work(job: Job) -> None:
        try:
            job.log("x", level=level, **fields)
        except (InvalidInput, InvalidPayload) as error:
            said.append(error)

    await ended(app)

    assert 1 == len(said)


async def test_a_checkpoint_is_durable_when_it_returns(app, queue):
    """And read by the next attempt."""

    @app.job("work", retry_delay=0)
    async def work(job: Job) -> Any:
        last = await job.last_checkpoint()
        if last is None:
            await job.checkpoint({"row": 500})
            raise RuntimeError("power cut")
        return last

    job = await ended(app)

    assert ({"row": 500}, 2) == (job.result, job.attempt)


async def test_a_checkpoint_of_a_lost_attempt_raises_and_the_attempt_ends_quietly(app, queue):
    """Whoever has the job now goes on undisturbed."""
    gate, raised = asyncio.Event(), []

    @app.job("work")
    async def work(job: Job) -> None:
        if job.attempt > 1:
            return
        await gate.wait()
        try:
            await job.checkpoint(1)
        except LeaseLost as error:
            raised.append(error)
            raise

    worker = await app.start_worker()
    job_id = await app.enqueue("work")
    await until(lambda: worker.running == 1, "it runs")
    await queue.store.fetch(
        "select * from trunkline.settle($1, $2, '{1}', '{lost}', array[null]::json[], '{0}')", queue.tenant_id, [job_id]
    )
    gate.set()
    job = await app.wait_ended(job_id, 30)

    assert ("completed", 2, 1) == (job.state, job.attempt, len(raised))


async def test_a_handler_knows_its_job_wherever_it_is(app):
    """Deep in somebody's library, and in a thread."""

    def deep() -> str:
        job = current_job.get()
        assert job is not None
        return f"{job.kind} {job.attempt}"

    @app.job("loop")
    async def loop() -> str:
        return deep()

    @app.job("thread")
    def thread() -> str:
        return deep()

    assert ["loop 1", "thread 1"] == [(await ended(app, kind)).result for kind in ("loop", "thread")]
    assert None is current_job.get()


async def test_a_job_says_all_that_is_known_of_it(app):
    """Its fence is for outside systems that can refuse a late attempt."""
    seen: dict[str, Any] = {}

    @app.job("work", queue="line")
    async def work(job: Job, payload: Any) -> None:
        seen.update(
            {
                name: getattr(job, name)
                for name in ("id", "kind", "queue", "attempt", "failures", "priority", "user_id", "payload", "options", "fence")
            }
        )
        seen["age_s"] = abs((job.created_at - __import__("datetime").datetime.now(job.created_at.tzinfo)).total_seconds())

    job = await ended(app, payload={"a": 1}, queue="line", priority=3, user_id="ann", timeout=60)

    assert {"id": job.id, "kind": "work", "queue": "line", "attempt": 1, "failures": 0, "priority": 3, "user_id": "ann"} == {
        name: seen[name] for name in ("id", "kind", "queue", "attempt", "failures", "priority", "user_id")
    }
    assert ({"a": 1}, {"timeout": 60}, (job.id, 1)) == (seen["payload"], seen["options"], seen["fence"])
    assert seen["age_s"] < 60


@pytest.mark.parametrize("payload", ["1e400", '{"a": 1e400}'])
async def test_a_payload_that_only_sql_lets_in_ends_its_job_and_not_the_worker(app, queue, payload):
    """PostgreSQL's json has numbers that no float holds: no retry can mend it."""

    @app.job("work", retry_limit=5, retry_delay=0)
    async def work(payload: Any) -> Any:
        return 1

    await app.start_worker()
    job_id = await queue.store.fetchval("select trunkline.enqueue('work', $1::json)", payload)
    job = await app.wait_ended(job_id, 30)

    assert ("failed", 1) == (job.state, job.attempt)


@pytest.mark.parametrize(
    "name",
    [
        "self",
        "cls",
        *("json", "schema", "copy", "dict", "model_config", "_private", "validate", "model_fields"),
    ],
)
async def test_a_field_may_have_any_name(app, name):
    """Names of somebody's library are not taken from users."""
    scope: dict[str, Any] = {}
    exec(f"async def work(job, {name}: int, other: int = 2): return [{name}, other]", scope)
    app.job("work")(scope["work"])

    assert [1, 2] == (await ended(app, payload={name: 1})).result
