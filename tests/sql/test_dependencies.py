"""Jobs that wait for others: held, released once, ended with their parents; and who waits for whom when parents end together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from tests.sql.test_locks import ACK, SETTLE, hold, send
from tests.support.queue import Queue
from trunkline.errors import InvalidInput, NotFound
from trunkline.model import Policy, new_job
from trunkline.model.job import new_id
from trunkline.store import work

WAITING = (["deferred"], "waiting")


async def standing(queue, job_id):
    """(tables that hold it, state)."""
    return await queue.homes(job_id), await queue.state(job_id)


async def edges(queue) -> int:
    """Open edges."""
    return await queue.count("dependency")


async def test_a_job_waits_until_all_its_parents_have_completed(queue):
    """Then it is in line, with the priority it was given."""
    first, second = await queue.put_plain(2)
    child = await queue.put(depends_on=[first, second], priority=7)
    one, two = await queue.claim(2)
    seen = [await standing(queue, child)]
    await queue.complete(one)
    seen.append(await standing(queue, child))
    await queue.complete(two)
    claimed = await queue.claim_one()

    assert [WAITING] * 2 == seen
    assert (child, 7) == (claimed.job_id, claimed.priority)
    assert 0 == await edges(queue)


@pytest.mark.parametrize(
    ("policy", "ending", "state"),
    [
        (None, "completed", "queued"),
        (None, "failed", "cancelled"),
        (None, "cancelled", "cancelled"),
        ("fail", "failed", "failed"),
        ("run", "failed", "queued"),
        ("run", "cancelled", "queued"),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_what_the_end_of_a_parent_means(queue, policy, ending, state, when):
    """Whether the parent ends after the child came or had ended before; the child is told which parent it was."""
    parent = await queue.put()
    child = new_job("work", depends_on=[parent], on_parent_failure=policy)
    if when == "before":
        await queue.put_jobs([child])
    await queue.end(parent, ending)
    if when == "after":
        await queue.put_jobs([child])
    view = await queue.view(child.id)

    assert (state, 0) == (view.state, await edges(queue))
    assert view.error is None or ("parent_failed", str(parent)) == (view.error["type"], view.error["parent"])


async def test_a_failure_goes_down_the_line_and_stops_where_a_job_runs_anyway(queue):
    """Children of children end together; `run` counts the failure as an end like any other."""
    parent = await queue.put()
    a = await queue.put(depends_on=parent)
    b = await queue.put(depends_on=a, on_parent_failure="fail", unique_key="b")
    cleanup = await queue.put(depends_on=b, on_parent_failure="run")
    last = await queue.put(depends_on=cleanup)
    await queue.end(parent, "failed")

    assert ["cancelled", "failed", "queued", "waiting"] == [await queue.state(job_id) for job_id in (a, b, cleanup, last)]
    assert ([], 1) == (await queue.keys(), await edges(queue))


async def test_a_child_that_fails_with_its_parent_leaves_a_dead_letter(queue):
    """The rules of failing are the same for one that never started."""
    parent = await queue.put()
    await queue.put({"n": 1}, depends_on=parent, on_parent_failure="fail", dead_letter="morgue")
    await queue.end(parent, "failed")

    assert 1 == await queue.store.fetchval("select ready from trunkline.queues where name = 'morgue'")


async def test_parents_and_children_may_come_in_one_flush_in_any_order(queue):
    """Whoever stands first."""
    a = new_job("work")
    b = new_job("work", depends_on=[a.id])
    c = new_job("work", depends_on=[a.id, b.id])
    await queue.put_jobs([c, b, a])
    order = []
    for _ in range(3):
        (claimed,) = await queue.claim(9)
        order.append(claimed.job_id)
        await queue.complete(claimed)

    assert [a.id, b.id, c.id] == order


async def test_circles_are_refused_with_the_ids(queue):
    """Of one job, of two, and of some behind a job that is none of them; nothing is written."""
    a, b, c = new_id(), new_id(), new_id()
    alone = [new_job("work", id=a, depends_on=[a])]
    two = [new_job("work", id=a, depends_on=[b]), new_job("work", id=b, depends_on=[a])]
    behind = [new_job("work", id=c), new_job("work", id=b, depends_on=[a, c]), new_job("work", id=a, depends_on=[b])]
    for jobs in (alone, two, behind):
        with pytest.raises(InvalidInput, match=f"circle: .*{a}"):
            await queue.put_jobs(jobs)

    assert 0 == await queue.count("job")


async def test_an_unknown_parent_is_refused(queue):
    """As is another tenant's job; "not yours" reads the same."""
    other = await type(queue).open(queue.store, tenant="other")
    theirs = await other.put()
    for parent in (uuid4(), theirs):
        with pytest.raises(NotFound, match=str(parent)):
            await queue.put(depends_on=[parent])

    assert 1 == await queue.count("job")


async def test_where_a_parent_is_a_duplicate_the_job_that_stands_for_it_is_meant(queue):
    """A chain may be sent twice."""
    (holder,) = await queue.put_plain(1)
    first = await queue.put(idempotency_key="once")
    again = new_job("work", idempotency_key="once")
    child = new_job("work", depends_on=[again.id])
    await queue.put_jobs([again, child])
    claimed = {c.job_id: c for c in await queue.claim(9)}
    before = await queue.state(child.id)
    await queue.complete(claimed[first])

    assert ({holder, first}, "waiting", "queued") == (set(claimed), before, await queue.state(child.id))


async def test_saying_it_again_changes_nothing(queue):
    """An answer was lost: neither a child that waits nor one that was released is touched."""
    parent = new_job("work")
    child = new_job("work", depends_on=[parent.id])
    answers = [await queue.put_jobs([parent, child])]
    answers.append(await queue.put_jobs([parent, child]))
    waits = await standing(queue, child.id)
    await queue.complete(await queue.claim_one())
    answers.append(await queue.put_jobs([parent, child]))

    assert WAITING == waits
    assert [[(parent.id, True), (child.id, True)]] * 3 == answers
    assert (["ready"], "queued") == await standing(queue, child.id)


@pytest.mark.parametrize("how", ["delay", "run_at"])
async def test_a_childs_own_time_is_kept_for_its_release(queue, clock, how):
    """A delay counts from there; a moment stays what it is."""
    (parent,) = await queue.put_plain(1)
    at = {"delay": 100} if how == "delay" else {"run_at": datetime.now(UTC) + timedelta(seconds=1100)}
    child = await queue.put(depends_on=[parent], **at)
    await clock.forward(1000)
    await queue.tick()
    before = await queue.state(child)
    await queue.complete(await queue.claim_one())
    after, due_in_s = await queue.state(child), await queue.due_in_s(child)

    assert ("waiting", "scheduled") == (before, after)
    assert 90 < due_in_s < 101


async def test_what_people_do_to_a_job_that_waits(queue, clock):
    """It is cancelled and reprioritised like any; rescheduled, it still waits; its parent's end then means nothing to what was cancelled."""
    (parent,) = await queue.put_plain(1)
    cancelled, moved, urgent = [await queue.put(depends_on=[parent]) for _ in range(3)]
    answer = await queue.cancel(cancelled)
    was_moved = await queue.store.fetchval(
        "select trunkline.reschedule($1, $2, trunkline.now() + interval '500 seconds')", queue.tenant_id, moved
    )
    now = await queue.store.fetchval("select trunkline.reschedule($1, $2, trunkline.now() - interval '1 second')", queue.tenant_id, urgent)
    count = await queue.store.fetchval("select trunkline.reprioritize($1, $2, 9::smallint)", queue.tenant_id, [urgent])
    seen = [await standing(queue, job_id) for job_id in (moved, urgent)]
    await queue.complete(await queue.claim_one())
    await queue.retry(cancelled)

    assert ("cancelled", True, True, 1) == (answer, was_moved, now, count)
    assert [WAITING] * 2 == seen
    assert ["scheduled", "queued", "queued"] == [await queue.state(job_id) for job_id in (moved, urgent, cancelled)]


async def test_a_job_put_back_by_hand_waits_for_nobody_any_more(queue):
    """And the end of the parent it once had neither ends it nor what waits for it."""
    (parent,) = await queue.put_plain(1)
    child = await queue.put(depends_on=[parent])
    grandchild = await queue.put(depends_on=[child], on_parent_failure="run")
    await queue.cancel(child)
    await queue.retry(child)
    late = await queue.put(depends_on=[child])
    claimed = {c.job_id: c for c in await queue.claim(9)}
    await queue.settle(claimed[parent], "fatal")

    assert {parent, child, grandchild} == set(claimed)
    assert ("active", "waiting") == (await queue.state(child), await queue.state(late))


async def test_a_parent_keeps_its_children_through_retries_and_rescue(queue, clock):
    """What others wait for is carried from place to place."""
    (parent,) = await queue.put_plain(1)
    child = await queue.put(depends_on=[parent])
    await queue.settle(await queue.claim_one(session_id=await queue.session(ttl_s=5)), "failed")
    await clock.forward(10)
    await queue.tick()
    await queue.claim_one(session_id=await queue.session(ttl_s=5))
    await clock.forward(10)
    await queue.rescue()
    await queue.complete(await queue.claim_one())

    assert "queued" == await queue.state(child)


@pytest.mark.parametrize("place", ["ready", "scheduled", "active"])
async def test_a_parent_is_found_wherever_it_stands(queue, clock, place):
    """In line, deferred, or running."""
    parent = await queue.put(delay=5 if place == "scheduled" else None)
    claimed = await queue.claim(1) if place == "active" else []
    child = await queue.put(depends_on=[parent])
    await clock.forward(10)
    await queue.tick()
    for c in claimed or await queue.claim(1):
        await queue.complete(c)

    assert "queued" == await queue.state(child)


async def test_a_parent_with_very_many_children_lets_them_go_in_parts(queue):
    """One report deals with a bounded number; the duty goes on."""
    (parent,) = await queue.put_plain(1)
    children = [new_job("work", depends_on=[parent]) for _ in range(1000)]
    await queue.put_jobs(children)
    await queue.store.fetch(
        """insert into trunkline.dependency (tenant_id, parent_id, child_id, on_failure)
           select $1, $2, gen_random_uuid(), 3 from generate_series(1, 10500)""", queue.tenant_id, parent
    )  # fmt: skip
    await queue.complete(await queue.claim_one())
    left = await edges(queue), await queue.count("ended_parent")
    await queue.tick()

    assert (1500, 1) == left
    assert (0, 0, 1000) == (await edges(queue), await queue.count("ended_parent"), await queue.count("ready"))


async def test_a_long_line_of_failures_ends_in_one_report(queue):
    """A thousand jobs, each waiting for the one before."""
    jobs = [new_job("work")]
    for _ in range(999):
        jobs.append(new_job("work", depends_on=[jobs[-1].id]))
    await queue.put_jobs(jobs)
    await queue.settle(await queue.claim_one(), "fatal")

    assert {2: 1, 3: 999} == {
        row[0]: row[1] for row in await queue.store.fetch("select state, count(*) from trunkline.outcome group by state")
    }


@pytest.mark.parametrize("ways", [("ack", "ack"), ("ack", "settle"), ("settle", "settle")])
async def test_two_parents_that_end_at_the_same_moment_release_their_child_once(queue, sessions, ways):
    """The second waits for the child's row and sees then that the first has let go."""
    parents = await queue.put_plain(2)
    child = await queue.put(depends_on=parents, on_parent_failure="run")
    await queue.claim(2)
    one, other = await sessions.connect(), await sessions.connect()

    def report(way, parent):
        return (ACK, queue.tenant_id, [parent], [1], [None]) if way == "ack" else (
            SETTLE, queue.tenant_id, [parent], [1], ["fatal"], [None], [None])  # fmt: skip

    first = await hold(one, *report(ways[0], parents[0]))
    second = sessions.start(other.fetch(*report(ways[1], parents[1])))
    await sessions.blocked(other)
    await first.commit()
    await second

    assert (["ready"], 0) == (await queue.homes(child), await edges(queue))


async def test_a_child_stays_when_the_end_of_its_first_parent_is_rolled_back(queue, sessions):
    """Nothing of a transaction that failed was seen."""
    parents = await queue.put_plain(2)
    child = await queue.put(depends_on=parents)
    await queue.claim(2)
    one, other = await sessions.connect(), await sessions.connect()
    first = await hold(one, ACK, queue.tenant_id, parents[:1], [1], [None])
    second = sessions.start(other.fetch(ACK, queue.tenant_id, parents[1:], [1], [None]))
    await sessions.blocked(other)
    await first.rollback()
    await second
    between = await standing(queue, child)
    await work.ack_completed(queue.store, queue.tenant_id, parents[:1], [1], [None])

    assert WAITING == between
    assert ["ready"] == await queue.homes(child)


async def test_a_parent_that_ends_while_its_child_is_put_in_is_seen(queue, sessions):
    """Either the report waits for the enqueue, or the enqueue for the report."""
    (parent,) = await queue.put_plain(1)
    await queue.claim(1)
    putting, acking = await sessions.connect(), await sessions.connect()
    put = putting.transaction()
    await put.start()
    ((child, _),) = await send(putting, queue, {"depends_on": [parent]})
    ack = sessions.start(acking.fetch(ACK, queue.tenant_id, [parent], [1], [None]))
    await sessions.blocked(acking)
    await put.commit()
    await ack

    assert ["ready"] == await queue.homes(child)


async def test_a_child_that_comes_while_its_parent_is_ending_waits_for_the_end(queue, sessions):
    """And follows what it finds then."""
    (parent,) = await queue.put_plain(1)
    await queue.claim(1)
    putting, ending = await sessions.connect(), await sessions.connect()
    end = await hold(ending, SETTLE, queue.tenant_id, [parent], [1], ["fatal"], [None], [None])
    put = sessions.start(send(putting, queue, {"depends_on": [parent]}))
    await sessions.blocked(putting)
    await end.commit()
    ((child, created),) = await put

    assert (True, "cancelled") == (created, await queue.state(child))


async def test_a_child_that_comes_while_its_waiting_parent_falls_falls_too(queue, sessions):
    """The report has looked for the fallen already and waits for the parent's row when the child's enqueue commits."""
    (root,) = await queue.put_plain(1)
    parent = await queue.put(depends_on=[root], unique_key="u")
    await queue.claim(1)
    gate, putting, ending = [await sessions.connect() for _ in range(3)]
    holding = await hold(gate, "select from trunkline.unique_key for update")  # stops the report between its two looks
    end = sessions.start(ending.fetch(SETTLE, queue.tenant_id, [root], [1], ["fatal"], [None], [None]))
    await sessions.blocked(ending)
    ((child, _),) = await send(putting, queue, {"depends_on": [parent]})
    await holding.rollback()
    await end
    between = await standing(queue, child)
    await queue.tick()

    assert WAITING == between
    assert ("cancelled", "cancelled") == (await queue.state(parent), await queue.state(child))
    assert (0, 0) == (await edges(queue), await queue.count("ended_parent"))


async def test_two_flushes_that_end_shared_families_do_not_deadlock(queue, sessions):
    """Whatever ends with them is locked together, in the order of ids, not level by level."""
    p1, p2 = await queue.put_plain(2)
    a, b, c = new_id(), new_id(), new_id()
    await queue.put_jobs([
        new_job("work", id=a, depends_on=[b, p2]), new_job("work", id=b, depends_on=[p1, c]), new_job("work", id=c, depends_on=[p2])
    ])  # fmt: skip
    await queue.claim(2)
    gate, one, other = [await sessions.connect() for _ in range(3)]
    holding = await hold(gate, "select 1 from trunkline.deferred where job_id = $1 for update", min(a, b, c))
    first = sessions.start(one.fetch(SETTLE, queue.tenant_id, [p1], [1], ["fatal"], [None], [None]))
    await sessions.blocked(one)
    second = sessions.start(other.fetch(SETTLE, queue.tenant_id, [p2], [1], ["fatal"], [None], [None]))
    await sessions.blocked(other)
    await holding.rollback()
    await first
    await second

    assert ["cancelled"] * 3 == [await queue.state(job_id) for job_id in (a, b, c)]


async def test_a_claimer_looks_again_where_a_parent_was_held(queue, sessions):
    """While an enqueue holds its parent's place in line, a scan passes over it; the signal brings the mark back."""
    (parent,) = await queue.put_plain(1)
    putting, listening = await sessions.connect(), await sessions.connect()
    heard: list[str] = []
    await listening.add_listener("trunkline:signals", lambda *said: heard.append(said[3]))
    put = putting.transaction()
    await put.start()
    await send(putting, queue, {"depends_on": [parent]})
    passed_over = await queue.claim(1)
    await put.commit()
    await listening.fetch("select 1")
    ord_ = await queue.store.fetchval("select ord from trunkline.ready where job_id = $1", parent)

    assert [] == passed_over
    assert f"rewind {queue.queue_id} {ord_}" in heard


async def test_jobs_without_parents_are_not_looked_at(queue):
    """A policy of their kind or a key makes no edge and no trait."""
    await queue.put(unique_key="u", on_parent_failure="run")

    assert (0, 1) == (await edges(queue), await queue.store.fetchval("select traits from trunkline.ready"))


async def test_the_kinds_dead_letter_policy_counts(store):
    """As for a job that failed by itself."""
    queue = await Queue.open(store, policy=Policy(dead_letter="morgue"))
    parent = await queue.put(dead_letter="other")
    await queue.put(depends_on=parent, on_parent_failure="fail")
    await queue.end(parent, "failed")

    assert 1 == await store.fetchval("select ready from trunkline.queues where name = 'morgue'")
