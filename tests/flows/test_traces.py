"""One trace from whoever asked to whoever worked: through the API, the gateway, the SDK, batches and spawned jobs."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.engine.test_gauges import scraped
from tests.support.until import until
from trunkline import Job, Tracing, Trunkline
from trunkline.auth.mode import TEST_TENANT, TEST_TOKEN
from trunkline.client import connect
from trunkline.engine import worker
from trunkline.model.trace import checked, continuing, traceparent

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def spans(app: Trunkline) -> InMemorySpanExporter:
    """What the application's tracer finished."""
    finished = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(finished))
    app.middleware(Tracing(provider.get_tracer("test")))
    return finished


async def test_a_trace_goes_from_every_door_through_every_job(app, spans, monkeypatch):
    """API → handler → spawned job → remote worker → what that sends → handler; a batch. And what all of them counted."""
    monkeypatch.setattr(worker, "LINES_EVERY_S", 0.1)  # how soon a queue of a new tenant is noticed
    seen: dict[str, str | None] = {}

    @app.job("first", tenants="all")
    async def first(job: Job) -> None:
        await job.spawn("remote")
        await app.batches.send([("batched", {})], tenant=TEST_TENANT)

    @app.job("batched", tenants="all")
    def batched(job: Job) -> None:
        seen["batched"] = job.traceparent

    @app.job("last", tenants="all")
    async def last(job: Job) -> None:
        seen["last"] = job.traceparent

    metrics = await app.start_metrics()
    server = await app.start_gateway(port=0, mode="development", api=True)
    url = f"127.0.0.1:{server.port}"
    headers = {"Authorization": f"Bearer {TEST_TOKEN}", "traceparent": PARENT}
    async with connect(f"http://{url}", token=TEST_TOKEN) as client, httpx.AsyncClient(headers=headers) as http:

        @client.worker("remote")
        async def remote(job: Any) -> None:
            seen["remote"] = job.traceparent
            await client.send("last")

        working = asyncio.create_task(client.work(signals=False))
        await app.start_worker()
        answer = await http.post(f"http://{url}/api/jobs", json={"type": "first", "payload": {}})
        assert 201 == answer.status_code, answer.text
        await until(lambda: {"batched", "last", "remote"} <= seen.keys(), "every job ran")
        counted = await until(lambda: remote_counted(metrics), "the remote attempt is counted")
        client.stop()
        await working
    await app.stop_worker()
    await app.stop_gateway(1)

    names = [span.name for span in spans.get_finished_spans() if span.context.trace_id == int(TRACE, 16)]
    assert {"process first", "process batched", "process last"} <= set(names)
    assert all(parent is not None and parent.split("-")[1] == TRACE for parent in seen.values()), seen
    assert {("first", "first"): 1, ("remote", "remote"): 1, ("last", "last"): 1, ("batched", "batched"): 1} == counted[
        "trunkline_jobs_created_total"
    ]
    assert 1 == counted["trunkline_job_duration_seconds_count"]["remote", "remote"]
    assert {("raw",): 1, ("ws",): 0, ("socket.io",): 0} == counted["trunkline_websocket_connections_total"]
    assert counted["trunkline_websocket_messages_sent_total"]["raw",] >= 3
    assert {0} == set(counted["trunkline_websocket_errors_total"].values())
    assert "trunkline_pickup_latency_seconds" in counted


async def remote_counted(port: int) -> Any:
    """A scrape that has the attempt of the remote worker; else None."""
    seen = await scraped(port)
    return seen if 1 == seen.get("trunkline_jobs_completed_total", {}).get(("remote", "remote")) else None


async def test_a_trace_context_that_is_none_is_left_out(app):
    """Whoever sends rubbish gets a job all the same; nobody in a trace begins none."""
    for rubbish in ("", "00-zz", f"00-{'0' * 32}-b7ad6b7169203331-01", f"ff-{TRACE}-b7ad6b7169203331-01", PARENT + "\n", "x" * 10_000, 7):
        assert checked(rubbish) is None
        with continuing(rubbish):  # type: ignore[arg-type]
            assert traceparent() is None
    with continuing(PARENT):
        carried = await app.get(await app.enqueue("work"))
    plain = await app.get(await app.enqueue("work"))

    assert ({"traceparent": PARENT}, None, None) == (carried.options, plain.options, traceparent())
