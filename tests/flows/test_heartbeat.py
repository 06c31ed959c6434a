"""A process that cannot say that it lives, or only with difficulty."""

from __future__ import annotations

from tests.support.until import until
from trunkline.engine.heart import TTL_S

RENEWED_SINCE = f"""select exists (select from trunkline.session where dead_at is null and expires_at > clock_timestamp()
   and started_at < clock_timestamp() - interval '{1.2 * TTL_S} seconds')"""
OVER = "select bool_and(expires_at < clock_timestamp()) from trunkline.session where session_id = $1"


async def test_a_worker_that_cannot_renew_its_session_starts_nothing(sender, worker_through_proxy, proxy, journal, verdict):
    """By its own clock, before anybody may take its leases; and it goes on when it can."""
    worker = await worker_through_proxy.start_worker(concurrency=20)
    await sender.send_each("noop", 50)
    await journal.wait_for("acked", 50)
    held = [proxy.hold(sql="trunkline.tick(", when="before"), proxy.hold(sql="trunkline.renew(", when="before")]
    await until(lambda: not worker._heart.trusted, "the heart is not trusted")
    await sender.send_each("noop", 50)
    await until(lambda: sender.app.store.fetchval(OVER, worker._heart.session_id), "the session is over")
    before = len(journal.of("started"))
    for rule in held:
        rule.release()
    final = await verdict()

    assert 50 == before
    assert 100 == final.count("completed")


async def test_a_tick_that_is_never_answered_costs_neither_the_session_nor_the_work(
    sender, worker_through_proxy, proxy, journal, gate, verdict
):
    """The heartbeat goes another way: on a connection of its own."""
    worker = await worker_through_proxy.start_worker(concurrency=20)
    held = await sender.send_each("gated", 5, {"gate": str(gate)}, retry_limit=0)
    await journal.wait_for("started", 5)
    rule = proxy.hold(sql="trunkline.tick(", when="before")
    await until(lambda: sender.app.store.fetchval(RENEWED_SINCE), "the session lives longer than without renewals")
    trusted = worker._heart.trusted
    await sender.send_each("noop", 100)
    await journal.wait_for("acked", 100)
    gate.touch()
    await journal.wait_for("acked", 105)
    rule.release()
    final = await verdict()

    assert trusted
    assert {1} == {final.jobs[job_id].attempt for job_id in held}
    assert 105 == final.count("completed")


async def test_a_handler_that_stops_the_loop_for_longer_than_the_session_costs_attempts_and_nothing_else(
    sender, children, journal, trunkline_url, verdict
):
    """A blocking call in an `async def`: the process neither renews nor reports, others take over, and it finds back."""
    blocker = await children.worker(trunkline_url, concurrency=5).is_up()
    blocking = await sender.send("blocking", {"seconds": TTL_S + 3}, timeout=60)
    await journal.wait_for("started", who=blocker.name)
    await children.worker(trunkline_url, concurrency=5).is_up()
    await sender.send_each("noop", 50)
    await journal.wait_for("started", who=blocker.name, attempt=1, job=blocking)
    final = await verdict(within_s=60)

    assert 51 == final.count("completed")
    assert 2 >= final.jobs[blocking].attempt
