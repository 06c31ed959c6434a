"""Processes that die while they fire: the schedule goes on, and no due time is fired twice or never."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.until import until
from trunkline import Trunkline
from trunkline.settings import Settings
from trunkline.testing import DatabaseClock

HOUR = 3600


@pytest.fixture
async def app(trunkline_url):
    """Somebody who makes the schedule and looks on."""
    async with Trunkline(settings=Settings.load({}, database_url=trunkline_url)) as app:
        yield app


@pytest.fixture
def clock(app):
    """The movable clock of the same database."""
    return DatabaseClock(app.store)


async def active(app: Trunkline) -> bool:
    """Planned."""
    return (await app.schedules.get("s")).state == "active"


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_process_killed_at_its_firing_costs_no_firing_and_makes_none_twice(
    app, clock, children, proxy, journal, trunkline_url, when
):
    """kill -9 as the call stands at the server's door, and when it is committed and nobody was told."""
    victim = await children.worker(proxy.url).is_up()
    await app.schedules.create("s", "noop", {}, every=HOUR, missed="all")
    await until(lambda: active(app), "it is planned")
    due_at = (await app.schedules.get("s")).next_run_at
    rule = proxy.hold(sql="trunkline.fire(", when=when)
    await clock.forward(HOUR + 1)
    await asyncio.to_thread(rule.met.wait, 30)
    fired_before = len(await app.schedules.firings("s"))
    victim.kill()
    rule.release()
    await children.worker(trunkline_url).is_up()
    await until(lambda: app.schedules.firings("s"), "it has fired")
    await until(lambda: journal.of("done"), "its job has run")
    after = await app.schedules.get("s")

    assert (0 if when == "before" else 1) == fired_before
    assert [due_at] == [firing.due_at for firing in await app.schedules.firings("s")]
    assert 1 == await app.store.fetchval("select count(*) from trunkline.job")
    assert (due_at, "active") == (after.last_run_at, after.state)


async def test_a_firing_whose_answer_is_lost_is_not_repeated(app, clock, proxy, worker_through_proxy, journal):
    """The same process goes on: it finds the schedule moved."""
    await worker_through_proxy.start_worker()
    await app.schedules.create("s", "noop", {}, every=HOUR)
    await until(lambda: active(app), "it is planned")
    proxy.cut(sql="trunkline.fire(", when="after")
    fired = []
    for n in range(1, 4):
        await clock.forward(HOUR)
        fired.append(await until(lambda n=n: at_least(app, n), f"{n} firings"))
    await until(lambda: len(journal.of("done")) >= 3, "three jobs have run")

    assert [1, 2, 3] == fired
    assert 3 == await app.store.fetchval("select count(*) from trunkline.job")


async def at_least(app: Trunkline, count: int) -> int:
    """Firings so far, once there are `count`."""
    found = len(await app.schedules.firings("s"))
    return found if found >= count else 0
