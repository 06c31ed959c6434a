"""Who hears of alerts and of the state of queues, and what a process counts."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.engine.test_gauges import scraped
from tests.support.until import until
from trunkline import Alert, Job, Snooze, States, Trunkline
from trunkline.engine import alarms
from trunkline.engine.hooks import BESIDE_JOBS, EVENTS
from trunkline.errors import InvalidInput
from trunkline.observe.counts import MOST_OF_TENANT, OTHER, Labels, Longest
from trunkline.settings import Settings
from trunkline.store import alerts
from trunkline.store.alerts import Tally


def settings(url: str) -> Settings:
    return Settings.load({}, database_url=url, shutdown_timeout_s=5, alert_least=4, alert_interval_s=45)


async def failing(app: Trunkline) -> None:
    """A rate to be told of."""
    await alerts.note(app.store, [Tally(await app.tenant_id(None), "work", 1, 9, 0, 1.0)])


async def test_an_alert_is_logged_counted_and_told_to_every_handler_once(trunkline_url, monkeypatch):
    """Async and plain ones; neither one that raises nor one that hangs keeps the others from it."""
    monkeypatch.setattr(alarms, "WITHIN_S", 0.2)
    heard: list[tuple[str, Alert]] = []
    threads: list[str] = []
    async with Trunkline(settings=settings(trunkline_url)) as app:

        @app.job("work")
        async def work() -> None: ...

        @app.on("alert")
        def broken(alert: Alert) -> None:
            raise RuntimeError("no pager")

        @app.on("alert")
        async def hanging(alert: Alert) -> None:
            await asyncio.sleep(3600)

        @app.on("alert")
        async def whole(alert: Alert) -> None:
            heard.append(("async", alert))

        @app.on("alert")
        def plain(alert: Alert) -> None:
            threads.append(threading.current_thread().name)
            heard.append(("plain", alert))

        port = await app.start_metrics()
        worker = await app.start_worker()
        await app.wait(await app.enqueue("work"), 30)
        await failing(app)
        with capture_logs() as logs:
            await worker._alarms.round()
            await app.store.fetch("update trunkline.duty set next_run_at = '-infinity'")
            await worker._alarms.round()
        seen = await scraped(port)
        listed = await app.alerts.list()

    said = [line for line in logs if line["event"].startswith("alert.")]
    assert [("alert.raised", "warning", "failure_rate", "default", "work", 0.9)] == [
        (line["event"], line["log_level"], line["alert"], line["tenant"], line["subject"], line["value"]) for line in said
    ]
    assert {"async", "plain"} == {how for how, _ in heard} and 2 == len(heard)
    assert listed == [heard[0][1]] == [heard[1][1]]
    assert ("alert", "90% of the jobs of queue default/work fail, over 10%") == (listed[0].state, listed[0].message)
    assert threads[0].startswith("trunkline-handler")
    assert ["RuntimeError('no pager')", "TimeoutError()"] == sorted(
        line["error"] for line in logs if line["event"] == "hooks.observer_failed"
    )
    assert 1 == seen["trunkline_alert_active"]["failure_rate",] and 0 == seen["trunkline_alert_active"]["stalled",]
    assert 1 == seen["trunkline_processes"][()]


async def test_of_two_processes_one_is_told(trunkline_url):
    """Of an alert, of its end, and of the minute's states; the one that has handlers, whoever looked."""
    heard: list[Any] = []
    async with Trunkline(settings=settings(trunkline_url)) as one, Trunkline(settings=settings(trunkline_url)) as other:
        for app in (one, other):
            app.job("work")(lambda: None)
        other.on("alert")(heard.append)
        other.on("monitor-states")(heard.append)
        looks, tells = await one.start_worker(), await other.start_worker()
        await one.enqueue_many([one.new_job("elsewhere") for _ in range(3)])
        await failing(one)
        await looks._alarms.round()
        assert [] == heard
        for _ in range(2):
            await tells._alarms.round()
            await tells._alarms.tell_states()

    alert, states = heard
    assert ("failure_rate", "alert") == (alert.name, alert.state)
    assert isinstance(states, States) and {"default/elsewhere", "default/work"} == states.queues.keys()
    assert (3, 9, 1.0) == (states.total("created"), states.total("failed"), states.queues["default/work"].mean_s)


async def test_what_ends_in_a_worker_is_tallied(app):
    """Completed, failed for good, run again; a snooze is none of them. Written when it stops at the latest."""

    @app.job("work", retry_limit=1, retry_delay=0)
    async def work(job: Job, how: str) -> None:
        if how == "later" and job.attempt == 1:
            raise Snooze(0)
        if how == "failed" or (how == "again" and job.attempt == 1):
            raise RuntimeError(how)

    await app.start_worker()
    ids = [await app.enqueue("work", {"how": how}) for how in ("completed", "failed", "again", "later")]
    await asyncio.gather(*(app.wait_ended(job_id, 30) for job_id in ids))
    await app.stop_worker()
    (row,) = await app.store.fetch(
        "select sum(completed), sum(failed), sum(retried), sum(busy_s) < 5 and sum(busy_s) > 0 from trunkline.tally"
    )

    assert (3, 1, 2, True) == tuple(row)


async def test_jobs_are_counted_where_they_are_put_in_and_only_the_new_ones(app):
    """One by one, many, by COPY, as a batch, a flow, in a transaction of one's own, by a schedule, spawned by a job."""

    @app.job("work")
    async def work(job: Job) -> None:
        await job.spawn("child")

    await app.enqueue("one")
    for _ in range(2):
        await app.enqueue("keyed", idempotency_key="a")
    await app.enqueue_many([app.new_job("many") for _ in range(300)])
    await app.enqueue_many([app.new_job("few", unique_key="x") for _ in range(3)])
    await app.batches.send([("batched", {}), ("batched", {})])
    await app.flows.send([app.new_job("flow")])
    async with app.store.connection() as conn, conn.transaction():
        await app.enqueue("own", connection=conn)
    await app.schedules.create("often", every=3600, kind="fired", queue="line", start=datetime(2020, 1, 1, tzinfo=UTC))
    await app.store.fetch("update trunkline.schedule set plan_from = '2020-01-01', next_run_at = '-infinity'")
    await app.start_worker()
    await app.wait(await app.enqueue("work"), 30)
    counts = app.store.counts.created
    await until(lambda: counts["fired", "line"], "the schedule fires")

    pairs = {kind: (kind, "line" if kind == "fired" else kind) for kind in counts_expected}
    assert counts_expected == {kind: counts[pair] for kind, pair in pairs.items()}


counts_expected = {
    "one": 1, "keyed": 1, "many": 300, "few": 1, "batched": 2, "flow": 1, "own": 1, "fired": 1, "work": 1, "child": 1,
}  # fmt: skip


def test_names_that_a_tenant_makes_up_are_bounded_and_crowd_out_nobody():
    """Past its share a tenant's are `other`; handlers of this process keep their names."""
    labels = Labels(lambda kind, queue: kind == queue == "work")
    mine = {labels.of(1, f"kind-{n}", "q") for n in range(10_000)}
    shown = {labels.of(tenant, f"kind-{n}", "q") for tenant in range(1000) for n in range(100)}

    assert MOST_OF_TENANT + 1 == len(mine) and OTHER in mine
    assert len(shown) <= 501
    assert ("work", "work") == labels.of(1, "work", "work") and OTHER == labels.of(1, "work", "made-up")
    assert ("kind-0", "q") == labels.of(2, "kind-0", "q")


def test_the_longest_wait_is_forgotten_after_a_minute():
    """By a clock of one's own."""
    now = [0.0]
    longest = Longest(lambda: now[0])
    longest.note(5.0)
    longest.note(2.0)
    seen = []
    for at in (29, 31, 62, 200):
        now[0] = at
        seen.append(longest.value)

    assert [5.0, 5.0, 0.0, 0.0] == seen


def test_an_unknown_event_is_refused_with_the_names(app_offline):
    """All of them."""
    with pytest.raises(InvalidInput, match="there are " + ", ".join(EVENTS + BESIDE_JOBS)):
        app_offline.on("alarm")
