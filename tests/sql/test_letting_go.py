"""A slice of history leaves in steps, beside everybody's work; whatever stops it, somebody can go on."""

from __future__ import annotations

import asyncio

import pytest

from tests.sql.test_partitions import DAY_S, keep_history, old_job, slices
from tests.support.until import until
from trunkline.errors import Unavailable
from trunkline.settings import Settings
from trunkline.store import Store, history

MONTH_S = 30 * DAY_S
TABLES = ("outcome", "attempt", "job")


@pytest.fixture
async def patient(trunkline_url: str):
    """A store that gives a statement up after a second."""
    store = await Store.connect(Settings.load({}, database_url=trunkline_url, command_timeout_s=1))
    yield store
    await store.close()


async def suffix_of(queue) -> str:
    """The oldest slice."""
    return (await slices(queue))[0].removeprefix("trunkline.").removeprefix("job")


async def step(queue, suffix: str) -> str | None:
    """Ask for the next statement and run it."""
    row = await queue.store.fetchrow("select statement from trunkline.let_go($1, $2)", suffix, MONTH_S)
    if row[0] is not None:
        await queue.store.fetch(row[0])
    return row[0]


async def there(queue, suffix: str) -> list[str]:
    """How each of the three tables stands."""
    return [await queue.store.fetchval("select trunkline.standing_of($1)", table + suffix) for table in TABLES]


async def test_a_slice_goes_beside_everybodys_work(queue):
    """Outcomes first: nobody can bring a job back whose outcome is out of reach."""
    await old_job(queue)
    suffix = await suffix_of(queue)
    stands = []
    while await step(queue, suffix):
        stands.append(await there(queue, suffix))

    assert [["detached", "attached", "attached"], ["detached", "detached", "attached"], ["detached"] * 3] == stands
    assert ["gone"] * 3 == await there(queue, suffix)
    assert (0, 0) == (await queue.count("slice"), await queue.count("job"))


@pytest.mark.parametrize("steps", range(4))
@pytest.mark.parametrize("way", ["worker", "sql"])
async def test_a_crash_between_two_steps_is_gone_on_from(queue, steps, way):
    """By the next worker, or by the round of those who have SQL alone."""
    await old_job(queue)
    suffix = await suffix_of(queue)
    for _ in range(steps):
        await step(queue, suffix)
    if way == "worker":
        assert await history.let_go(queue.store, suffix, MONTH_S)
    else:
        assert (0, 1) == await keep_history(queue)

    assert ["gone"] * 3 == await there(queue, suffix)
    assert 0 == await queue.count("slice")


@pytest.mark.parametrize("way", ["worker", "sql"])
async def test_a_detach_that_waits_stops_nobody_and_is_finished_later(queue, patient, sessions, way):
    """Somebody's transaction has read the history: jobs come and go meanwhile, and the leaving ones read as gone."""
    id_ = await old_job(queue)
    suffix = await suffix_of(queue)
    reader = await sessions.connect()
    transaction = reader.transaction()
    await transaction.start()
    await reader.fetch("select * from trunkline.outcome")
    going = asyncio.create_task(history.let_go(patient, suffix, MONTH_S))
    await until(lambda: pending(queue, suffix), "it waits for the reader")
    done = await queue.put()
    await queue.end(done, "failed")
    with pytest.raises(Unavailable):
        await going
    stands = await there(queue, suffix)
    seen = await queue.state(id_)
    await transaction.rollback()
    if way == "worker":
        assert await history.let_go(queue.store, suffix, MONTH_S)
    else:
        assert (0, 1) == await keep_history(queue)

    assert ["pending", "attached", "attached"] == stands
    assert None is seen
    assert ["failed", None] == [await queue.state(done), await queue.state(id_)]


async def pending(queue, suffix: str) -> bool:
    """Whether the outcomes are on their way out."""
    return "pending" == (await there(queue, suffix))[0]


@pytest.mark.parametrize("ends", [False, True])
async def test_a_job_that_was_retried_at_the_last_moment_brings_its_slice_back(queue, ends):
    """Between the look and the detach; also when it has ended again since."""
    id_ = await old_job(queue)
    suffix = await suffix_of(queue)
    row = await queue.store.fetchrow("select statement from trunkline.let_go($1, $2)", suffix, MONTH_S)
    assert {id_} == await queue.retry(id_)
    if ends:
        await queue.end(id_, "failed")
    await queue.store.fetch(row[0])
    gone = await history.let_go(queue.store, suffix, MONTH_S)

    assert not gone
    assert ["attached"] * 3 == await there(queue, suffix)
    assert ("failed" if ends else "queued") == await queue.state(id_)
    assert 0 == await queue.store.fetchval("select count(*) from trunkline.slice where leaving_since is not null")


async def test_a_reader_of_other_slices_costs_the_round_nothing_but_the_drop(queue, sessions):
    """Without a worker each detach locks the whole table; when that does not come, the slices ahead are made all the same."""
    await old_job(queue)
    reader = await sessions.connect()
    transaction = reader.transaction()
    await transaction.start()
    await reader.execute("lock table only trunkline.job in access share mode")
    done = await keep_history(queue)
    await transaction.rollback()

    assert (0, 0) == done
    assert ["attached"] * 3 == await there(queue, await suffix_of(queue))


async def test_a_worker_without_the_owners_rights_lets_slices_go_too(queue, trunkline_url):
    """It may not detach by itself, so the function does it at once."""
    await queue.store.fetch(
        "do $$ begin create role trunkline_test_member login in role trunkline_worker; exception when duplicate_object or unique_violation then null; end $$"
    )
    await old_job(queue)
    suffix = await suffix_of(queue)
    url = trunkline_url.replace("//trunkline@", "//trunkline_test_member@")
    store = await Store.connect(Settings.load({}, database_url=url))
    try:
        assert await history.let_go(store, suffix, MONTH_S)
    finally:
        await store.close()

    assert ["gone"] * 3 == await there(queue, suffix)


async def test_a_slice_that_is_needed_is_not_begun_with(queue):
    """Whoever asks."""
    await old_job(queue, into="ready")
    suffix = await suffix_of(queue)

    assert not await history.let_go(queue.store, suffix, MONTH_S)
    assert not await history.let_go(queue.store, "_p19990101", MONTH_S)
    assert 0 == await queue.count("slice")
