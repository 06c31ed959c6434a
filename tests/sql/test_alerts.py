"""Alerts by their rules: raised once, kept while nearly true, resolved once; told once; bounded whatever is queued or kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from itertools import chain

import asyncpg
import pytest

from tests.support.filled import filled
from tests.support.queue import Queue
from trunkline.store import Store, alerts, operate, sessions
from trunkline.store.alerts import AlertRow, Tally

LIMITS = {"dead_letters": 3, "failure_rate": 0.1, "retry_rate": 0.3, "stalled_s": 300, "slowdown": 3, "workers": 0, "least": 20}


async def look(store: Store, clock, session_id: int = 1, **limits: float) -> list[tuple[str, str, bool]]:
    """One round, some seconds after the last: (name, subject, raised) of what is new."""
    await clock.forward(20)
    rows = await alerts.watch(store, session_id, 15, LIMITS | limits)
    return sorted((row.name, row.subject, row.resolved_at is None) for row in rows)


async def tally(queue: Queue, *, completed: int = 0, failed: int = 0, retried: int = 0, busy_s: float = 0.0) -> None:
    await alerts.note(queue.store, [Tally(queue.tenant_id, queue.kind, completed, failed, retried, busy_s)])


async def test_a_failure_rate_is_raised_once_kept_while_near_and_resolved_once(store, queue, clock):
    """Over 10 %: raised. Between 8 and 10 %: neither raised nor resolved. Below for a minute: resolved."""
    await tally(queue, completed=88, failed=12)
    began = await look(store, clock)
    again = await look(store, clock)
    await tally(queue, completed=32)  # 12 of 132: 9.1 %
    near = [await look(store, clock) for _ in range(4)]
    await tally(queue, completed=300)
    below = [await look(store, clock) for _ in range(5)]

    assert [("failure_rate", "work", True)] == began
    assert [] == again and [[]] * 4 == near
    assert [("failure_rate", "work", False)] == [*chain(*below)]
    assert [] == await look(store, clock)


async def test_a_rate_needs_enough_attempts_and_a_threshold(store, queue, clock):
    """Two failures of three are no rate, and 0 switches a rule off."""
    await tally(queue, completed=1, failed=2, retried=16)
    few = await look(store, clock)
    await tally(queue, retried=1, completed=19)
    off = await look(store, clock, retry_rate=0, failure_rate=0)

    assert [] == few == off
    assert [("retry_rate", "work", True)] == await look(store, clock, failure_rate=0)


async def test_jobs_that_take_longer_than_in_the_hour_before_are_an_alert(store, queue, clock):
    """By the mean of those that completed; a queue without a past has none."""
    await tally(queue, completed=100, busy_s=20)
    fresh = await look(store, clock)
    await clock.forward(600)
    await tally(queue, completed=50, busy_s=50)

    assert [] == fresh
    assert [("slow", "work", True)] == await look(store, clock)


async def test_dead_letters_over_the_threshold_are_an_alert_of_their_tenant(store, queue, clock):
    """Others of the tenant's jobs and other tenants do not count; a redrive resolves it."""
    other = await Queue.open(store, tenant="other")
    for n, each in enumerate((queue, other)):
        for _ in range(4 - n):
            await each.end(await each.put(), "failed")
    await queue.end(await queue.put(), "cancelled")
    began = await look(store, clock)
    row = (await alerts.alerts(store, None, only_active=True))[0]
    await operate.redrive(store, queue.tenant_id, None, None, 1000)
    over = [await look(store, clock, stalled_s=0) for _ in range(4)]

    assert [("dead_letters", "", True)] == began
    assert ("default", 4, 3) == (row.tenant, row.value, row.threshold)
    assert [("dead_letters", "", False)] == [*chain(*over)]


async def test_a_queue_in_which_jobs_wait_and_nothing_starts_or_ends_is_stalled(store, queue, clock):
    """A paused one is not, nor one whose jobs end, nor one that has just begun to run a long job."""
    await queue.put()
    await queue.put()
    await store.fetch("update trunkline.ready set ord = ord - 400 * 1000000::bigint * 4096")
    await tally(queue, completed=1)
    ends = await look(store, clock)
    await clock.forward(400)
    await operate.pause_queue(store, queue.tenant_id, "work", True)
    paused = await look(store, clock)
    await operate.pause_queue(store, queue.tenant_id, "work", False)
    began = await look(store, clock)
    await queue.claim_one()
    over = [await look(store, clock) for _ in range(4)]

    assert [] == ends == paused
    assert [("stalled", "work", True)] == began
    assert [("stalled", "work", False)] == [*chain(*over)]


async def test_a_process_that_dies_is_an_alert_and_one_that_says_goodbye_is_not(store, queue, clock):
    """By host; over five minutes after the last one. Too few alive is one, too."""
    clean = await sessions.open_session(store, "web:1", 8)
    await sessions.close_session(store, clean)
    for name in ("web:2", "web:3"):
        await sessions.open_session(store, name, 8)
    await clock.forward(10)
    await store.fetch("select trunkline.bury_sessions()")
    began = await look(store, clock)
    row = (await alerts.alerts(store, None, only_active=True))[0]
    over = [await look(store, clock) for _ in range(20)]
    few = await look(store, clock, workers=2)

    assert [("worker_down", "web", True)] == began
    assert (None, 2) == (row.tenant, row.value)
    assert [("worker_down", "web", False)] == [*chain(*over)]
    assert [("worker_down", "too few processes", True)] == few


async def test_what_rescue_ends_is_tallied(store, queue, clock):
    """Nobody else could: the process is dead."""
    session_id = await sessions.open_session(store, "web:4", 8)
    await queue.put()
    await queue.claim_one(session_id=session_id)
    await clock.forward(10)
    await store.fetch("update trunkline.duty set next_run_at = '-infinity'")
    await queue.rescue()
    await clock.forward(10)
    await queue.rescue()

    assert [(0, 0, 1)] == [tuple(row) for row in await store.fetch("select completed, failed, retried from trunkline.tally")]


async def test_one_of_many_looks_and_the_others_are_told_nothing(store, queue, clock):
    """At once, from six processes."""
    await tally(queue, failed=30)
    await clock.forward(20)
    answers = await asyncio.gather(*(alerts.watch(store, n, 15, LIMITS) for n in range(6)))

    assert [0, 0, 0, 0, 0, 1] == sorted(map(len, answers))


async def news(store: Store) -> list[AlertRow]:
    return await alerts.news(store)


async def test_news_is_told_once_and_again_where_who_told_it_died(store, queue, clock):
    """Taken for a minute; whoever comes too late with his answer changes nothing."""
    await tally(queue, failed=30)
    await look(store, clock)
    (first,) = await news(store)
    meanwhile = await news(store)
    await clock.forward(61)
    (second,) = await news(store)

    assert [] == meanwhile
    assert [False, True] == [await alerts.told(store, first), await alerts.told(store, second)]
    assert [] == await news(store)


async def test_a_resolution_is_told_to_those_who_heard_the_raise(store, queue, clock):
    """Where nobody was there to hear it, neither is told; what comes back before the resolution was told goes on."""
    await tally(queue, failed=30)
    await look(store, clock)
    await clock.forward(400)
    await look(store, clock)
    unheard = await news(store)
    await tally(queue, failed=30)
    await look(store, clock)
    (raised,) = await news(store)
    await alerts.told(store, raised)
    await clock.forward(400)
    resolved = await look(store, clock)
    await tally(queue, failed=30)
    back = await look(store, clock)

    assert [] == unheard
    assert (1, [("failure_rate", "work", False)], [("failure_rate", "work", True)]) == (raised.news, resolved, back)
    assert [] == await news(store)


async def test_counts_of_two_processes_add_up_and_old_ones_go(store, queue, clock):
    """At the same moment, in whatever order of queues; a queue that is not there is left out."""
    other = await Queue.open(store, kind="other")
    rows = [Tally(queue.tenant_id, name, 1, 2, 3, 0.5) for name in ("work", "other", "gone")]
    await asyncio.gather(*(alerts.note(store, rows if n % 2 else rows[::-1]) for n in range(8)))
    found = await store.fetch("select queue_id, completed, failed, retried, busy_s from trunkline.tally order by 1")
    await clock.forward(8000)
    await look(store, clock)

    assert [(each.queue_id, 8, 16, 24, 4.0) for each in (queue, other)] == [tuple(row) for row in found]
    assert [] == await store.fetch("select from trunkline.tally")


async def test_states_are_counts_of_the_live_tables_and_of_the_last_minutes(store, queue, clock):
    """One row a queue."""
    await queue.put_plain(3)
    await queue.put(delay=100)
    retrying = await queue.claim_one()
    await queue.settle(retrying, "failed")
    await queue.claim_one()
    await tally(queue, completed=6, failed=1, busy_s=3)
    (row,) = await alerts.states(store)

    assert ("default", "work", 2, 1, 1, 6, 1, 0, 3.0) == row


async def test_a_tenant_sees_its_own_alerts_and_tallies_only(trunkline_url, store, queue, clock):
    """The second wall; those of the installation belong to nobody's tenant."""
    other = await Queue.open(store, tenant="other")
    for each in (queue, other):
        await tally(each, failed=30)
    await look(store, clock, workers=100)
    conn = await asyncpg.connect(trunkline_url)
    await conn.execute("set role trunkline_app")
    blind = await conn.fetch("select from trunkline.alert union all select from trunkline.tally")
    await conn.execute(f"set trunkline.tenant_id = '{other.tenant_id}'")
    seen = await conn.fetch("select tenant_id from trunkline.alert union select tenant_id from trunkline.tally")
    await conn.close()

    assert [] == blind
    assert [(other.tenant_id,)] == [tuple(row) for row in seen]


@pytest.fixture(scope="module")
def full_url(trunkline_server_url: str, trunkline_template: str) -> Iterator[str]:
    """A database with 20,000 jobs in line, 20,000 failed, 5,000 running, without statistics."""
    with filled(trunkline_server_url, trunkline_template, fill) as url:
        yield url


async def fill(url: str) -> None:
    conn = await asyncpg.connect(url, server_settings={"search_path": "trunkline, public"})
    await conn.execute("select enqueue('work'); select open_session('s', 1e6); delete from ready; delete from job")
    await conn.execute("""
        create temp table made as select n, new_id() as id, tenant_id, queue_id from generate_series(1, 20000) as n, queue where name = 'work';
        insert into ready select tenant_id, n, id, queue_id, 0, 0, 0, 0 from made;
        insert into outcome (tenant_id, job_id, finished_at, attempt, state) select tenant_id, id, clock_timestamp(), 1, 2 + n % 2 from made;
        insert into lease select tenant_id, id, n, clock_timestamp() - interval '1 hour', clock_timestamp() + interval '1 hour', 1, 1, queue_id, 0, 0, 0
          from made where n <= 5000""")
    await conn.close()


@pytest.mark.parametrize(
    ("call", "most"),
    [("rate_alarms(20, 0.1, 0.3, 3)", 200), ("dead_letter_alarms(100)", 600), ("stalled_alarms(300)", 400), ("worker_alarms(1)", 50)],
)
async def test_a_look_touches_few_blocks_whatever_is_queued_and_kept(full_url, call, most):
    """20,000 rows are 200 blocks or more of each table; the leases are read, and they are bounded by what workers hold."""
    conn = await asyncpg.connect(full_url, server_settings={"search_path": "trunkline, public"})
    found = await conn.fetchval(f"explain (analyze, buffers, timing off, format json) select * from {call}")
    found = await conn.fetchval(f"explain (analyze, buffers, timing off, format json) select * from {call}")
    await conn.close()
    plan = json.loads(found)[0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < most
