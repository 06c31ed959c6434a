"""Putting jobs in: names, ids, order, time, and the two ways in that must leave the same rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from trunkline.errors import BadId, InvalidInput
from trunkline.model import new_job
from trunkline.store import copy, enqueue, sessions, work


def uuid7_at(moment: datetime) -> UUID:
    """A UUIDv7 whose time is `moment`."""
    return UUID(int=int(moment.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62 | uuid4().int & (1 << 60) - 1)


@pytest.mark.parametrize("way", [enqueue.plain, enqueue.jobs, copy.copy], ids=["plain", "jobs", "copy"])
async def test_an_id_that_no_partition_could_hold_is_refused(queue, way):
    """A caller's id is a UUIDv7 within 24 hours of the database clock, whichever way it comes in."""
    day = timedelta(hours=25)
    for id_ in (uuid4(), uuid7_at(datetime.now(UTC) - day), uuid7_at(datetime.now(UTC) + day), UUID(int=0), UUID(int=2**128 - 1)):
        with pytest.raises(BadId):
            await way(queue.store, queue.tenant_id, [*(new_job("work") for _ in range(3)), new_job("work")._replace(id=id_)])

    assert 0 == await queue.count("job")


@pytest.mark.parametrize("way", [enqueue.plain, enqueue.jobs, copy.copy], ids=["plain", "jobs", "copy"])
async def test_an_id_of_another_version_is_refused_also_between_good_ones(queue, way):
    """Its time is right, so the least and the greatest id say nothing of it."""
    jobs = [new_job("work") for _ in range(3)]
    jobs[1] = jobs[1]._replace(id=UUID(int=jobs[1].id.int & ~(15 << 76) | 4 << 76))

    with pytest.raises(BadId, match=str(jobs[1].id)):
        await way(queue.store, queue.tenant_id, jobs)
    assert 0 == await queue.count("job")


@pytest.mark.parametrize("hours", [-23, 23])
async def test_an_id_within_a_day_of_the_database_clock_is_accepted(queue, hours):
    """A client whose clock is off by less than a day can still work."""
    id_ = uuid7_at(datetime.now(UTC) + timedelta(hours=hours))

    assert id_ == await queue.put(id=id_)
    assert id_ == (await queue.claim_one()).job_id


@pytest.mark.parametrize("name", ["a/b", "a\nb", "a\tb", "", "x" * 201, "a\x00b", "a\x7fb"])
def test_bad_queue_and_kind_names_are_refused_before_anything_is_written(name):
    """A name is a segment of a path and a word on a screen."""
    with pytest.raises(InvalidInput):
        new_job("work", queue=name)
    with pytest.raises(InvalidInput):
        new_job(name)


async def test_sql_refuses_the_same_names(queue):
    """The rule stands in SQL too, for producers that speak it."""
    for name in ("a/b", "a\nb", "", "x" * 201):
        with pytest.raises(InvalidInput, match="name"):
            await enqueue.jobs(queue.store, queue.tenant_id, [new_job("work")._replace(queue=name)])
        with pytest.raises(InvalidInput, match="name"):
            await enqueue.plain(queue.store, queue.tenant_id, [new_job("work")._replace(kind=name)])


async def test_bad_tenant_names_are_refused(queue):
    """A tenant's name appears in paths, headers and metrics."""
    for name in ("", "-a", ".a", "a b", "a/b", "ä", "x" * 64, "a\n"):
        with pytest.raises(InvalidInput, match="tenant name"):
            await sessions.tenant_id(queue.store, name)


async def test_names_that_look_strange_but_are_words_are_accepted(queue):
    """Only "/" and control characters are refused."""
    name = 'Grüße \'n "quotes" 🐘 %s $1 \\'
    job_id = await queue.put(queue=name)

    assert name == (await queue.view(job_id)).queue


async def test_underscore_and_hyphen_are_one_kind(queue):
    """`ai_generation` is `ai-generation`, and so is its queue."""
    first = (await queue.put_jobs([new_job("ai_generation")]))[0][0]
    second = await queue.store.fetchval("select trunkline.enqueue('ai_generation')")
    views = [await queue.view(job_id) for job_id in (first, second)]

    assert [("ai-generation", "ai-generation")] * 2 == [(view.kind, view.queue) for view in views]


async def test_a_job_for_later_waits_until_it_is_due(queue, clock):
    """By the database's clock, not the client's."""
    job_id = await queue.put(delay=100)
    state, due_in_s = await queue.state(job_id), await queue.due_in_s(job_id)
    await clock.forward(99)
    await queue.tick()
    early = await queue.claim(1)
    await clock.forward(2)
    await queue.tick()

    assert ("scheduled", []) == (state, early)
    assert 100 == pytest.approx(due_in_s, abs=2)
    assert job_id == (await queue.claim_one()).job_id


async def test_a_delay_counts_from_the_database_clock(queue, clock):
    """A client an hour off does not make its jobs an hour late."""
    await clock.forward(3600)
    job_id = await queue.put(delay=10)

    assert 10 == pytest.approx(await queue.due_in_s(job_id), abs=2)


async def test_a_time_that_is_past_means_now(queue):
    """A job that is already due stands in line at once."""
    job_id = await queue.put(run_at=datetime.now(UTC) - timedelta(days=400))

    assert ["ready"] == await queue.homes(job_id)


async def test_due_jobs_are_promoted_oldest_due_first_with_their_priority(queue, clock):
    """A place in line is given at promotion."""
    late, early, urgent = await queue.put(delay=30), await queue.put(delay=10), await queue.put(delay=50, priority=9)
    await clock.forward(60)
    await queue.tick()

    assert [urgent, early, late] == [c.job_id for c in await queue.claim(3)]


async def test_promotion_is_bounded(queue, clock):
    """A million due jobs do not become one transaction."""
    await queue.put_jobs([new_job("work", delay=5) for _ in range(30)])
    await clock.forward(10)

    assert [20, 10, 0] == [await queue.store.fetchval("select trunkline.promote(20)") for _ in range(3)]


async def test_an_accepted_id_may_be_sent_again(queue):
    """The answer was lost; the repeat changes nothing and answers the same."""
    jobs = [new_job("work", n, user_id="u") for n in range(5)]
    answers = [await queue.put_jobs(jobs), await queue.put_jobs(jobs)]

    assert answers[0] == answers[1]
    assert (5, 5) == (await queue.count("job"), await queue.count("ready"))


async def test_a_plain_id_may_be_sent_again(queue):
    """The fast path's answer can be lost too."""
    jobs = [new_job("work", n) for n in range(3)]
    await enqueue.plain(queue.store, queue.tenant_id, jobs)
    await enqueue.plain(queue.store, queue.tenant_id, [*jobs, new_job("work", "new")])

    assert (4, 4) == (await queue.count("job"), await queue.count("ready"))


async def test_an_id_that_has_ended_does_not_run_again_when_it_is_sent_again(queue):
    """A repeat after the job's whole life is still a repeat."""
    job = new_job("work", unique_key="k", idempotency_key="i")
    await queue.put_jobs([job])
    await queue.complete(await queue.claim_one())

    assert [(job.id, True)] == await queue.put_jobs([job])
    assert ("completed", []) == (await queue.state(job.id), await queue.claim(1))
    assert [] == await queue.keys()


async def test_an_id_said_twice_in_one_flush_is_one_job(queue):
    """Two callers with the same id share a flush."""
    job = new_job("work", "a", user_id="u")

    assert [(job.id, True)] * 2 == await queue.put_jobs([job, job])
    assert (1, 1) == (await queue.count("job"), await queue.count("ready"))


async def test_the_same_id_in_two_tenants_is_two_jobs(queue, store):
    """Every key starts with the tenant."""
    theirs = await type(queue).open(store, tenant="other")
    job = new_job("work", user_id="u")
    await queue.put_jobs([job])
    await theirs.put_jobs([job])
    await queue.complete(await queue.claim_one())

    assert ("completed", "queued") == (await queue.state(job.id), await theirs.state(job.id))


async def test_copy_and_the_function_leave_equal_rows(queue):
    """The one exception to "a state change is a function call" changes nothing else."""
    made = [[new_job("work", {"n": n, "text": "ä\\\n\t\"'"}, queue=f"q{n % 3}", priority=n % 5) for n in range(40)] for _ in range(2)]
    await enqueue.plain(queue.store, queue.tenant_id, made[0])
    await copy.copy(queue.store, queue.tenant_id, made[1])
    rows = await queue.store.fetch("""
        select j.id, array[j.tenant_id::text, j.queue_id::text, j.kind_id::text, j.payload::text, j.user_id, j.options::text,
                           r.tenant_id::text, r.queue_id::text, r.attempt::text, r.priority::text, r.failures::text, r.traits::text] as row,
               r.ord - first_value(r.ord) over (partition by r.ord / 4096 order by r.ord) as place,
               abs(extract(epoch from j.created_at - clock_timestamp())) < 60 as is_fresh
          from trunkline.job as j join trunkline.ready as r on r.tenant_id = j.tenant_id and r.job_id = j.id""")
    by_id = {row["id"]: (row["row"], row["place"], row["is_fresh"]) for row in rows}

    assert [by_id[job.id] for job in made[0]] == [by_id[job.id] for job in made[1]]


async def test_copied_jobs_are_claimed_in_their_order(queue):
    """Order in is order in line."""
    jobs = [new_job("work", n) for n in range(1200)]
    await copy.copy(queue.store, queue.tenant_id, jobs)

    assert [job.id for job in jobs] == [c.job_id for c in await queue.claim(2000)]


async def test_a_copy_that_fails_leaves_nothing(queue):
    """Both tables in one transaction."""
    broken = new_job("work")._replace(payload="{")

    with pytest.raises(InvalidInput):
        await copy.copy(queue.store, queue.tenant_id, [new_job("work"), broken])
    assert (0, 0) == (await queue.count("job"), await queue.count("ready"))


async def test_an_id_said_twice_in_a_copy_is_one_job(queue):
    """As in any other way in."""
    twice = new_job("work")
    await copy.copy(queue.store, queue.tenant_id, [new_job("work"), twice, twice])

    assert (2, 2) == (await queue.count("job"), await queue.count("ready"))


async def test_a_user_stays_with_the_job_whichever_way_it_goes(queue, app):
    """`user_id` is part of the body."""
    one = await app.enqueue("work", user_id="ann")
    many = await app.enqueue_many([new_job("work", n, user_id="ben") for n in range(250)])

    assert "ann" == (await queue.view(one)).user_id
    assert {"ben"} == {(await queue.view(each.id)).user_id for each in (many[0], many[-1])}


async def test_a_priority_used_for_the_first_time_is_noted_with_its_queue(queue):
    """A claim probes the priorities that were ever used and no others."""
    for priority in (3, 7, 3, 100, 0):
        await queue.put(priority=priority)

    assert [100, 7, 3, 0] == await queue.store.fetchval("select priorities from trunkline.queue where queue_id = $1", queue.queue_id)


async def test_a_kind_declared_for_all_tenants_serves_a_tenant_that_comes_later(queue, store):
    """Its policy is copied when the tenant first uses the kind."""
    from trunkline.model import Policy

    await work.declare_kind(store, None, "everywhere", Policy(retry_limit=0))
    late = await sessions.tenant_id(store, "late")
    await enqueue.jobs(store, late, [new_job("everywhere")])

    assert 0 == await store.fetchval("select retry_limit from trunkline.kind where tenant_id = $1 and name = 'everywhere'", late)


async def test_declaring_again_changes_the_policy_of_jobs_that_wait(queue):
    """The policy is read when the attempt ends."""
    from trunkline.model import Policy

    await queue.put()
    await work.declare_kind(queue.store, queue.tenant_id, "work", Policy(retry_limit=0))

    assert "failed" == await queue.settle(await queue.claim_one(), "failed")


async def test_enqueue_wakes_a_sleeper_and_nobody_else(queue, sessions):
    """NOTIFY takes a lock of the whole server at commit, so a busy system sends none; a queue is told of once, when it is made."""
    heard: list[str] = []
    listener = await sessions.connect()
    await listener.add_listener("trunkline:signals", lambda *signal: heard.append(signal[3]))
    await queue.put_plain(3)
    await queue.store.fetch("select trunkline.sleep_on($1, $2)", queue.session_id, [queue.queue_id])
    await queue.put(queue="another")
    await queue.put_plain(3)
    await queue.store.fetch("select trunkline.sleep_on($1, '{}')", queue.session_id)
    await queue.put_plain(3)
    await listener.execute("select 1")

    assert ["lines", f"wake {queue.queue_id}"] == heard


async def test_an_id_made_in_sql_is_a_version_7_of_now(store):
    """PostgreSQL has its own only from 18 on."""
    ids = [row[0] for row in await store.fetch("select trunkline.new_id() from generate_series(1, 100)")]
    times = [datetime.fromtimestamp((id_.int >> 80) / 1000, UTC) for id_ in ids]

    assert {(7, 2)} == {(id_.version, id_.int >> 62 & 3) for id_ in ids}
    assert 100 == len(set(ids))
    assert max(abs((datetime.now(UTC) - time).total_seconds()) for time in times) < 30
    assert times == [row[0] for row in await store.fetch("select trunkline.id_time(i) from unnest($1::uuid[]) as i", ids)]
