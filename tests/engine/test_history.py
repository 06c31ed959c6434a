"""The minute's round of a worker over its history."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.sql.test_partitions import old_job, slices
from trunkline.engine.history import History
from trunkline.errors import InvalidInput


@pytest.fixture
def keeper(store, queue):
    """What a worker runs."""
    return History(store, lambda: queue.session_id)


async def test_a_round_lets_slices_go_and_deletes_what_is_past_its_time(keeper, queue, clock, app):
    """The slice as a whole, the job of a queue that keeps for an hour by itself."""
    await app.retention.set("work", completed=timedelta(hours=1))
    await old_job(queue)
    before = await slices(queue)
    done = await queue.put()
    await queue.end(done, "completed")
    await clock.forward(3700)
    await keeper.round()

    assert before[1:] == await slices(queue)
    assert None is await queue.state(done)


async def test_one_process_a_minute_does_it(keeper, queue, clock):
    """Everybody offers to."""
    await keeper.round()
    await old_job(queue)
    before = await slices(queue)
    await keeper.round()
    at_once = await slices(queue)
    await clock.forward(3601)
    await keeper.round()

    assert before == at_once
    assert before[1:] == await slices(queue)


async def test_a_slice_that_was_leaving_is_gone_on_with_within_a_minute(keeper, queue, clock):
    """Whoever began with it may be dead."""
    await keeper.round()
    await old_job(queue)
    suffix = (await slices(queue))[0].removeprefix("trunkline.").removeprefix("job")
    await queue.store.fetch((await queue.store.fetchrow("select statement from trunkline.let_go($1, 2592000)", suffix))[0])
    await clock.forward(61)
    await keeper.round()

    assert not await queue.store.fetchval("select trunkline.standing_of($1) <> 'gone'", f"job{suffix}")


@pytest.mark.parametrize("time", [59, -1, True, timedelta(days=4000), "1h"])
async def test_a_time_that_cannot_be_is_refused(app, time):
    """With what is accepted."""
    with pytest.raises(InvalidInput, match="need 60 to"):
        await app.retention.set("work", failed=time)


async def test_times_are_seconds_or_timedeltas(app):
    """None follows the installation again; what is left out stays."""
    first = await app.retention.set("work", completed=3600, failed=timedelta(days=90))
    second = await app.retention.set("work", failed=None)

    assert {"completed": 3600, "failed": 7776000, "cancelled": None} == first
    assert {"completed": 3600, "failed": None, "cancelled": None} == second
    assert [("default", "work", 3600, None, None)] == await app.retention.list()
