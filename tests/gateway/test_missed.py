"""Nothing is missed in silence: what cannot be told is not taken for told, and whoever may have missed something is told that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from tests.gateway.bare import Bare
from tests.support.proxy import Proxy
from tests.support.until import until
from trunkline import Trunkline
from trunkline.realtime import stream
from trunkline.settings import Settings

EMIT = "select trunkline.emit($1, $2, 'progress', $3::json)"
LAPSE = "update trunkline.watched set until = trunkline.now() - interval '1 second'"


@pytest.fixture
async def jobs(server) -> AsyncIterator[Callable]:
    """A watcher of all jobs of the default tenant, or whoever `auth` says."""
    async with AsyncExitStack() as stack:

        async def come(port: int = 0, **auth) -> Bare:
            made = await Bare.open(port or server.port, auth, path="/socket.io", namespace="/jobs")
            stack.push_async_callback(made.close)
            return made

        yield come


async def test_an_event_that_no_reader_takes_keeps_back_none_beside_it(app, server, jobs, join):
    """A number past every range, written from SQL: the events of the same burst used to be lost for every client of the tenant."""
    watcher, client = await (await jobs()).let_in(), await join("default")
    tenant_id = await app.tenant_id("default")
    (await app.stream())._calm._gap_s = 0  # all progress is told
    await watcher.ask("subscribe:jobs", {})
    job_id = await app.enqueue("resize", {})
    for bad in ('{"percentage": 1e999}', '{"percentage": 1, "data": 1e400}', '"\\ud800"', "[[1e999]]"):
        async with app.store.connection() as conn, conn.transaction():
            for data in (bad, '{"percentage": 42}'):
                await conn.execute(EMIT, tenant_id, job_id, data)
    await app.cancel(job_id)
    await client.pushed("job_cancelled")
    await until(lambda: "cancelled" in [update["status"] for update in watcher.said("job:update")], "it is told")

    assert {42} == {push["progress"] for push in client.pushes["job_progress"]}
    assert 42 == watcher.said("job:progress")[-1]["progress"]  # the latest takes the place of those that wait


@pytest.mark.parametrize("transport", ["raw", "websocket"], indirect=True)
async def test_who_may_have_missed_something_is_closed_and_comes_back(app, server, jobs, join, monkeypatch):
    """The database was away for longer than it knows who watches: moves after that left no events, and watchers stayed as if nothing was."""
    watcher, client, pure = await (await jobs()).let_in(), await join("default"), await join("default", events="false")
    await watcher.ask("subscribe:jobs", {})
    monkeypatch.setattr(stream, "REFRESH_S", 0.2)
    await app.store.fetch(LAPSE)
    (code, _), _ = await client.until_closed(), await until(lambda: watcher.closed, "the watcher is closed")

    assert (1012, 1012) == (code, watcher.closed[0])
    assert pure.closed is None and 1 == server.gateway.connections
    again = await (await jobs()).let_in()
    await again.ask("subscribe:jobs", {})
    await app.cancel(await app.enqueue("resize", {}))
    await until(lambda: "cancelled" in [update["status"] for update in again.said("job:update")], "it is told as before")


async def test_who_comes_back_while_the_database_is_away_recovers_when_it_is_there(app, trunkline_url, monkeypatch, jobs):
    """It used to be told that it did not recover, and all that it missed was gone."""
    monkeypatch.setattr(stream, "READY_S", 0.5)
    job_id = await app.enqueue("resize", {})
    with Proxy(trunkline_url) as proxy:
        async with Trunkline(settings=Settings.load({}, database_url=proxy.url, command_timeout_s=2)) as other:
            port = (await other.start_gateway(port=0, mode="development")).port
            first = await (await jobs(port, recovery=True)).let_in()
            assert (await first.ask("subscribe:jobs", {"jobId": str(job_id)}))["success"]
            await app.updates.emit_job_update(job_id, "heard")
            await first.until("job:update")
            first.kill()
            proxy.refuse()
            proxy.cut_all()
            await app.updates.emit_job_update(job_id, "missed")
            back = {"recovery": True, "pid": first.accepted["pid"], "offset": first.offset}
            away = await jobs(port, **back)
            await until(lambda: away.is_over or away.accepted, "it is told something")
            proxy.refuse(False)
            refused = (away.accepted, away.closed and away.closed[0])

            async def recovered() -> Bare | None:
                again = await jobs(port, **back)
                await until(lambda: again.accepted is not None or again.is_over, "it is answered")
                return None if again.is_over else again

            again = await until(recovered, "it is let in")
            await again.until("job:update")
            await asyncio.gather(*(each.close() for each in (away, again)))
            await other.stop_gateway(0.0)

    assert (None, 1013) == refused
    assert first.accepted["pid"] == again.accepted["pid"]
    assert ["missed"] == [update["status"] for update in again.said("job:update")]
