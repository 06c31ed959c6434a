"""Gauges: what a scrape shows of queues and storage, that it asks the database seldom, and what it says when that is away."""

from __future__ import annotations

import asyncio
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.until import until
from trunkline import Job, Metrics, Trunkline
from trunkline.engine import gauges
from trunkline.errors import InvalidInput, InvalidSetting
from trunkline.settings import Settings

ORDER = ("tenant", "kind", "queue", "state", "table", "slice", "alert", "dialect", "reason")


async def scraped(port: int) -> dict[str, dict[tuple[str, ...], float]]:
    """{metric: {labels' values: value}} of a real scrape over HTTP."""

    def read() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            return str(answer.read().decode())

    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(await asyncio.to_thread(read)):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels[name] for name in ORDER if name in sample.labels)] = sample.value
    return found


async def test_a_scrape_shows_queues_storage_and_attempts(app):
    """Names of ours have the prefix; labels are few."""

    @app.job("work")
    async def work(job: Job) -> None: ...

    port = await app.start_metrics()
    await app.start_worker()
    await app.wait(await app.enqueue("work"), 30)
    await app.enqueue("other", run_at=None)
    await app.enqueue("other", delay=3600)

    async def counted():  # an attempt is counted when its report was answered, which may be after the outcome is seen; lag is of a tick
        app.gauges._looked_at = float("-inf")
        answer = await scraped(port)
        return answer if {"trunkline_jobs_completed_total", "trunkline_low_water_mark_lag_seconds"} <= answer.keys() else None

    seen = await until(counted, "the attempt is counted")

    assert {("default", "other", "ready"): 1, ("default", "other", "scheduled"): 1} == seen["trunkline_jobs_in_queue"]
    assert 0 <= seen["trunkline_queue_oldest_ready_seconds"]["default", "other"] < 60
    assert ({(): 1.0}, {(): 0.0}) == (seen["trunkline_database_up"], seen["trunkline_leases"])
    assert 1 == seen["trunkline_jobs_completed_total"]["work", "work"]
    slices = {slice_ for table, slice_ in seen["trunkline_table_bytes"] if table == "job"}
    assert seen["trunkline_history_slices"][()] == len(slices) >= 3 and all(name.isdigit() for name in slices)
    assert seen["trunkline_table_bytes"]["ready", ""] > 0 and seen["trunkline_index_bytes"]["ready", ""] > 0
    assert {"trunkline_table_rows", "trunkline_table_dead_rows", "trunkline_oldest_snapshot_seconds"} <= seen.keys()
    assert seen["trunkline_oldest_slice_timestamp_seconds"][()] > 1_700_000_000
    assert 0 <= seen["trunkline_low_water_mark_lag_seconds"].get((), 0) < 60
    assert "python_info" in seen


async def test_many_scrapes_at_once_are_one_look_at_the_database(app):
    """Whoever scrapes in a loop, or from ten places, asks it once in a while."""
    port = await app.start_metrics()
    answers = await asyncio.gather(*(scraped(port) for _ in range(8)))

    assert 8 == len(answers) and all(answer["trunkline_database_up"] == {(): 1.0} for answer in answers)
    assert 1 == app.gauges.looks


async def test_a_count_stops_at_its_bound(app, monkeypatch):
    """A million queued jobs are not counted for a graph."""
    bounded = gauges.gauges.READY.replace("limit 10000", "limit 20")
    monkeypatch.setattr(gauges.gauges, "READY", bounded)
    await app.enqueue_many([app.new_job("work") for _ in range(50)])
    port = await app.start_metrics()

    assert 20 == (await scraped(port))["trunkline_jobs_in_queue"]["default", "work", "ready"]


async def test_a_database_that_cannot_be_read_is_said_and_shows_no_old_values(app):
    """And the scrape is answered."""
    port = await app.start_metrics()
    await scraped(port)
    await app.store.fetch("alter table trunkline.limiter rename to elsewhere")
    app.gauges._looked_at = float("-inf")
    seen = await scraped(port)

    assert {(): 0.0} == seen["trunkline_database_up"]
    assert "trunkline_jobs_in_queue" not in seen and "trunkline_table_bytes" not in seen


async def test_an_application_with_metrics_of_its_own_keeps_its_registry(trunkline_url):
    """They are served beside the gauges, and counted once; an endpoint of one's own takes the collector."""
    registry = CollectorRegistry()
    async with Trunkline(settings=Settings.load({}, database_url=trunkline_url)) as app:
        app.middleware(Metrics(registry))

        @app.job("work")
        async def work() -> None: ...

        port = await app.start_metrics()
        await app.start_worker()
        await app.wait(await app.enqueue("work"), 30)
        seen = await scraped(port)
        own = CollectorRegistry()
        own.register(app.gauges)
        await app.gauges.refresh()

        assert 1 == len(app.hooks.middleware) and 1 == seen["trunkline_jobs_completed_total"]["work", "work"]
        assert b"trunkline_table_bytes" in generate_latest(own)
        with pytest.raises(InvalidInput, match=f"already, at port {port}"):
            await app.start_metrics()
        async with Trunkline(settings=Settings.load({}, database_url=trunkline_url)) as other:
            with pytest.raises(InvalidSetting, match=f"TRUNKLINE_METRICS_PORT: 127.0.0.1 port {port} cannot be used"):
                await other.start_metrics(port=port)
