"""A process's presence, with a clock of its own: trust, the safe mark, and a session that is over."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from trunkline.engine.heart import SHARE, TTL_S, Heart
from trunkline.store import sessions
from trunkline.store.sessions import Tick, lease_of


class Hand:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Heard:
    """A listener that notes what it is told."""

    def __init__(self, queue_id: int) -> None:
        self.queue_id = queue_id
        self.said: list[object] = []

    def lines(self):
        return [self.queue_id], 0

    def has_work(self, queue_ids):
        self.said.append(("work", list(queue_ids)))

    def cancel_requested(self, leases):
        self.said.append(("cancel", list(leases)))

    def session_over(self):
        self.said.append("over")

    def clock_went_back(self):
        self.said.append("back")


@pytest.fixture
async def heart(store):
    """A heart that has beaten once, its clock, and nobody who lets it beat again."""
    heart = Heart(store, Hand())
    await heart.start()
    yield heart
    await heart.stop()


async def test_trust_runs_out_by_the_process_own_clock(heart):
    """Only the database clock is compared with deadlines; a process that could not renew stops by its own."""
    trusted = [heart.trusted]
    heart._clock.now += TTL_S * 0.6 - 0.1
    trusted.append(heart.trusted)
    heart._clock.now += 0.2
    trusted.append(heart.trusted)

    assert [True, True, False] == trusted


async def test_a_tick_brings_trust_back(heart):
    """It was only late."""
    heart._clock.now += TTL_S
    await heart._tick()

    assert heart.trusted


async def test_a_session_that_is_over_is_told_before_a_new_one_is_opened(heart, store, clock):
    """Every lease may be somebody else's."""
    listener = Heard(0)
    heart.listen(listener)
    before = heart.session_id
    await sessions.close_session(store, before)
    await heart._tick()

    assert "over" == listener.said[0]
    assert heart.session_id > before
    assert heart.trusted


AN_HOUR_BACK = """create or replace function trunkline.ord_now() returns bigint language sql volatile parallel safe as
   $$ select (extract(epoch from clock_timestamp() - interval '1 hour') * 1000000)::bigint * 4096 - 1735689600000000 * 4096 $$"""


async def test_a_clock_that_went_back_is_noticed_and_no_place_is_safe_then(heart, store):
    """New jobs stand before every place that was looked at; a tick later places are safe again, by the clock as it is now."""
    listener = Heard(0)
    heart.listen(listener)
    before, unheard = await safe_place(heart), list(listener.said)
    await store.fetch(AN_HOUR_BACK)
    await heart._tick()

    assert heart.safe < before
    assert await safe_place(heart) < before
    assert ([], ["back"]) == (unheard, listener.said)


async def safe_place(heart: Heart) -> int:
    """Tick until a place is safe: transactions of other databases of the server hold it back, too."""
    async with asyncio.timeout(60):
        while not heart.safe:
            await heart._tick()
    return heart.safe


async def test_a_job_is_found_though_the_databases_clock_went_back(app, queue, store):
    """In an idle queue nothing else would ever let a worker look before the places that it has passed."""
    done = asyncio.Queue()

    @app.job("work")
    async def work(n: int) -> None:
        done.put_nowait(n)

    await app.start_worker()
    await app.enqueue("work", {"n": 1})
    async with asyncio.timeout(60):
        first = await done.get()
        while not all(line.covered_floor for line in app._worker._fetcher._order):  # until it has looked to the end when places were safe
            await app.enqueue("work", {"n": 1})
            await done.get()
        await store.fetch(AN_HOUR_BACK)
        await app.enqueue("work", {"n": 2})
        assert (1, 2) == (first, await done.get())


async def test_listeners_hear_of_work_and_of_cancels(queue, store):
    """What a lost signal did not tell."""
    heart = Heart(store, Hand())
    await heart.start()
    listener = Heard(queue.queue_id)
    heart.listen(listener)
    running, _ = [await queue.put() for _ in range(2)]
    await queue.claim_one(session_id=heart.session_id)
    await queue.cancel(running)
    await heart._tick()
    await heart.stop()

    assert [("work", [queue.queue_id]), ("cancel", [(queue.tenant_id, running, 1)])] == listener.said


async def test_a_slow_answer_about_lines_is_not_asked_for_again_at_once(store, queue, monkeypatch):
    """An old transaction pins the dead rows in front of a line: to ask is to wade through them. Who put lines to sleep asks all the same."""
    hand = Hand()
    heart, asked = Heart(store, hand), []
    await heart.start()
    heart.listen(Heard(queue.queue_id))
    real = sessions.tick

    async def slow(store, session_id, ttl_s, queue_ids, mark):
        asked.append(list(queue_ids))
        hand.now += 0.2 if queue_ids else 0.0
        return await real(store, session_id, ttl_s, queue_ids, mark)

    monkeypatch.setattr(sessions, "tick", slow)
    for _ in range(3):
        await heart._tick()
        hand.now += 1.0
    heart.ask_soon()
    await heart._tick()
    hand.now += 0.2 * SHARE + 0.1
    await heart._tick()
    await heart.stop()

    assert [[queue.queue_id], [], [], [queue.queue_id], [queue.queue_id]] == asked


def tick(ord_now: int, xmin: int, xmax: int) -> Tick:
    """What a tick read."""
    return Tick(True, ord_now, xmin, xmax, None, None, None)


def test_a_place_becomes_safe_when_every_transaction_that_ran_at_it_has_ended(store_free_heart):
    """Until then a smaller place may still be committed."""
    safe = []
    for read in (tick(100, 5, 8), tick(200, 7, 9), tick(300, 8, 12), tick(400, 12, 12)):
        store_free_heart._advance(read)
        safe.append(store_free_heart.safe)

    assert [0, 0, 100, 400] == safe


@pytest.fixture
def store_free_heart():
    """A heart of which only the arithmetic is used."""
    from types import SimpleNamespace

    return Heart(SimpleNamespace(settings=SimpleNamespace(poll_interval_s=1.0)), Hand())  # type: ignore[arg-type]


def test_a_place_for_a_moment_follows_the_last_tick(store_free_heart):
    """Microseconds times 4096."""
    store_free_heart._ord_at = (5 * 4096, 1000.0)

    assert (5 + 250_000) * 4096 == store_free_heart.ord_at(1000.25)


def test_a_cancel_without_its_tenant_is_left_to_the_next_tick():
    """An older function says it so; whose job is meant is not guessed."""
    job_id = uuid4()

    assert (7, job_id, 2) == lease_of([str(job_id), "2", "7"])
    assert lease_of([str(job_id), "2"]) is None
