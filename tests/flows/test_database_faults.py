"""A database that goes away, refuses, is slow or is cut off, under load: everything waits, comes back by itself and loses nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from tests.flows.conftest import statements
from tests.support.handlers import declare, noting_acks
from tests.support.sender import Sender
from tests.support.until import until
from trunkline import Trunkline, new_job
from trunkline.engine.heart import TTL_S
from trunkline.settings import Settings

pytestmark = pytest.mark.private_server
ALL_OVER = "select bool_and(expires_at < clock_timestamp()) from trunkline.session where dead_at is null"
LIVING = "select count(*) from trunkline.session where dead_at is null and expires_at > clock_timestamp()"
LONG_PAST_A_DEADLINE = "select min(deadline) < clock_timestamp() - interval '9 seconds' from trunkline.lease"
RENEWED_SINCE = f"""select exists (select from trunkline.session where dead_at is null and expires_at > clock_timestamp()
   and started_at < clock_timestamp() - interval '{1.2 * TTL_S} seconds')"""


@pytest.fixture
async def load(server, journal):
    """A sender on the private server; `load(count)` sends in the background until told to stop, and what it began is finished."""
    async with Trunkline(settings=Settings.load({}, database_url=server.url)) as app:
        sender = Sender(app, journal)
        await sender.send("noop")
        yield sender


async def send_while(sender: Sender, going: asyncio.Event, kind: str = "noop") -> int:
    """Send one after another, singly and in bulk, until `going` is cleared; how many."""
    count = 0
    while going.is_set():
        await sender.send(kind)
        await sender.send_many([new_job(kind) for _ in range(20)])
        count += 21
    return count


def faulty(table: str, state: str, what: str, *, times: int) -> list[str]:
    """Statements that make every third of the next statements on one table fail with `state`, `times` times in all."""
    return [
        f"create sequence public.fault_{table}",
        f"""create function public.fault_{table}() returns trigger language plpgsql as $$
            begin
              if nextval('public.fault_{table}') % 3 = 0 and currval('public.fault_{table}') <= {3 * times} then
                raise exception using errcode = '{state}', message = '{what}, on purpose';
              end if;
              return null;
            end $$""",
        f"""create trigger fault before insert or update or delete on trunkline.{table}
            for each statement execute function public.fault_{table}()""",
    ]


def passed(seconds: float) -> Callable[[], bool]:
    """Whether so much time has passed since now: for faults that are themselves a length of time."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


async def answer(url: str, question: str) -> Any:
    """One value."""
    conn = await asyncpg.connect(url)
    try:
        return await conn.fetchval(question)
    finally:
        await conn.close()


async def test_a_crash_of_postgresql_under_load_loses_and_fails_nothing(load, server, children, journal, gate, server_verdict):
    """Producers, workers and waiters reconnect by themselves; jobs that run through the crash are acked by the same attempt."""
    worker = await children.worker(server.url, concurrency=20).is_up()
    through_crash = await load.send_each("gated", 8, {"gate": str(gate), "progress": True}, retry_limit=0)
    watched = [asyncio.create_task(load.see(job_id)) for job_id in through_crash]
    await journal.wait_for("started", 9, who=worker.name)
    going = asyncio.Event()
    going.set()
    sending = [asyncio.create_task(send_while(load, going)) for _ in range(4)]
    await journal.wait_for("acked", 300)
    await server.crash()
    gate.touch()
    await until(lambda: set(through_crash) <= {fact.job for fact in journal.of("done")}, "the handlers have ended without a database")
    await server.start()
    seen = len(journal.of("acked"))
    await journal.wait_for("acked", seen + 300)
    going.clear()
    sent = sum(await asyncio.gather(*sending))
    states = await asyncio.gather(*watched)
    final = await server_verdict()

    assert ["completed"] * 8 == states
    assert {1} == {final.jobs[job_id].attempt for job_id in through_crash}
    assert sent + 9 == final.count("completed")


async def test_a_crash_that_outlasts_every_session_gives_them_their_time_back(load, server, children, journal, gate, server_verdict):
    """Nobody could renew while the server was away, so nobody is dead: two workers, and neither buries the other."""
    for _ in range(2):
        await children.worker(server.url, concurrency=6).is_up()
    held = await load.send_each("gated", 10, {"gate": str(gate)}, retry_limit=0)
    await journal.wait_for("started", 11)
    await server.crash()
    await until(passed(TTL_S + 1), "the time of every session is over")
    await server.start()
    await load.send("noop")
    await journal.wait_for("acked", 2)
    gate.touch()
    final = await server_verdict()

    assert {1} == {final.jobs[job_id].attempt for job_id in held}
    assert 12 == final.count("completed")


async def test_workers_cut_off_together_for_longer_than_their_sessions_are_not_taken_for_dead(
    load, server, children, journal, gate, through, server_verdict
):
    """A failover or a broken network looks like this: the server ran on, and nobody could reach it."""
    proxy = through(server.url)
    for _ in range(2):
        await children.worker(proxy.url, concurrency=6).is_up()
    held = await load.send_each("gated", 10, {"gate": str(gate)}, retry_limit=0)
    await journal.wait_for("started", 11)
    proxy.refuse()
    proxy.cut_all()
    await until(lambda: answer(server.url, ALL_OVER), "both sessions are over")
    proxy.refuse(False)
    await load.send("noop")
    await journal.wait_for("acked", 2)
    gate.touch()
    final = await server_verdict()

    assert {1} == {final.jobs[job_id].attempt for job_id in held}
    assert 12 == final.count("completed")


async def test_all_backends_terminated_under_load_loses_and_fails_nothing(load, server, children, journal, server_verdict):
    """pg_terminate_backend on every connection, several times."""
    await children.worker(server.url, concurrency=20, retry_limit=0).is_up()
    going = asyncio.Event()
    going.set()
    sending = [asyncio.create_task(send_while(load, going)) for _ in range(4)]
    for _ in range(3):
        seen = len(journal.of("acked"))
        await journal.wait_for("acked", seen + 150)
        await statements(
            server.embedded.url,
            "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()",
        )
    going.clear()
    sent = sum(await asyncio.gather(*sending))
    final = await server_verdict()

    assert sent + 1 == final.count("completed")


async def test_a_read_only_database_is_waited_for(load, server, children, journal, gate, server_verdict):
    """Nothing can be claimed, acked, renewed or sent; when it can again, everything is."""
    for _ in range(2):
        await children.worker(server.url, concurrency=6).is_up()
    held = await load.send_each("gated", 10, {"gate": str(gate)}, retry_limit=0)
    await journal.wait_for("started", 11)
    await statements(server.embedded.url, "alter system set default_transaction_read_only = on", "select pg_reload_conf()")
    try:
        gate.touch()
        await journal.wait_for("done", 11)
        sending = asyncio.create_task(load.send_each("noop", 50))
        await until(passed(TTL_S + 1), "the time of every session is over")
    finally:
        await statements(
            server.embedded.url,
            "set default_transaction_read_only = off",
            "alter system reset default_transaction_read_only",
            "select pg_reload_conf()",
        )
    await sending
    final = await server_verdict()

    assert {1} == {final.jobs[job_id].attempt for job_id in held}
    assert 61 == final.count("completed")


@pytest.mark.parametrize(
    ("table", "state", "what"),
    [
        ("job", "53100", "disk full"),
        ("outcome", "53100", "disk full"),
        ("lease", "40P01", "deadlock detected"),
        ("attempt", "57014", "statement timeout"),
        ("session", "40001", "could not serialize"),
    ],
)
async def test_statements_that_fail_now_and_then_are_repeated(load, server, children, server_verdict, table, state, what):
    """Every third write to one table is refused for a while with an error that may pass by itself."""
    await children.worker(server.url, concurrency=20).is_up()
    await statements(server.url, *faulty(table, state, what, times=8))
    await load.send_each("noop", 100, at_once=20)
    await load.send_many([new_job("noop") for _ in range(250)])
    await load.send_each("flaky", 30, {"fails": 1})
    final = await server_verdict()

    assert 381 == final.count("completed")


async def test_a_worker_survives_errors_that_nobody_expected(load, server, children, journal, server_verdict):
    """An internal error in each of its statements, once or twice: it logs them and goes on."""
    await children.worker(server.url, concurrency=20).is_up()
    for table in ("lease", "outcome", "session", "deferred"):
        await statements(server.url, *faulty(table, "XX000", "internal error", times=2))
    await load.send_each("flaky", 30, {"fails": 1}, at_once=20)
    await load.send_each("noop", 100, at_once=20)
    final = await server_verdict()

    assert 131 == final.count("completed")


async def test_an_open_transaction_on_a_lease_past_its_deadline_stops_nobodys_heart(load, server, children, journal, gate, server_verdict):
    """A handler reports in its own transaction and leaves it open: rescue must step around that lease."""
    for _ in range(2):
        await children.worker(server.url, concurrency=5, timeout=1, retry_limit=0).is_up()
    stuck = await load.send("gated", {"gate": str(gate)}, timeout=2)
    held = await load.send_each("gated", 6, {"gate": str(gate)}, timeout=120)
    await journal.wait_for("started", 8)
    conn = await asyncpg.connect(server.url)
    try:
        async with conn.transaction():
            await conn.execute("select from trunkline.lease where job_id = $1 for update", stuck)
            await until(lambda: answer(server.url, LONG_PAST_A_DEADLINE), "a lease is long past its deadline", within_s=60)
            living = await answer(server.url, LIVING)
    finally:
        await conn.close()
    gate.touch()
    final = await server_verdict()

    assert 2 == living
    assert "failed" == final.jobs[stuck].state
    assert {1} == {final.jobs[job_id].attempt for job_id in held}


async def test_a_frozen_network_is_left_for_new_connections(load, server, children, journal, gate, through, server_verdict):
    """Connections that say nothing and do not close, as after a firewall lost its table: the old ones are given up in time."""
    proxy = through(server.url)
    worker = await children.worker(proxy.url, concurrency=6, command_timeout=5).is_up()
    held = await load.send_each("gated", 5, {"gate": str(gate)}, retry_limit=0)
    await journal.wait_for("started", 6)
    proxy.freeze_present()
    await load.send_each("noop", 20)
    gate.touch()
    final = await server_verdict()

    assert {1} == {final.jobs[job_id].attempt for job_id in held}
    assert {worker.name} == {fact.who for fact in journal.of("started")}
    assert 26 == final.count("completed")


async def test_a_process_whose_statements_all_wait_still_renews_its_session(load, server, journal, gate, server_verdict):
    """Twelve enqueues wait for a key that an open transaction holds, and the pool has ten connections: the heart needs none of them."""
    with noting_acks(journal):
        async with Trunkline(settings=Settings.load({}, database_url=server.url)) as app:
            declare(app, journal)
            await app.start_worker()
            busy = Sender(app, journal)
            held = await busy.send("gated", {"gate": str(gate)}, retry_limit=0)
            await journal.wait_for("started", 2)
            conn = await asyncpg.connect(server.url)
            transaction = conn.transaction()
            await transaction.start()
            await load.app.enqueue("noop", {}, idempotency_key="k", connection=conn)
            asked = [new_job("noop", idempotency_key="k") for _ in range(12)]
            for job in asked:
                journal.note("sent", job.id)
            waiting = [asyncio.create_task(app.enqueue_many([job])) for job in asked]
            await until(lambda: answer(server.url, RENEWED_SINCE), "a session lives longer than it would without its heart")
            await transaction.rollback()
            await conn.close()
            for answers in await asyncio.gather(*waiting):
                journal.note("accepted", answers[0].id, created=answers[0].created)
            gate.touch()
            final = await server_verdict()

    assert 1 == final.jobs[held].attempt
    assert 3 == final.count("completed")
