"""What handlers are given and what becomes of what they say; a real worker on a real database."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import threading
from pathlib import Path
from typing import Any

import msgspec
import pydantic
import pytest

from tests.support import cpu
from tests.support.until import until
from trunkline import Fail, Job, RetryAfter, Snooze, Trunkline
from trunkline.engine import worker
from trunkline.errors import InvalidInput
from trunkline.store import read


class Order(pydantic.BaseModel):
    number: int
    lines: list[str] = []


@dataclasses.dataclass
class Parcel:
    weight: float


class Point(msgspec.Struct):
    x: int


async def run(app: Trunkline, kind: str, payload: Any = None, **options: Any) -> Any:
    """Start the worker if needed, enqueue, and wait for the end."""
    if app._worker is None:
        await app.start_worker()
    return await app.wait_ended(await app.enqueue(kind, payload, **options), timeout=30)


# -- arguments ----------------------------------------------------------------------


async def takes_model(order: Order) -> Any:
    return order.number + len(order.lines)


async def takes_dataclass(job: Job, parcel: Parcel) -> Any:
    return parcel.weight * 2


def takes_struct(point: Point) -> Any:
    return point.x


async def takes_fields(job: Job, a: int, b: str = "x") -> Any:
    return [a, b]


async def takes_rest(a: int, **rest: Any) -> Any:
    return [a, rest]


async def takes_payload(payload: list[int]) -> Any:
    return sum(payload)


async def takes_nothing() -> Any:
    return "done"


@pytest.mark.parametrize(
    ("function", "payload", "result"),
    [
        (takes_model, {"number": 3, "lines": ["a"]}, 4),
        (takes_dataclass, {"weight": 1.5}, 3.0),
        (takes_struct, {"x": 9}, 9),
        (takes_fields, {"a": 1}, [1, "x"]),
        (takes_fields, {"a": 1, "b": "y"}, [1, "y"]),
        (takes_rest, {"a": 1, "c": 2}, [1, {"c": 2}]),
        (takes_payload, [1, 2, 3], 6),
        (takes_nothing, {"ignored": True}, "done"),
    ],
)
async def test_a_payload_becomes_arguments(app, function, payload, result):
    """By model, by dataclass, by Struct, by field, whole, or not at all."""
    app.job("k")(function)

    assert result == (await run(app, "k", payload)).result


@pytest.mark.parametrize(
    ("function", "payload", "named"),
    [
        (takes_model, {"number": "three"}, "number"),
        (takes_dataclass, {}, "weight"),
        (takes_struct, {"x": "nine"}, "x"),
        (takes_fields, {"b": "y"}, "a"),
        (takes_fields, {"a": 1, "c": 2}, "c"),
        (takes_payload, {"not": "a list"}, "payload"),
    ],
)
async def test_a_payload_that_does_not_fit_ends_the_job_and_names_the_field(app, function, payload, named):
    """No retry can mend it, so none is made."""
    app.job("k", retry_limit=5, retry_delay=0)(function)
    job = await run(app, "k", payload)

    assert ("failed", 1) == (job.state, job.attempt)
    assert named in job.error["message"]


def test_a_handler_that_cannot_be_filled_is_refused_when_declared(app_offline):
    """At the decorator, not at three in the morning."""
    with pytest.raises(InvalidInput, match="named parameters"):

        @app_offline.job("k")
        async def positional(*args: Any) -> None: ...


def test_a_kind_has_one_handler(app_offline):
    """Also when one says `_` and the other `-`."""
    app_offline.job("ai_generation")(takes_nothing)
    with pytest.raises(InvalidInput, match="already has a handler"):
        app_offline.job("ai-generation")(takes_payload)


# -- outcomes -----------------------------------------------------------------------


@pytest.mark.parametrize("returned", [True, False])
@pytest.mark.parametrize(
    ("outcome", "state", "failures"),
    [(Snooze(3600), "scheduled", 0), (RetryAfter(3600, "429"), "retrying", 0), (Fail("never"), "failed", 1)],
)
async def test_outcomes_may_be_raised_or_returned(app, outcome, state, failures, returned):
    """Snoozing and waiting count no failure."""

    @app.job("k")
    async def handler() -> Any:
        if returned:
            return outcome
        raise outcome

    await app.start_worker()
    job_id = await app.enqueue("k")
    await until(lambda: has_state(app, job_id, state), "the state")

    assert failures == (await app.get(job_id)).failures


async def has_state(app: Trunkline, job_id: Any, *states: str) -> bool:
    return (await app.get(job_id)).state in states


async def test_an_exception_is_retried_until_the_limit(app):
    """Three attempts with two retries, and every one of them is kept."""

    @app.job("k", retry_limit=2, retry_delay=0)
    async def handler(job: Job) -> None:
        raise RuntimeError(f"attempt {job.attempt}")

    job = await run(app, "k")

    assert ("failed", 3, 3) == (job.state, job.attempt, job.failures)
    assert "attempt 3" == job.error["message"]
    assert ["attempt 1", "attempt 2", "attempt 3"] == [a["error"]["message"] for a in await read.attempts(app.store, job.tenant_id, job.id)]


@pytest.mark.parametrize(
    ("how", "attempts"), [({"fail_on": (KeyError,)}, 1), ({"retry_on": (ValueError,)}, 1), ({"retry_on": (LookupError,)}, 3)]
)
async def test_exception_classes_can_be_named_final_or_retryable(app, how, attempts):
    """By class, subclasses included."""

    @app.job("k", retry_limit=2, retry_delay=0, **how)
    async def handler() -> None:
        raise KeyError("x")

    assert attempts == (await run(app, "k")).attempt


@pytest.mark.parametrize(
    "result", [float("nan"), {"a": "\x00"}, object(), "x" * (1024 * 1024 + 1)], ids=["nan", "nul", "object", "too large"]
)
async def test_a_result_that_cannot_be_kept_ends_the_job_with_a_reason(app, result):
    """It would be as wrong the next time."""

    @app.job("k", retry_limit=3, retry_delay=0)
    async def handler() -> Any:
        return result

    job = await run(app, "k")

    assert ("failed", 1) == (job.state, job.attempt)
    assert job.error["message"].startswith("result ")


# -- threads and processes ------------------------------------------------------------


async def test_a_plain_function_runs_in_a_thread(app):
    """The loop stays free."""

    @app.job("k")
    def handler(job: Job) -> Any:
        job.log("from a thread", level="warning", thread=threading.current_thread().name)
        return threading.current_thread() is threading.main_thread()

    job = await run(app, "k")
    await until(lambda: has_log(app, job), "the line in the log")

    assert job.result is False
    assert [("warning", "from a thread")] == [(line["level"], line["message"]) for line in await read.log(app.store, job.tenant_id, job.id)]


async def has_log(app: Trunkline, job: Any) -> bool:
    return bool(await read.log(app.store, job.tenant_id, job.id))


async def test_a_process_handler_runs_elsewhere_and_its_process_is_kept(app):
    """Starting Python for every job would cost more than most jobs."""
    app.job("k", process=True)(cpu.square)
    first, second = (await run(app, "k", {"n": 3})).result, (await run(app, "k", {"n": 4})).result

    assert (9, 16) == (first["square"], second["square"])
    assert os.getpid() != first["pid"] == second["pid"]


@pytest.mark.parametrize(
    ("what", "states"), [("fail", ["failed"]), ("snooze", ["scheduled"]), ("wait", ["retrying"]), ("error", ["failed"])]
)
async def test_a_process_handler_says_what_any_handler_says(app, what, states):
    """Outcomes cross the pipe."""
    app.job("k", process=True, retry_limit=0)(cpu.say)
    await app.start_worker()
    job_id = await app.enqueue("k", {"what": what})

    await until(lambda: has_state(app, job_id, *states), "the state")


async def test_a_process_that_dies_is_a_failure_and_is_replaced(app):
    """The next job finds a new one."""
    app.job("die", process=True, retry_limit=0)(cpu.die)
    app.job("square", process=True)(cpu.square)
    died = await run(app, "die")

    assert "died" in died.error["message"]
    assert 25 == (await run(app, "square", {"n": 5})).result["square"]


async def test_a_process_past_its_timeout_is_killed(app, tmp_path: Path):
    """CPU work does not end by being asked."""
    app.job("k", process=True, retry_limit=0, timeout=1.5)(cpu.spin)
    job = await run(app, "k", {"path": str(tmp_path / "pid")})
    pid = int((tmp_path / "pid").read_text())

    assert ("failed", "timed_out") == (job.state, job.error["type"])
    await until(lambda: gone(pid), "the end of the process")


async def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return "Z" in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[:1]


def test_a_process_handler_must_be_importable(app_offline):
    """A closure cannot be found by another process."""
    with pytest.raises(InvalidInput, match="top level"):

        @app_offline.job("k", process=True)
        def inner() -> None: ...


# -- time, cancel, progress -------------------------------------------------------------


async def test_an_attempt_past_its_timeout_is_stopped_and_retried(app):
    """The second attempt is quick."""

    @app.job("k", retry_limit=1, retry_delay=0, timeout=0.2)
    async def handler(job: Job) -> str:
        if job.attempt == 1:
            await asyncio.Event().wait()
        return "quick"

    job = await run(app, "k")

    assert ("quick", 2, 1) == (job.result, job.attempt, job.failures)


async def test_one_job_may_have_a_timeout_of_its_own(app):
    """The option wins over the handler's."""

    @app.job("k", retry_limit=0, timeout=3600)
    async def handler() -> None:
        await asyncio.Event().wait()

    assert "timed_out" == (await run(app, "k", timeout=0.2)).error["type"]


async def test_cancelling_a_running_job_cancels_its_task(app):
    """It ends cancelled, not failed, and its slot is free."""
    started = asyncio.Event()

    @app.job("k")
    async def handler() -> None:
        started.set()
        await asyncio.Event().wait()

    await app.start_worker()
    job_id = await app.enqueue("k")
    await started.wait()

    assert await app.cancel(job_id)
    assert "cancelled" == (await app.wait_ended(job_id, timeout=20)).state


async def test_a_thread_sees_that_it_is_cancelled(app):
    """Cooperation: the handler looks and leaves."""
    started = threading.Event()

    @app.job("k")
    def handler(job: Job) -> None:
        started.set()
        while not job.cancelled:
            threading.Event().wait(0.01)

    await app.start_worker()
    job_id = await app.enqueue("k")
    await asyncio.to_thread(started.wait)
    await app.cancel(job_id)

    assert "cancelled" == (await app.wait_ended(job_id, timeout=20)).state


async def test_the_last_progress_is_kept_with_the_outcome(app):
    """Of many reports at once the latest counts."""

    @app.job("k")
    async def handler(job: Job) -> None:
        for percent in range(0, 101, 10):
            await job.progress(percent, f"step {percent}", current=percent // 10, total=10)

    assert {"percentage": 100, "message": "step 100", "current": 10, "total": 10} == (await run(app, "k")).progress


async def test_a_failed_job_keeps_how_far_it_came(app):
    """That is what people ask first."""

    @app.job("k", retry_limit=0)
    async def handler(job: Job) -> None:
        await job.progress(40)
        raise RuntimeError("stopped")

    assert {"percentage": 40} == (await run(app, "k")).progress


async def test_progress_out_of_range_is_refused(app):
    """The value is named."""

    @app.job("k", retry_limit=0)
    async def handler(job: Job) -> None:
        await job.progress(101)

    assert "progress is 101" in (await run(app, "k")).error["message"]


async def test_a_checkpoint_survives_a_retry(app):
    """The second attempt goes on where the first stopped."""

    @app.job("k", retry_limit=1, retry_delay=0)
    async def handler(job: Job) -> Any:
        if (kept := await job.last_checkpoint()) is not None:
            return kept
        await job.checkpoint({"row": 500})
        raise RuntimeError("stopped")

    assert {"row": 500} == (await run(app, "k")).result


async def test_a_job_that_is_not_worth_starting_any_more_ends_cancelled(app):
    """`expires_at` is looked at when it is claimed."""
    from datetime import UTC, datetime, timedelta

    ran = []

    @app.job("k")
    async def handler() -> None:
        ran.append(1)

    job = await run(app, "k", expires_at=datetime.now(UTC) - timedelta(seconds=1))

    assert ("cancelled", []) == (job.state, ran)


# -- who serves whom ----------------------------------------------------------------------


async def test_the_first_job_of_a_new_tenant_does_not_wait_for_a_look_at_all_lines(app, monkeypatch):
    """Who makes a queue tells of it."""
    monkeypatch.setattr(worker, "LINES_EVERY_S", 600.0)

    @app.job("shared", tenants="all")
    async def shared() -> str:
        return "done"

    await app.start_worker()
    job_id = await app.enqueue("shared", tenant="newcomer")

    assert "done" == await app.wait(job_id, timeout=20, tenant="newcomer")


async def test_a_handler_serves_the_default_tenant_only_unless_it_says_all(app):
    """A customer's job must not reach code that was not written for customers."""
    seen: list[tuple[str, int]] = []

    @app.job("own")
    async def own(job: Job) -> None:
        seen.append(("own", job.tenant_id))

    @app.job("shared", tenants="all")
    async def shared(job: Job) -> None:
        seen.append(("shared", job.tenant_id))

    await app.enqueue("own", tenant="customer-001")
    await app.start_worker()
    default = await app.enqueue("own")
    customers = await app.enqueue("shared", tenant="customer-001")
    await app.wait(default, timeout=20)
    await app.wait(customers, timeout=20, tenant="customer-001")

    assert {("own", await app.tenant_id(None)), ("shared", await app.tenant_id("customer-001"))} == set(seen)


async def test_a_kind_without_a_handler_waits_and_counts_no_failure(app):
    """Another worker, or a later version, may know it."""

    @app.job("known", queue="both")
    async def known() -> None: ...

    await app.start_worker()
    job_id = await app.enqueue("unknown", queue="both")
    await until(lambda: has_state(app, job_id, "no_handler"), "the state")

    assert 0 == (await app.get(job_id)).failures


async def test_higher_priorities_go_first(app):
    """Within one claim, too."""
    order: list[int] = []

    @app.job("k")
    async def handler(job: Job) -> None:
        order.append(job.priority)

    ids = [await app.enqueue("k", priority=p) for p in (0, 50, 100, 7)]
    await app.start_worker(concurrency=1)
    for job_id in ids:
        await app.wait(job_id, timeout=20)

    assert [100, 50, 7, 0] == order


@pytest.mark.parametrize("name", ["burst", "key_burst"])
def test_a_burst_without_its_rate_is_refused(app_offline, name):
    """It would do nothing, and nobody would notice."""
    with pytest.raises(InvalidInput, match=f"{name} is 3"):
        app_offline.job("work", **{name: 3})
